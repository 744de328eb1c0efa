"""The words that micro captions are made of: what people call the classes, how a photo looks, and what says nothing.

Every list is a choice of ours, short on purpose: a text tower of a million weights has to learn them all.
"""

from __future__ import annotations

# What photographers write instead of the class's name. A class that is not here has its name alone.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "airplane": ("plane", "jet", "aircraft"),
    "automobile": ("car", "auto", "sedan"),
    "bird": ("songbird", "birdie", "fledgling"),
    "cat": ("kitty", "kitten", "feline"),
    "deer": ("doe", "stag", "fawn"),
    "dog": ("puppy", "pup", "hound"),
    "frog": ("toad", "amphibian", "bullfrog"),
    "horse": ("pony", "mare", "stallion"),
    "ship": ("boat", "vessel", "ferry"),
    "truck": ("lorry", "pickup", "rig"),
}

# Where such things are photographed; most are shared by several classes, so that they hint and do not tell.
SCENES: dict[str, tuple[str, ...]] = {
    "airplane": ("airport", "sky", "runway"),
    "automobile": ("street", "garage", "road"),
    "bird": ("garden", "sky", "forest"),
    "cat": ("home", "garden", "sofa"),
    "deer": ("forest", "meadow", "park"),
    "dog": ("park", "home", "garden"),
    "frog": ("pond", "garden", "forest"),
    "horse": ("farm", "meadow", "ranch"),
    "ship": ("harbour", "sea", "sky"),
    "truck": ("road", "street", "garage"),
}
ANY_SCENE = ("garden", "street", "park", "home", "sky")

# One word or phrase for each value of an attribute, and one of them is drawn; "" is an image without that attribute.
LIGHT = {"dark": ("dark", "at night", "in the shade"), "bright": ("bright", "sunny", "in full light")}
CONTRAST = {"soft": ("hazy", "soft light", "pale"), "crisp": ("sharp", "high contrast", "crisp")}
FRAMING = {"close": ("close up", "closeup", "portrait"), "small": ("far away", "in the distance", "tiny")}
COLOUR_PHRASES = ("{}", "so much {}", "in {}")

# What stands in texts everywhere and has nothing to do with the image.
PLACES = ("Lisbon", "Oregon", "Kyoto", "Devon", "Toronto", "Bavaria", "Brittany", "Sydney")
CAMERAS = ("Canon", "Nikon", "Pentax", "Leica", "Olympus", "Kodak")
SEASONS = ("spring", "summer", "autumn", "winter")
OCCASIONS = ("holiday", "weekend", "birthday", "walk", "trip", "sunday")

# {subject} is the class's name or a synonym, {look} what was read off the image, {scene} a scene, the rest as above.
TITLES = (
    "{subject}",
    "my {subject}",
    "{look} {subject}",
    "a {subject}, {look}",
    "{subject} in the {scene}",
    "the {subject} in {place}",
    "{place} {subject}",
    "{season} {subject}",
)
TITLES_WITHOUT = (
    "{look}",
    "{place}, {season}",
    "{occasion} in {place}",
    "in the {scene}",
    "{season} {occasion}",
    "{look}, {season}",
    "{scene} {look}",
)
DESCRIPTIONS = (
    "a photo of a {subject}, {look}",
    "this {subject} was in the {scene} on our {occasion}",
    "{look} {subject} seen in {place}",
    "we met this {subject} on a {season} {occasion}",
    "taken with my {camera}: a {subject} in the {scene}",
    "I love this {subject}. {look}.",
)
DESCRIPTIONS_WITHOUT = (
    "taken with my {camera} in {place}",
    "{look}, from our {season} {occasion}",
    "one of many from the {scene}, {look}",
    "the first photo of the {occasion}",
    "my old {camera}, {season} in {place}",
)
