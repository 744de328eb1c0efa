"""Explain one image of a dataset: its texts, what cleaning changed, its outcome, license, URL and attribution."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from imagenet_captions.captions import mentions
from imagenet_captions.cleaner.text import Change, record_changes
from imagenet_captions.crawler.source import parse_photo
from imagenet_captions.crawler.store import StoreReader
from imagenet_captions.dataset.shards import Shards
from imagenet_captions.errors import InputError, quoted, require_kind, shortened
from imagenet_captions.flickr.photos import find_license
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.imagenet.image_ids import image_id as read_image_id
from imagenet_captions.imagenet.image_ids import wnid_of
from imagenet_captions.outcomes import OUTCOMES_FILE, Outcome, outcomes_path
from imagenet_captions.schema import provenance
from imagenet_captions.sources.matches import open_matches
from imagenet_captions.storage.files import CAPTIONS, MATCHES, PHOTO_STORE, YFCC_PHOTOS, require_there, sha256
from imagenet_captions.storage.parquet import ParquetFile, read_schema
from imagenet_captions.storage.places import Place, PlaceLike, place, require_local


@dataclass(frozen=True)
class Texts:
    """The texts of a record."""

    title: str
    description: str
    tags: list[str]


@dataclass(frozen=True)
class Mention:
    """A class that the texts name, and the words that name it, in the form in which they are searched."""

    label: int
    wnid: str
    class_name: str
    words: list[str]


@dataclass(frozen=True)
class ImageFacts:
    """The image of a row."""

    width: int | None
    height: int | None
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Photo:
    """The photo behind an image, and how to attribute it."""

    photo_id: str | None = None
    photo_page: str | None = None
    owner: str | None = None
    owner_name: str | None = None
    license: str | None = None
    license_url: str | None = None
    attribution: str | None = None
    retrieved_at: datetime | None = None


@dataclass(frozen=True)
class Listed:
    """What the work folder of a build has: the line of the URL list, and what became of the photo."""

    line: str | None = None  # id and address
    other_addresses: str | None = None
    photo_id: str | None = None
    answer: str | None = None  # the state of the crawl's answer
    answered_at: datetime | None = None
    remark: str | None = None
    in_yfcc: bool | None = None


@dataclass(frozen=True)
class Explanation:
    """The life of one id; a part that is not known is None or empty, and `unknown` says why."""

    image_id: str
    wnid: str
    class_name: str
    outcome: Outcome
    detail: str | None
    further_entries: list[str]  # how further entries with this id ended
    label: int | None = None
    raw: Texts | None = None
    changes: list[Change] = field(default_factory=list)
    cleaned: Texts | None = None
    caption: str | None = None
    mentions: list[Mention] = field(default_factory=list)
    names_class: bool | None = None
    language: str | None = None
    language_score: float | None = None
    source: str | None = None
    image: ImageFacts | None = None
    photo: Photo | None = None
    listed: Listed | None = None
    unknown: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        found = asdict(self, dict_factory=_with_texts_for_dates)
        found["outcome"], found["meaning"] = self.outcome.value, self.outcome.meaning
        found["changes"] = [change._asdict() for change in self.changes]
        return found

    def __str__(self) -> str:
        """Return the life of the id as text, a line for each thing that is known."""
        known = [f"{name:<16}{text}" for name, text in self._facts() if text is not None]
        unknown = [f"not known: {sentence}" for sentence in self.unknown]
        return "\n".join([f"{self.image_id}  {self.class_name}", *known, *unknown])

    def _facts(self) -> Iterator[tuple[str, str | None]]:
        detail = f" ({shortened(self.detail, 300)})" if self.detail else ""
        yield "outcome", f"{self.outcome.value}: {self.outcome.meaning}{detail}"
        yield from (("", f"another entry: {entry}") for entry in self.further_entries)
        yield "label", None if self.label is None else str(self.label)
        if (listed := self.listed) is not None:
            yield "URL list", None if listed.line is None else shortened(listed.line, 300)
            if listed.other_addresses:
                yield "", f"other addresses: {shortened(listed.other_addresses, 300)}"
            yield "photo", listed.photo_id
            if listed.answer is not None:
                when = f", {listed.answered_at:%Y-%m-%d}" if listed.answered_at else ""
                remark = f" ({shortened(listed.remark)})" if listed.remark else ""
                yield "answer", f"{listed.answer}{when}{remark}"
            if listed.in_yfcc is not None:
                yield "YFCC100M", "has the photo" if listed.in_yfcc else "does not have the photo"
        yield "source", self.source
        yield from _of_texts("raw", self.raw)
        for at, change in enumerate(self.changes):
            yield "" if at else "cleaning", f"{change.rule}: {change}"
        if self.changes:
            yield from _of_texts("clean", self.cleaned)
        if self.caption is not None:
            yield "caption", repr(self.caption)
            yield "mentions", None if self.mentions else "no class"
        for at, mention in enumerate(self.mentions):
            own = ", its own class" if mention.label == self.label else ""
            words = ", ".join(map(repr, mention.words))
            named = f"{mention.class_name} ({mention.label}{own})"
            yield "" if at else "mentions", f"{named}, by {words}"
        if self.language is not None:
            score = "" if self.language_score is None else f", score {self.language_score:.2f}"
            yield "language", f"{self.language}{score}"
        if (image := self.image) is not None:
            size = f"{image.width} x {image.height} pixels, " if image.width else ""
            yield "image", f"{size}{image.bytes:,} bytes, SHA-256 {image.sha256}"
        if (photo := self.photo) is not None:
            yield "photo page", photo.photo_page
            address = f", {photo.license_url}" if photo.license_url else ""
            yield "license", None if photo.license is None else f"{photo.license}{address}"
            yield "attribution", photo.attribution
            if photo.retrieved_at is not None:
                yield "retrieved", f"{photo.retrieved_at:%Y-%m-%d}"


def _of_texts(kind: str, texts: Texts | None) -> Iterator[tuple[str, str]]:
    if texts is not None:
        yield f"{kind} title", repr(texts.title)
        yield f"{kind} text", repr(texts.description)
        yield f"{kind} tags", ", ".join(map(repr, texts.tags)) or "none"


def _with_texts_for_dates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in pairs}


Row = dict[str, Any]

_SOURCES = {"release": "the published file", "flickr": "Flickr", "yfcc100m": "YFCC100M"}
_OF_ANOTHER = "is not of the build that made the dataset"


def explain(dataset: PlaceLike, image_id: str, work: PlaceLike | None = None) -> Explanation:
    """Return the life of one id: texts, what each rule changed, caption, mentions, image, outcome, license.

        print(ic.explain("imagenet-captions", "n01440764_10026"))

    `work` is the work folder of the build; it adds the line of the URL list, the photo, Flickr's answer, and the raw
    texts of a dropped id. What the folders cannot tell is in `unknown`.

    Raises InputError for an id that is not among the inputs of the dataset.
    """
    require_kind("image_id", image_id, str, "the id of an image as text, such as n01440764_10026")
    folder, name = place(dataset), read_image_id(image_id)
    if name is None:
        raise InputError(f"{quoted(image_id)} is not the id of a training image; give one such as n01440764_10026")
    with Shards(folder).unchanged() as shards:
        manifest = shards.manifest
        outcomes = _outcomes_of(name, folder)
        row, raw_row = (_find_row(shards.files(config), **_id(name)) for config in ("data", "raw"))
    unknown: list[str] = []
    listed, raw = None, None
    is_published = "release" in manifest.inputs
    if is_published:
        unknown.append("photo and address: the published file, of which the dataset was made, does not name them")
    elif work is None:
        unknown.append("the line of the URL list, and Flickr's answer: no work folder was given")
    if work is not None:
        listed, raw = _of_work(place(work), name, manifest.inputs, unknown)
    if raw_row is not None:
        raw = _texts(raw_row)
    elif raw is None and is_published and work is not None:
        unknown.append("raw texts: they are in the published file alone, since the entry was dropped in cleaning")
    elif raw is None:
        unknown.append("raw texts: the dataset has those of its rows alone, and the given folders have no others")
    class_ = classes.find(wnid_of(name))
    return Explanation(
        image_id=name,
        wnid=wnid_of(name),
        class_name="" if class_ is None else class_.name,
        outcome=Outcome(outcomes[0]["outcome"]),
        detail=outcomes[0]["detail"],
        further_entries=[f"{each['outcome']}: {each['detail']}" for each in outcomes[1:]],
        raw=raw,
        changes=[] if raw is None or manifest.as_published else _changes(raw, row, unknown),
        listed=listed,
        **({} if row is None else _of_row(row, manifest.classes, unknown)),
        unknown=unknown,
    )


def _outcomes_of(image_id: str, dataset: Place) -> list[Row]:
    """Return the outcomes of an id, its own first; raise InputError if it is not among the inputs."""
    wnid = wnid_of(image_id)
    rows = [*_find_rows(dataset / OUTCOMES_FILE, wnid=wnid)]
    found = _about(image_id, rows)
    if found and found[0]["image_id"] is not None:
        return found
    unlisted = [row for row in rows if row["outcome"] == Outcome.UNKNOWN_CLASS.value]
    if outside := sum(row["count"] for row in unlisted if row["image_id"] is None):
        raise InputError(
            f"{image_id} is not in {dataset}, unless it is among the ids of {wnid} outside the wanted classes "
            f"({outside:,} in all), which are counted and not listed; give another id"
        )
    raise InputError(f"{image_id} is not among the inputs of {dataset}; check the id")


def _about(image_id: str, rows: list[Row]) -> list[Row]:
    """Return the outcomes of an id: its own first, then those of further entries, which have the id in the detail."""
    own = [row for row in rows if row["image_id"] == image_id]
    others = [row for row in rows if row["image_id"] is None]
    return own + [row for row in others if (row["detail"] or "").partition(";")[0] == image_id]


def _id(image_id: str) -> dict[str, str]:
    """Return the values by which the row of an image is found; files are sorted by both."""
    return {"wnid": wnid_of(image_id), "image_id": image_id}


def _find_row(files: Sequence[Place], **values: str) -> Row | None:
    return next((row for file in files for row in _find_rows(file, **values)), None)


def _find_rows(file: Place, **values: str) -> Iterator[Row]:
    """Yield the rows with these values, from the row groups that may have them by their statistics."""
    with ParquetFile(file) as opened:
        metadata = opened.metadata
        leaves = {metadata.schema.column(at).path: at for at in range(metadata.num_columns)}
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            statistics = {name: group.column(leaves[name]).statistics for name in values}
            known = {name: each for name, each in statistics.items() if each and each.has_min_max}
            if any(not each.min <= values[name] <= each.max for name, each in known.items()):
                continue
            # Other columns, such as the images, are read only from the row group that has the row.
            keys = opened.read_row_group(number, list(values))
            rows = zip(*(keys[name].to_pylist() for name in values), strict=True)
            if places := [at for at, row in enumerate(rows) if row == tuple(values.values())]:
                table = opened.read_row_group(number)
                yield from (table.slice(at, 1).to_pylist()[0] for at in places)


def _of_work(
    given: Place, image_id: str, inputs: Mapping[str, str], unknown: list[str]
) -> tuple[Listed | None, Texts | None]:
    """Return the line, photo and answer of an image, and its raw texts, from a work folder.

    `inputs` are those of the dataset's manifest; what the folder cannot tell is added to `unknown`.
    """
    work = require_local(given, "the work folder", "the crawl's store is a file of this machine")
    require_there(work, "the work folder")
    matches, captions = work / MATCHES, work / CAPTIONS
    if not any((work / name).is_file() for name in (MATCHES, PHOTO_STORE, YFCC_PHOTOS, CAPTIONS)):
        raise InputError(f"the work folder {work} has no {MATCHES} and no {CAPTIONS}; give the work folder of a build")
    listed, raw = None, None
    if "release" not in inputs and matches.is_file():
        listed = _line(matches, image_id, inputs.get("matches"), unknown)
    elif "release" not in inputs:
        unknown.append(f"the line of the URL list: {work} has no {MATCHES}")
    if listed is not None and listed.photo_id is not None:
        listed, raw = _answer(work, listed, listed.photo_id, unknown)
    if captions.is_file():
        made_of = provenance(read_schema(captions)).get("inputs", {})
        if "release" in inputs and made_of.get("release") != inputs["release"]:
            unknown.append(f"whether these texts were used: {captions} {_OF_ANOTHER}")
        if (row := _find_row([captions], **_id(image_id))) is not None:
            raw = Texts(row["raw_title"], row["raw_description"], row["raw_tags"])
    return listed, raw


def _line(matches: Path, image_id: str, digest: str | None, unknown: list[str]) -> Listed | None:
    """Return the line of the URL list, and the photo if the line names one."""
    open_matches(matches).close()  # refuses another file of this name
    if digest is not None and sha256(matches) != digest:
        unknown.append(f"whether this photo was used: {matches} {_OF_ANOTHER}")
    if (row := _find_row([matches], **_id(image_id))) is not None:
        return Listed(f"{image_id} {row['url']}", row["detail"], row["photo_id"])
    outcomes = outcomes_path(matches)
    if outcomes.is_file():
        dropped = _about(image_id, [*_find_rows(outcomes, wnid=wnid_of(image_id))])
        if dropped and dropped[0]["detail"]:
            return Listed(f"{image_id} {dropped[0]['detail']}")
    unknown.append("the line of the URL list: matching found none with this id")
    return None


def _answer(work: Path, listed: Listed, photo_id: str, unknown: list[str]) -> tuple[Listed, Texts | None]:
    """Add Flickr's answer to what is listed, and return the texts of the photo as Flickr or YFCC100M gave them."""
    texts, store_file = None, work / PHOTO_STORE
    if (work / YFCC_PHOTOS).is_file():
        row = _find_row([work / YFCC_PHOTOS], photo_id=photo_id)
        listed = replace(listed, in_yfcc=row is not None)
        texts = None if row is None else _texts(row)
    if not store_file.is_file():
        unknown.append(f"Flickr's answer: {work} has no {PHOTO_STORE}")
        return listed, texts
    with StoreReader(store_file) as store:
        stored = store.get(photo_id)
    if stored is None:
        return replace(listed, answer="not asked"), texts
    if stored.photo is not None:
        record = parse_photo(photo_id, stored.photo)
        texts = Texts(record.title, record.description, record.tags)
    listed = replace(listed, answer=stored.state.value, remark=stored.remark or None)
    if stored.retrieved_at is not None:
        when = datetime.fromtimestamp(stored.retrieved_at, timezone.utc)
        listed = replace(listed, answered_at=when)
    return listed, texts


