"""Read what the work folder of a build has about one image. Used by `explain`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from imagenet_captions.crawler.source import parse_photo
from imagenet_captions.crawler.store import StoreReader
from imagenet_captions.errors import InputError
from imagenet_captions.outcomes import outcomes_path
from imagenet_captions.pipeline.explaining.explanation import Listed, Texts
from imagenet_captions.pipeline.explaining.rows import find_row, of_image, outcomes_of
from imagenet_captions.schema import provenance
from imagenet_captions.sources.matches import open_matches
from imagenet_captions.storage.files import CAPTIONS, MATCHES, PHOTO_STORE, YFCC_PHOTOS, require_there, sha256
from imagenet_captions.storage.parquet import read_schema
from imagenet_captions.storage.places import Place, require_local

NO_PHOTO = "photo and address: the published file, of which the dataset was made, does not name them"

RAW_TEXTS = "raw texts: "
_OF_ANOTHER = "is not of the build that made the dataset"


@dataclass
class WorkFacts:
    """What a work folder has about an image: its line and photo, its raw texts, and what the folder cannot tell."""

    listed: Listed | None = None
    raw: Texts | None = None
    unknown: list[str] = field(default_factory=list)


def read_work(given: Place, image_id: str, inputs: Mapping[str, str]) -> WorkFacts:
    """Return what a work folder has about an image; `inputs` are those of the dataset's manifest."""
    work = require_local(given, "the work folder", "the crawl's store is a file of this machine")
    require_there(work, "the work folder")
    files = {name: work / name for name in (MATCHES, PHOTO_STORE, YFCC_PHOTOS, CAPTIONS) if (work / name).is_file()}
    if not files:
        raise InputError(f"the work folder {work} has no {MATCHES} and no {CAPTIONS}; give the work folder of a build")
    facts = WorkFacts()
    if "release" in inputs:
        facts.unknown.append(NO_PHOTO)
    elif MATCHES not in files:
        facts.unknown.append(f"the line of the URL list: {work} has no {MATCHES}")
    else:
        _add_match(facts, files[MATCHES], image_id, inputs.get("matches"))
    if facts.listed is not None and facts.listed.photo_id is not None:
        facts.listed = _with_answer(facts, facts.listed, work, files, facts.listed.photo_id)
    if "release" in inputs and CAPTIONS in files:
        made_of = provenance(read_schema(files[CAPTIONS])).get("inputs", {})
        if made_of.get("release") != inputs["release"]:
            facts.unknown.append(f"whether these texts were used: {files[CAPTIONS]} {_OF_ANOTHER}")
    row = find_row([files[CAPTIONS]], of_image(image_id)) if CAPTIONS in files else None
    if row is not None:
        facts.raw = Texts(row["raw_title"], row["raw_description"], row["raw_tags"])
    elif "release" in inputs:
        facts.unknown.append(
            RAW_TEXTS + "they are in the published file alone, since the entry was dropped in cleaning"
        )
    return facts


def _add_match(facts: WorkFacts, matches: Path, image_id: str, digest: str | None) -> None:
    open_matches(matches).close()  # refuses another file of this name
    if digest is not None and sha256(matches) != digest:
        facts.unknown.append(f"whether this photo was used: {matches} {_OF_ANOTHER}")
    row = find_row([matches], of_image(image_id))
    if row is not None:
        line = f"{image_id} {row['url']}"
        facts.listed = Listed(line, row["detail"], row["photo_id"])
        return
    dropped = outcomes_of(outcomes_path(matches), image_id) if outcomes_path(matches).is_file() else []
    if dropped and dropped[0]["detail"]:
        facts.listed = Listed(f"{image_id} {dropped[0]['detail']}")
    else:
        facts.unknown.append("the line of the URL list: matching found none with this id")


def _with_answer(facts: WorkFacts, listed: Listed, work: Path, files: Mapping[str, Path], photo_id: str) -> Listed:
    """Add the answer of Flickr, and to the facts the texts of the photo as Flickr or YFCC100M gave them."""
    if YFCC_PHOTOS in files:
        row = find_row([files[YFCC_PHOTOS]], {"photo_id": photo_id})
        listed = replace(listed, in_yfcc=row is not None)
        facts.raw = None if row is None else Texts(row["title"], row["description"], row["tags"])
    if PHOTO_STORE not in files:
        facts.unknown.append(f"Flickr's answer: {work} has no {PHOTO_STORE}")
        return listed
    with StoreReader(files[PHOTO_STORE]) as store:
        stored = store.get(photo_id)
    if stored is None:
        return replace(listed, answer="not asked")
    if stored.photo is not None:
        record = parse_photo(photo_id, stored.photo)
        facts.raw = Texts(record.title, record.description, record.tags)
    when = None if stored.retrieved_at is None else datetime.fromtimestamp(stored.retrieved_at, timezone.utc)
    return replace(listed, answer=stored.state.value, answered_at=when, remark=stored.remark or None)
