"""Explain one image of a dataset: its texts, what cleaning changed, its outcome, license, URL and attribution."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from imagenet_captions.captions import mentions
from imagenet_captions.cleaner.text import Change, record_changes
from imagenet_captions.crawler.source import parse_photo
from imagenet_captions.crawler.store import read_store
from imagenet_captions.dataset.shards import Shards
from imagenet_captions.errors import InputError, quoted, shortened
from imagenet_captions.flickr.photos import find_license
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.imagenet.image_ids import image_id as read_image_id
from imagenet_captions.imagenet.image_ids import wnid_of
from imagenet_captions.outcomes import Outcome, outcomes_path
from imagenet_captions.schema import provenance
from imagenet_captions.sources.matches import open_matches
from imagenet_captions.storage.files import CAPTIONS, MATCHES, PHOTO_STORE, YFCC_PHOTOS, require_there, sha256
from imagenet_captions.storage.parquet import ParquetFile, read_schema
from imagenet_captions.storage.places import Place, PlaceLike, place, require_local

Record = dict[str, Any]

_TEXTS = ("title", "description", "tags")
_LISTED = ("line", "other_addresses", "photo_id", "answer", "answered_at", "remark", "in_yfcc")
_SOURCES = {"release": "the published file", "flickr": "Flickr", "yfcc100m": "YFCC100M"}


@dataclass
class Explanation:
    """The life of one id; a part that is not known is None or empty, and `unknown` says why."""

    image_id: str
    wnid: str
    class_name: str
    outcome: Outcome
    detail: str | None
    further_entries: list[str]  # how further entries with this id ended
    label: int | None = None
    raw: Record | None = None  # title, description and tags as the source gave them
    changes: list[Change] = field(default_factory=list)
    cleaned: Record | None = None
    caption: str | None = None
    mentions: list[Record] = field(default_factory=list)  # classes, with the words that name them
    names_class: bool | None = None
    language: str | None = None
    language_score: float | None = None
    source: str | None = None
    image: Record | None = None  # width, height, bytes and SHA-256
    photo: Record | None = None  # page, owner, license and attribution
    listed: Record | None = None  # of the work folder: the line of the URL list, and what became of the photo
    unknown: list[str] = field(default_factory=list)

    def as_dict(self) -> Record:
        """Return everything for JSON."""
        changes = [change._asdict() for change in self.changes]
        return {**vars(self), "outcome": self.outcome.value, "changes": changes, "meaning": self.outcome.meaning}

    def __str__(self) -> str:
        """Return the life of the id as text, a line for each thing that is known."""
        known = [f"{name:<16}{text}" for name, text in self._facts() if text is not None]
        unknown = [f"not known: {sentence}" for sentence in self.unknown]
        return "\n".join([f"{self.image_id}  {self.class_name}", *known, *unknown])

    def _facts(self) -> Iterator[tuple[str, Any]]:
        detail = f" ({shortened(self.detail, 300)})" if self.detail else ""
        yield "outcome", f"{self.outcome.value}: {self.outcome.meaning}{detail}"
        yield from (("", f"another entry: {entry}") for entry in self.further_entries)
        yield "label", self.label
        if listed := self.listed:
            yield "URL list", shortened(listed["line"], 300)
            if listed["other_addresses"]:
                yield "", f"other addresses: {shortened(listed['other_addresses'], 300)}"
            yield "photo", listed["photo_id"]
            if listed["answer"]:
                when = f", {listed['answered_at'][:10]}" if listed["answered_at"] else ""
                remark = f" ({shortened(listed['remark'])})" if listed["remark"] else ""
                yield "answer", f"{listed['answer']}{when}{remark}"
            if listed["in_yfcc"] is not None:
                yield "YFCC100M", "has the photo" if listed["in_yfcc"] else "does not have the photo"
        yield "source", self.source
        yield from _lines("raw", self.raw)
        for at, change in enumerate(self.changes):
            yield "" if at else "cleaning", f"{change.rule}: {change}"
        if self.changes:
            yield from _lines("clean", self.cleaned)
        if self.caption is not None:
            yield "caption", repr(self.caption)
            yield "mentions", None if self.mentions else "no class"
        for at, mention in enumerate(self.mentions):
            own = ", its own class" if mention["label"] == self.label else ""
            words = ", ".join(map(repr, mention["words"]))
            yield "" if at else "mentions", f"{mention['class_name']} ({mention['label']}{own}), by {words}"
        if self.language is not None:
            score = "" if self.language_score is None else f", score {self.language_score:.2f}"
            yield "language", f"{self.language}{score}"
        if image := self.image:
            size = f"{image['width']} x {image['height']} pixels, " if image["width"] else ""
            yield "image", f"{size}{image['bytes']:,} bytes, SHA-256 {image['sha256']}"
        if photo := self.photo:
            yield "photo page", photo["photo_page"]
            yield "license", ", ".join(filter(None, [photo["license"], photo["license_url"]])) or None
            yield "attribution", photo["attribution"]
            yield "retrieved", photo["retrieved_at"] and photo["retrieved_at"][:10]


def _lines(kind: str, texts: Record | None) -> Iterator[tuple[str, str]]:
    if texts is not None:
        yield f"{kind} title", repr(texts["title"])
        yield f"{kind} text", repr(texts["description"])
        yield f"{kind} tags", ", ".join(map(repr, texts["tags"])) or "none"


def explain(dataset: PlaceLike, image_id: str, work: PlaceLike | None = None) -> Explanation:
    """Return the life of one id: texts, what each rule changed, caption, mentions, image, outcome, license.

        print(ic.explain("imagenet-captions", "n01440764_10026"))

    `work` is the work folder of the build; it adds the line of the URL list, the photo, Flickr's answer, and the raw
    texts of a dropped id. What the folders cannot tell is in `unknown`.

    Raises InputError for an id that is not among the inputs of the dataset.
    """
    name = read_image_id(str(image_id))
    if name is None:
        raise InputError(f"{quoted(image_id)} is not the id of a training image; give one such as n01440764_10026")
    with Shards(place(dataset)).unchanged() as shards:
        manifest = shards.manifest
        own, *further = _outcomes_of(name, shards)
        row, raw = (_find_row(shards.files(config), "image_id", name) for config in ("data", "raw"))
    class_ = classes.find(wnid_of(name))
    found = Explanation(
        image_id=name,
        wnid=wnid_of(name),
        class_name="" if class_ is None else class_.name,
        outcome=Outcome(own["outcome"]),
        detail=own["detail"],
        further_entries=[f"{each['outcome']}: {each['detail']}" for each in further],
    )
    if "release" in manifest.inputs:
        found.unknown.append("photo and address: the published file, of which the dataset was made, does not name them")
    elif work is None:
        found.unknown.append("the line of the URL list, and Flickr's answer: no work folder was given")
    if work is not None:
        folder = require_local(place(work), "the work folder", "the crawl's store is a file of this machine")
        _add_work(found, require_there(folder, "the work folder"), manifest.inputs)
    if raw is not None:
        found.raw = _texts(raw)
    elif found.raw is None:
        found.unknown.append("raw texts: the dataset has those of its rows alone, and the given folders have no others")
    if found.raw is not None and not manifest.as_published:
        found.changes = record_changes(**found.raw)
    if row is not None:
        _add_row(found, row, manifest.classes)
    return found


def _outcomes_of(image_id: str, shards: Shards) -> list[Record]:
    """Return the outcomes of an id, its own first; raise InputError if it is not among the inputs."""
    wnid = wnid_of(image_id)
    rows = [*_find_rows(shards.outcomes, "wnid", wnid)]
    found = _about(image_id, rows)
    if found and found[0]["image_id"] is not None:
        return found
    unlisted = [row for row in rows if row["outcome"] == Outcome.UNKNOWN_CLASS.value]
    if outside := sum(row["count"] for row in unlisted if row["image_id"] is None):
        raise InputError(
            f"{image_id} is not in {shards.dataset}, unless it is among the ids of {wnid} outside the wanted classes "
            f"({outside:,} in all), which are counted and not listed; give another id"
        )
    raise InputError(f"{image_id} is not among the inputs of {shards.dataset}; check the id")


def _about(image_id: str, rows: list[Record]) -> list[Record]:
    """Return the outcomes of an id: its own first, then those of further entries, which have the id in the detail."""
    own = [row for row in rows if row["image_id"] == image_id]
    others = [row for row in rows if row["image_id"] is None]
    return own + [row for row in others if (row["detail"] or "").partition(";")[0] == image_id]


def _find_row(files: Sequence[Place], column: str, value: str) -> Record | None:
    return next((row for file in files for row in _find_rows(file, column, value)), None)


def _find_rows(file: Place, column: str, value: str) -> Iterator[Record]:
    """Yield the rows with a value; other columns, such as images, are read only from the row groups that have it."""
    with ParquetFile(file) as opened:
        leaf = opened.schema.names.index(column)
        for number in range(opened.num_row_groups):
            statistics = opened.metadata.row_group(number).column(leaf).statistics
            if statistics and statistics.has_min_max and not statistics.min <= value <= statistics.max:
                continue
            values = opened.read_row_group(number, [column])[column].to_pylist()
            if value in values:
                table = opened.read_row_group(number)
                yield from (table.slice(at, 1).to_pylist()[0] for at, each in enumerate(values) if each == value)


def _texts(row: Mapping[str, Any]) -> Record:
    return {name: row[name] for name in _TEXTS}


def _add_work(found: Explanation, work: Path, inputs: Mapping[str, str]) -> None:
    """Add the line, photo and answer of an image, and its raw texts; `inputs` are those of the dataset's manifest."""
    matches, captions = work / MATCHES, work / CAPTIONS
    if not any((work / name).is_file() for name in (MATCHES, PHOTO_STORE, YFCC_PHOTOS, CAPTIONS)):
        raise InputError(f"the work folder {work} has no {MATCHES} and no {CAPTIONS}; give the work folder of a build")
    if "release" not in inputs and matches.is_file():
        _add_line(found, matches, inputs.get("matches"))
    elif "release" not in inputs:
        found.unknown.append(f"the line of the URL list: {work} has no {MATCHES}")
    if found.listed and found.listed["photo_id"]:
        _add_answer(found, work, found.listed)
    if captions.is_file() and (row := _find_row([captions], "image_id", found.image_id)) is not None:
        found.raw = {name: row[f"raw_{name}"] for name in _TEXTS}
        if provenance(read_schema(captions)).get("inputs", {}).get("release") != inputs.get("release"):
            found.unknown.append(f"whether these texts were used: {captions} is not of the build that made the dataset")


