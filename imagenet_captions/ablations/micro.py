"""The data of micro ablations: texts made for images that have none, and test images under artificial shifts."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image, ImageFilter

from imagenet_captions.captions.compose import draw
from imagenet_captions.dataset.writing import IMAGE
from imagenet_captions.engines.local import in_batches
from imagenet_captions.errors import InputError, quoted, shortened
from imagenet_captions.images.examples import Class, Examples, Texts, open_examples, require_classes
from imagenet_captions.images.reading import Integers
from imagenet_captions.storage.files import replacing
from imagenet_captions.storage.parquet import open_parquet_writer

Pixels = npt.NDArray[np.uint8]

# On CIFAR's photos each of these holds for about one image in six, so that a word for it tells images apart.
DARK, BRIGHT = 90.0, 150.0  # mean luma, of 255
SOFT, CRISP = 35.0, 65.0  # standard deviation of the luma
SMALL = 0.40  # share of the edges within the middle quarter of the area: a subject with little around it
CLOSE = 0.39  # share of the edges in the outer eighth of each side: a subject that goes on beyond the frame
COLOR = 0.35  # share of the pixels that one color needs to be named

_LUMA = np.array([0.299, 0.587, 0.114])
# Where a hue ends, in degrees.
_HUES = {15: "red", 42: "orange", 70: "yellow", 165: "green", 195: "turquoise"}
_HUES |= {260: "blue", 300: "purple", 345: "pink"}


def read_attributes(pixels: Pixels) -> dict[str, str]:
    """Return how an RGB image looks, `uint8` of [height, width, 3]; an attribute is "" if it is ordinary.

    >>> red = np.zeros((32, 32, 3), np.uint8)
    >>> red[..., 0] = 250
    >>> read_attributes(red)
    {'light': 'dark', 'contrast': 'soft', 'framing': '', 'color': 'red'}
    """
    luma = pixels @ _LUMA
    mean, spread = float(luma.mean()), float(luma.std())
    edges = np.zeros_like(luma)
    edges[:, :-1] += np.abs(np.diff(luma, axis=1))
    edges[:-1] += np.abs(np.diff(luma, axis=0))
    total = float(edges.sum())

    inside = {}  # of the edges, those that are not in the outer part of a side
    for part in (4, 8):
        down, across = edges.shape[0] // part, edges.shape[1] // part
        inside[part] = float(edges[down : edges.shape[0] - down, across : edges.shape[1] - across].sum())
    framing = "close" if total - inside[8] > CLOSE * total else ""
    if inside[4] > SMALL * total:
        framing = "small"
    if total < luma.size:  # less than one level a pixel is a plain surface without a subject
        framing = ""
    return {
        "light": "dark" if mean < DARK else "bright" if mean > BRIGHT else "",
        "contrast": "soft" if spread < SOFT else "crisp" if spread > CRISP else "",
        "framing": framing,
        "color": _color(pixels),
    }


def _color(pixels: Pixels) -> str:
    """Return the most frequent color, or "" if it has less than `COLOR` of the pixels."""
    rgb = pixels.reshape(-1, 3).astype(np.float64) / 255
    red, green, blue = rgb.T
    value, chroma = rgb.max(axis=1), np.ptp(rgb, axis=1)
    safe = np.where(chroma == 0, 1, chroma)
    places = [(green - blue) / safe % 6, (blue - red) / safe + 2]
    hue = 60 * np.select([value == red, value == green], places, (red - green) / safe + 4)
    names = np.array([*_HUES.values(), "red"])[np.searchsorted(list(_HUES), hue, side="right")]
    names[(names == "orange") & (value < 0.75)] = "brown"
    plain = chroma < 0.18 * value
    names[plain] = "grey"
    names[plain & (value > 0.85)] = "white"
    names[value < 0.2] = "black"
    found, counts = np.unique(names, return_counts=True)
    most = int(counts.argmax())
    return str(found[most]) if counts[most] >= COLOR * len(rgb) else ""


# Shares, each of all images unless it says otherwise. They were set by trial so that a micro model learns in
# minutes: with the class named less often, and looks and places more, zero-shot accuracy was lower.
NAMED = 0.9  # of the texts that name the class in at least one field, by its name or a synonym
SYNONYM = 0.3  # of the mentions that use a synonym (independently in each field)
# Of the texts that name the class: how many name it in this field. The title does if no other field did.
TITLE_NAMES, DESCRIPTION_NAMES, TAGS_NAME = 0.8, 0.75, 0.8
HAS_DESCRIPTION, HAS_TAGS = 0.65, 0.9  # a title is always there
LOOK_SAID = 0.5  # of what could be said about the image's looks
DISTRACTOR = 0.2  # of each kind of tag that has nothing to do with the image: place, camera, season, occasion
SCENE_FITS = 0.6  # of the scenes that are one of the class's own, rather than anywhere

_DISTRACTORS = ("place", "camera", "season", "occasion")
_MOST_TAGS = 6
_LONGEST_NAME = 80


@cache
def read_words() -> dict[tuple[str, str], list[str]]:
    """Return the lists of micro_words.tsv by name and by the class, or the value of an attribute, that they go with.

    In sentences `{subject}` is the class's name or a synonym, `{look}` an attribute of the image, and the other fields
    are drawn from the list of that name.

    >>> read_words()["synonym", "dog"]
    ['puppy', 'pup', 'hound']
    """
    found: dict[tuple[str, str], list[str]] = {}
    with Path(__file__).with_name("micro_words.tsv").open(encoding="utf-8", newline="") as opened:
        for row in csv.DictReader(opened, delimiter="\t"):
            found.setdefault((row["list"], row["of"]), []).append(row["text"])
    return found


class _Writer(NamedTuple):
    """Writes the texts of one image; each random decision follows from the id and the decision's name."""

    name: str
    image_id: str

    def draw(self, purpose: str) -> int:
        return draw(0, f"micro {purpose}", self.image_id)

    def happens(self, purpose: str, share: float) -> bool:
        return self.draw(purpose) < share * 2**64

    def pick(self, purpose: str, options: Sequence[str]) -> str:
        return options[self.draw(purpose) % len(options)]

    def subject(self, field: str) -> str:
        synonyms = read_words().get(("synonym", self.name))
        if synonyms and self.happens(f"{field} synonym", SYNONYM):
            return self.pick(f"{field} which synonym", synonyms)
        return self.name

    def scene(self, field: str) -> str:
        fits = ("scene", self.name) in read_words() and self.happens(f"{field} scene fits", SCENE_FITS)
        return self.pick(f"{field} scene", read_words()["scene", self.name if fits else ""])

    def looks(self, pixels: Pixels) -> list[str]:
        """Return a phrase for about half of the attributes that the image has."""
        words, found = read_words(), []
        for kind, value in read_attributes(pixels).items():
            purpose = "colour" if kind == "color" else kind  # every draw depends on the spelling
            if value and self.happens(f"says {purpose}", LOOK_SAID):
                phrases = words["color", ""] if kind == "color" else words[kind, value]
                found.append(self.pick(purpose, phrases).format(value))
        return found

    def sentence(self, field: str, names: bool, looks: Sequence[str]) -> str:
        words = read_words()
        pattern = self.pick(f"{field} pattern", words[f"{field} {'with' if names else 'without'} class", ""])
        filled = pattern.format(
            subject=self.subject(field),
            look=self.pick(f"{field} look", looks) if looks else "",
            scene=self.scene(field),
            **{kind: self.pick(kind, words[kind, ""]) for kind in _DISTRACTORS},
        )
        text = " ".join(filled.split()).replace(" ,", ",").replace(" .", "").strip(" ,")
        text = re.sub(r"\ba (?=[aeiou])", "an ", text)
        return text[:1].upper() + text[1:] if text else self.pick("place", words["place", ""])

    def tags(self, names: bool, looks: Sequence[str]) -> list[str]:
        found = [look for look in looks if self.happens(f"tag {look}", 0.5)]
        found += [self.scene("tags")] if self.happens("tag scene", 0.6) else []
        others = [kind for kind in _DISTRACTORS if self.happens(f"tag {kind}", DISTRACTOR)]
        found += [self.pick(kind, read_words()[kind, ""]).lower() for kind in others]
        own = [self.subject("tags")] if names else []
        kept = sorted({*found, *own}, key=lambda tag: self.draw(f"order {tag}"))[:_MOST_TAGS]
        return kept if set(own) <= set(kept) else [*kept[:-1], *own]  # the name is never the tag that is cut


