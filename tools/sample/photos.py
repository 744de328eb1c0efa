"""The photos of the embedded sample: texts that we wrote, in the manner of what people write on Flickr.

Each entry is an ImageNet id that is wanted, the kind of address that the URL list has for it, what Flickr would
answer about the photo, and where the id must end. No text is anyone else's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

WNIDS = {
    "tench": "n01440764",
    "goldfish": "n01443537",
    "robin": "n01558993",
    "retriever": "n02099601",
    "tabby": "n02123045",
    "monarch": "n02279972",
    "golf ball": "n03445777",
    "parachute": "n03888257",
    "school bus": "n04146614",
    "traffic light": "n06874185",
    "banana": "n07753592",
    "pizza": "n07873807",
    "volcano": "n09472597",
    "dog": "n02084071",  # a synset of ImageNet, but none of the 1000 classes
}


@dataclass(frozen=True)
class Entry:
    """One wanted id: its class, its address (a key of addresses.SHAPES), its photo, and its outcome.

    A tag in `tags` is the photographer's; "viewer: x" was added by somebody else. `changes` replaces parts of the
    answer, and a value of `...` removes a part. `image` says how the file in the training folder is odd.
    """

    thing: str
    shape: str = "farm"
    title: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    changes: Mapping[str, Any] = field(default_factory=dict)
    fails: tuple[int, str] | None = None
    outcome: str = "kept"
    image: str = "jpeg"  # jpeg | png | cmyk | grey | empty | none


NOT_FOUND = (1, "Photo not found")
PRIVATE = (2, "Permission denied")
UNAVAILABLE = (105, "Service currently unavailable")
PAGE = '<a href="http://www.example.org/{}" rel="noreferrer nofollow">{}</a>'

KEPT = (
    Entry("tench", title="Tench before breakfast", description="Caught &amp; released at the mill pond, 5 lb 2 oz.",
          tags=("tench", "Fishing", "mill pond", "fishing:method=float"), changes={"license": 4, "safety_level": 0}),
    Entry("tench", "farm_query", "Schleie im Netz", "Früh am Morgen am Baggersee, kurz vor dem Regen.",
          ("Schleie", "Angeln", "Bayern", "angeln"), {"owner.path_alias": None, "originalsecret": ...,
                                                      "originalformat": ...}),
    Entry("tench", "static", "IMG_1234", "My brother with the first tench of the season",
          ("fish", "brother"), {"people": ..., "license": "2"}),
    Entry("goldfish", "page_nsid", "Bubbles <3", "She comes to the glass when I whistle.",
          ("goldfish", "viewer: orange"), {"owner.path_alias": ""}),
    Entry("goldfish", "live", "金魚の夏", "縁日ですくった金魚。まだ元気です。", ("金魚", "夏祭り", "!!!")),
    Entry("goldfish", "farm_size", "Poissons rouges au marchÃ©", "Un aprÃ¨s-midi Ã\xa0 la foire, trÃ¨s joli.",
          ("poisson rouge", "foire"), {"usage.canprint": ..., "license": "5"}),
    Entry("robin", "page_alias", "Robin on the fence", "More birds on " + PAGE.format("birds", "my page") + "!",
          ("American robin", "bird", "spring", "geo:lat=41.5", "geo:lon=-81.7"), {"location": True}),
    Entry("robin", "photos", "First robin this year 🐦", "", ("robin", "snow", "backyard"), {"license": "0"}),
    Entry("robin", "sizes", "", "Sings from the same branch every evening until it is dark", ("Turdus migratorius",)),
    Entry("retriever", "download", "Molly at the beach", "<b>Molly</b>, nine months, meets the sea.\r\n\r\n"
          "She was &quot;not amused&quot; by the first wave.", ("golden retriever", "dog", "beach", "dog"),
          {"license": 1, "comments._content": 7}),
    Entry("retriever", "c_host", "Buddy 🐶🎾", "Ball. Ball? Ball!", ("retriever", "tennis ball", "viewer: cute"),
          image="cmyk"),
    Entry("retriever", "old_page", "DSC_0871.JPG", "", ("puppy", "golden", "sleepy"), {"rotation": 90}),
    Entry("tabby", "staticflickr", "Kitchen window", "Waiting for the neighbour's cat to pass by.",
          ("tabby", "cat", "window"), {"dates.taken": "2007-00-01 00:00:00", "dates.takengranularity": 4}),
    Entry("tabby", "https_port", "Кошка на окне", "Наша Мурка смотрит на снег", ("кошка", "зима"), image="grey"),
    Entry("tabby", "gne", "Tom", "Write to tom.the.tabby@example.com for a print, or see www.example.org/tom",
          ("tabby cat", "portrait"), {"license": "14"}, image="png"),
    Entry("monarch", "short", "Monarch on milkweed", "Danaus plexippus, a male: note the two black spots.",
          ("monarch butterfly", "milkweed", "taxonomy:binomial=Danaus plexippus")),
    Entry("monarch", "no_scheme", "Mariposa monarca", "Santuario en Michoacán, miles de ellas en cada árbol",
          ("mariposa", "México", "Michoacán"), {"license": "6", "owner.gift": ...}),
    Entry("golf ball", "upper_host", "So close", "Two inches from the hole, and it stayed there.",
          ("golf", "golf ball", "green"), {"dates.takenunknown": "1"}),
    Entry("golf ball", "farm", "Nineteenth hole", "5 &lt; 6, or so my scorecard says &amp;amp; I believe it",
          ("golf",), {"license": "3"}),
    Entry("parachute", "blank_in_url", "Landing", "Three of the nine jumpers came down in the maize.",
          ("parachute", "air show", "sky")),
    Entry("parachute", "extra_tab", "Air Show \u201908", "Red chute", ("parachute",), {"license": "8"}),
    Entry("school bus", "space_for_tab", "Waiting for summer", "All the yellow buses in a row behind the depot",
          ("school bus", "yellow", "Ohio")),
    Entry("school bus", "crlf", "Bus No. 12", "\tThe one I took for six years ", ("bus", "school", "memories"),
          {"license": "7"}),
    Entry("traffic light", "twice_same", "Red", "Long exposure at the corner of 5th", ("traffic light", "night")),
    Entry("traffic light", "second_is_flickr", "إشارة المرور", "ضوء أحمر في المساء", ("شارع", "ليل")),
    Entry("banana", "farm", "Breakfast", "Day 12 of 365: a banana, <i>again</i>.", ("banana", "365", "food"),
          {"license": "9"}),
    Entry("banana", "blank_then_flickr", "Bananen op de markt", "Drie voor een euro", ("banaan", "markt", "Antwerpen")),
    Entry("pizza", "farm", "Pizza night!", "Dough by me, toppings by the kids. Recipe: http://www.example.com/dough",
          ("pizza", "homemade", "Pizza", "uploaded:by=app"), {"license": "10"}),
    Entry("pizza", "farm_query", "", "", ("pizza margherita", "Napoli"), {"dates.taken": "0000-00-00 00:00:00"}),
    Entry("volcano", "live", "Smoke at dawn", "Seen from the ridge\u2028at six in the morning\x07",
          ("volcano", "sunrise"), {"license": "12", "views": 1024}),
    Entry("volcano", "shared", "Two peaks", "The photo that belongs to two ids of the list", ("volcano", "lake")),
    Entry("volcano", "shared", "Two peaks", "The photo that belongs to two ids of the list", ("volcano", "lake")),
)  # fmt: skip

OTHERS = (
    Entry("tench", "none", outcome="no_url"),
    Entry("banana", "none", outcome="no_url"),
    Entry("goldfish", "blank", outcome="no_url"),
    Entry("goldfish", "garbled", outcome="bad_url"),
    Entry("robin", "elsewhere", outcome="not_flickr"),
    Entry("tabby", "latin1", outcome="not_flickr"),
    Entry("retriever", "lookalike", outcome="not_flickr"),
    Entry("monarch", "inside_another", outcome="not_flickr"),
    Entry("parachute", "ends_like_flickr", outcome="not_flickr"),
    Entry("golf ball", "profile", outcome="not_a_photo"),
    Entry("pizza", "unavailable", outcome="not_a_photo"),
    Entry("retriever", "video_file", outcome="not_a_photo"),
    Entry("school bus", "page_alias", "Bus ride", "Eleven seconds of a bumpy road", ("bus", "video"),
          {"media": "video", "video": True, "originalformat": "mp4"}),  # kept: the list has its still
    Entry("volcano", "farm", fails=NOT_FOUND, outcome="not_found"),
    Entry("traffic light", "page_nsid", fails=NOT_FOUND, outcome="not_found"),
    Entry("banana", "farm_size", fails=PRIVATE, outcome="private"),
    Entry("parachute", "static", fails=UNAVAILABLE, outcome="unreachable"),
    Entry("tabby", "farm", outcome="no_text"),
    Entry("golf ball", "farm", "DSCN0042", outcome="no_text"),
    Entry("monarch", "live", "", "   ", ("geo:lat=19.6", "geo:lon=-100.2"), outcome="no_text"),
    Entry("dog", "farm", outcome="unknown_class", image="none"),
    Entry("pizza", "farm", "Leftovers", "Cold pizza is still pizza", ("pizza",), outcome="no_image", image="none"),
    Entry("school bus", "farm", "Rear door", "Emergency exit", ("school bus",), outcome="broken_image", image="empty"),
)  # fmt: skip

ENTRIES = KEPT + OTHERS