def _add_line(found: Explanation, matches: Path, digest: str | None) -> None:
    """Add the line of the URL list, and the photo if the line names one."""
    open_matches(matches).close()  # refuses another file of this name
    if digest is not None and sha256(matches) != digest:
        found.unknown.append(f"whether this photo was used: {matches} is not of the build that made the dataset")
    row = _find_row([matches], "image_id", found.image_id)
    address = None if row is None else row["url"]
    if row is None and (outcomes := outcomes_path(matches)).is_file():
        dropped = _about(found.image_id, [*_find_rows(outcomes, "wnid", found.wnid)])
        address = dropped[0]["detail"] if dropped else None
    if not address:
        found.unknown.append("the line of the URL list: matching found none with this id")
        return
    found.listed = {**dict.fromkeys(_LISTED), "line": f"{found.image_id} {address}"}
    if row is not None:
        found.listed |= {"other_addresses": row["detail"], "photo_id": row["photo_id"]}


def _add_answer(found: Explanation, work: Path, listed: Record) -> None:
    """Add Flickr's answer, and the texts of the photo as Flickr or YFCC100M gave them."""
    photo_id, file = listed["photo_id"], work / PHOTO_STORE
    if (work / YFCC_PHOTOS).is_file():
        row = _find_row([work / YFCC_PHOTOS], "photo_id", photo_id)
        listed["in_yfcc"] = row is not None
        found.raw = None if row is None else _texts(row)
    if not file.is_file():
        found.unknown.append(f"Flickr's answer: {work} has no {PHOTO_STORE}")
        return
    with read_store(file) as store:
        stored = store.get(photo_id)
    if stored is None:
        listed["answer"] = "not asked"
        return
    listed |= {"answer": stored.state.value, "remark": stored.remark or None}
    if stored.photo is not None:
        found.raw = _texts(vars(parse_photo(photo_id, stored.photo)))
    if stored.retrieved_at is not None:
        listed["answered_at"] = datetime.fromtimestamp(stored.retrieved_at, timezone.utc).isoformat()