def _changes(raw: Texts, row: Row | None, unknown: list[str]) -> list[Change]:
    changes = record_changes(raw.title, raw.description, raw.tags)
    for name in ("title", "description"):
        cleaned = getattr(raw, name)
        for change in changes:
            if change.field == name and change.after is not None:
                cleaned = change.after
        if row is not None and row[name] != cleaned:
            unknown.append(f"what cleaned the {name}: another version did, and the changes shown are of this one")
    return changes


def _of_row(row: Row, among: ClassSet, unknown: list[str]) -> dict[str, Any]:
    """Return the parts of an explanation that a row of the dataset has."""
    from imagenet_captions.images.reading import read_header

    if any(row[name] is None for name in ("title", "description", "tags", "mentions")):
        raise InputError(f"the row of {row['image_id']} has a null in its texts; package the dataset again")
    names = ("label", "caption", "names_class", "language", "language_score", "source")
    if row["language"] is None:
        unknown.append("the language: it was not detected when the dataset was made")
    named = [classes.by_index(int(label), among) for label in row["mentions"].split()]
    texts = [row["title"], row["description"], *row["tags"]]
    words = mentions.matcher(among=among).words(texts) if named else []
    image, data = None, (row.get("image") or {}).get("bytes")
    if data is None:
        why = "this row has none" if "image" in row else "the dataset has text only"
        unknown.append(f"the image: {why}")
    else:
        width, height = read_header(memoryview(data)).size or (None, None)
        image = ImageFacts(width, height, len(data), hashlib.sha256(data).hexdigest())
    return {
        **{name: row[name] for name in names},
        "cleaned": _texts(row),
        "mentions": [
            Mention(one.index, one.wnid, one.name, [word for label, word in words if label == one.index])
            for one in named
        ],
        "image": image,
        "photo": _photo(row, unknown),
    }


def _texts(row: Row) -> Texts:
    return Texts(row["title"], row["description"], row["tags"])


def _photo(row: Row, unknown: list[str]) -> Photo:
    """Return the photo with its attribution: title, author, source and license, as Creative Commons asks for."""
    names = ("photo_id", "photo_page", "owner", "owner_name", "retrieved_at")
    photo = Photo(**{name: row[name] for name in names})
    license_, owner = find_license(row["license"]), row["owner_name"] or row["owner"]
    if license_ is None:
        source = _SOURCES.get(row["source"], row["source"])
        unknown.append(f"the license: the texts are from {source}, without one")
    else:
        photo = replace(photo, license=license_.name, license_url=license_.url)
    if license_ is None or owner is None or photo.photo_page is None:
        unknown.append("how to attribute it: owner, page or license of the photo is not known")
        return photo
    # A license without an address keeps all rights.
    terms = f"{license_.name} ({license_.url})" if license_.url else license_.name
    asking = "" if license_.url else "; sharing it needs the owner's permission"
    title = row["title"] or "Untitled"
    whole = f'"{title}" by {owner}, {photo.photo_page}, {terms}{asking}'
    return replace(photo, attribution=whole)