def micro_texts(pixels: Pixels, class_name: str, image_id: str) -> Texts:
    """Return texts for an RGB image, `uint8` of [height, width, 3]; the same image, id and class give the same.

    The caption is the title, the tags and the description, as captions of the dataset are by default.

    >>> meadow = np.full((32, 32, 3), (40, 200, 40), np.uint8)
    >>> micro_texts(meadow, "horse", "horse_0005").title
    'A horse, hazy'
    """
    name = " ".join(class_name.split())
    if not name or len(name) > _LONGEST_NAME:
        raise InputError(f"the class name {quoted(class_name)} is empty or too long; give 1 to {_LONGEST_NAME} letters")
    writer = _Writer(name, image_id)
    looks = writer.looks(pixels)
    named = writer.happens("named", NAMED)
    others, description, tags = False, "", []
    if writer.happens("has description", HAS_DESCRIPTION):
        names = named and writer.happens("description names", DESCRIPTION_NAMES)
        description, others = writer.sentence("description", names, looks), names
    if writer.happens("has tags", HAS_TAGS):
        names = named and writer.happens("tags name", TAGS_NAME)
        tags, others = writer.tags(names, looks), others or names
    names = named and (not others or writer.happens("title names", TITLE_NAMES))
    title = writer.sentence("title", names, looks)
    caption = " ".join(filter(None, [title, *tags, description]))
    return Texts(title, description, tuple(tags), caption)


CLEAN, NATURAL = "clean", "natural"  # the test set and the domain without a shift
_ROWS = 1000  # a row group; a set is a few of them
_SIDE = 256  # pixels; larger images are refused, since describing them is slow