def _add_row(found: Explanation, row: Record, among: ClassSet) -> None:
    """Add what a row of the dataset has."""
    from imagenet_captions.images.reading import read_header

    if any(row[name] is None for name in (*_TEXTS, "mentions")):
        raise InputError(f"the row of {found.image_id} has a null in its texts; package the dataset again")
    for name in ("label", "caption", "names_class", "language", "language_score", "source"):
        setattr(found, name, row[name])
    found.cleaned = _texts(row)
    for name, raw in (found.raw or {}).items():
        after = [change.after for change in found.changes if change.field == name and change.after is not None]
        if name != "tags" and row[name] != [raw, *after][-1]:
            found.unknown.append(f"what cleaned the {name}: another version did, whose changes may differ from these")
    if found.language is None:
        found.unknown.append("the language: it was not detected when the dataset was made")
    labels = list(map(int, row["mentions"].split()))
    texts = [row["title"], row["description"], *row["tags"]]
    named = mentions.matcher(among=among).words(texts) if labels else []
    for one in (classes.by_index(label, among) for label in labels):
        words = [word for label, word in named if label == one.index]
        found.mentions.append({"label": one.index, "wnid": one.wnid, "class_name": one.name, "words": words})
    if (data := (row.get("image") or {}).get("bytes")) is None:
        found.unknown.append(f"the image: {'this row has none' if 'image' in row else 'the dataset has text only'}")
    else:
        width, height = read_header(memoryview(data)).size or (None, None)
        digest = hashlib.sha256(data).hexdigest()
        found.image = {"width": width, "height": height, "bytes": len(data), "sha256": digest}
    # The photo with its attribution: title, author, source and license, as Creative Commons asks for.
    found.photo = {name: row[name] for name in ("photo_id", "photo_page", "owner", "owner_name")}
    license_, owner = find_license(row["license"]), row["owner_name"] or row["owner"]
    attribution = None
    if license_ is None:
        source = _SOURCES.get(row["source"], row["source"])
        found.unknown.append(f"the license: the texts are from {source}, without one")
    if license_ is None or owner is None or row["photo_page"] is None:
        found.unknown.append("how to attribute it: owner, page or license of the photo is not known")
    else:
        # A license without an address keeps all rights.
        terms = f"{license_.name} ({license_.url})" if license_.url else license_.name
        asking = "" if license_.url else "; sharing it needs the owner's permission"
        attribution = f'"{row["title"] or "Untitled"}" by {owner}, {row["photo_page"]}, {terms}{asking}'
    found.photo |= {
        "license": license_ and license_.name,
        "license_url": license_ and license_.url,
        "attribution": attribution,
        "retrieved_at": row["retrieved_at"] and row["retrieved_at"].isoformat(),
    }