# Strengths that cost a micro model a part of its accuracy and not all of it.
BLUR_RADIUS = 1.2  # of the Gaussian, in pixels
NOISE = 24.0  # standard deviation, of 255; independent for each pixel and channel
CONTRAST = 0.4  # of the distance to the image's own mean that is left


SHIFTS = ("blur", "noise", "contrast")


def shift_pixels(shift: str, pixels: Pixels, image_id: str) -> Pixels:
    """Return an image under a shift; the noise follows from the id, and the other shifts have no randomness.

    >>> shift_pixels("contrast", np.array([[[0, 0, 0], [200, 200, 200]]], np.uint8), "a").tolist()
    [[[60, 60, 60], [140, 140, 140]]]
    """
    if shift == "blur":
        return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(BLUR_RADIUS)))
    if shift == "noise":
        generator = np.random.Generator(np.random.PCG64(draw(0, "micro noise", image_id)))
        shifted = pixels + generator.normal(0, NOISE, pixels.shape)
    else:
        mean = pixels.mean(axis=(0, 1))
        shifted = mean + CONTRAST * (pixels - mean)
    return np.clip(np.rint(shifted), 0, 255).astype(np.uint8)


def read_pixels(data: bytes, image_id: str) -> Pixels:
    """Return the pixels of a small image in RGB; raises InputError for a large one, or for no image."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if max(picture.size) > _SIDE:
                raise InputError(
                    f"the image {quoted(image_id)} has {picture.size}; micro sets have {_SIDE} pixels a side at most"
                )
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"the image {quoted(image_id)} cannot be read ({shortened(error)}); leave it out") from None


def with_texts(source: Path, made: Path) -> Path:
    """Return a micro data set unchanged if it has texts, else a copy with texts, which is made once."""
    if made.is_file():
        return made
    examples = open_examples(source)
    if any(examples.texts(row) != Texts() for row in range(len(examples))):
        return source
    classes, texts = require_classes(examples), []
    for row, label in enumerate(examples.labels.tolist()):
        image_id = examples.image_id(row)
        pixels = read_pixels(examples.image(row), image_id)
        texts.append(micro_texts(pixels, classes[label].name, image_id))
    write_examples(made, examples, examples.labels, classes, TEXTS, texts)
    return made


def write_micro_shifts(source: Path, folder: Path) -> dict[str, Path]:
    """Write a test set for each shift that is not there yet, as FOLDER/micro-SHIFT.parquet."""
    written = {f"micro-{shift}": folder / f"micro-{shift}.parquet" for shift in SHIFTS}
    examples = open_examples(source)
    for shift, path in zip(SHIFTS, written.values(), strict=True):
        if not path.is_file():
            domains = [shift] * len(examples)
            write_examples(path, examples, examples.labels, require_classes(examples), domains=domains)
    return written


_LABELLED = pa.schema([IMAGE, ("image_id", pa.string()), ("label", pa.int64()), ("class_name", pa.string())])
TEXTS = (
    pa.field("title", pa.string()),
    pa.field("description", pa.string()),
    pa.field("tags", pa.list_(pa.string())),
    pa.field("caption", pa.string()),
)
DOMAIN_TEXTS = (*TEXTS, pa.field("domain", pa.string()))


def write_examples(
    path: Path,
    examples: Examples,
    labels: Integers,
    classes: Sequence[Class],
    columns: Sequence[pa.Field] = (),
    texts: Sequence[Texts] = (),
    domains: Sequence[str] = (),
) -> None:
    """Write the examples that have a label as Parquet that `datasets` knows the features of.

    `columns` are written beside the label, from the texts of a row; images are under the shifts of their domains.
    """
    schema = pa.schema([*_LABELLED, *columns])
    kinds: dict[str, Any] = {field.name: {"dtype": "string", "_type": "Value"} for field in schema}
    kinds["image"] = {"_type": "Image"}
    kinds["label"] = {"names": [each.key for each in classes], "_type": "ClassLabel"}
    if "tags" in kinds:
        kinds["tags"] = [{"dtype": "string", "_type": "Value"}]
    schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": kinds}})})

    def row_of(at: int) -> dict[str, Any]:
        image_id, data, label = examples.image_id(at), examples.image(at), int(labels[at])
        domain = domains[at] if domains else NATURAL
        if domain != NATURAL:
            sink = io.BytesIO()  # as PNG, which keeps every pixel
            shifted = shift_pixels(domain, read_pixels(data, image_id), image_id)
            Image.fromarray(shifted).save(sink, "PNG")
            data = sink.getvalue()
        return {
            "image": {"bytes": data, "path": image_id},
            "image_id": image_id,
            "label": label,
            "class_name": classes[label].name,
            "domain": domain,
            **(vars(texts[at]) if texts else {}),
        }

    rows = map(row_of, np.flatnonzero(labels >= 0).tolist())
    with replacing(path) as partial, open_parquet_writer(partial, schema) as writer:
        for batch in in_batches(rows, _ROWS):
            writer.write_table(pa.Table.from_pylist(batch, schema))
