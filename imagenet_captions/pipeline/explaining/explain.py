"""Explain one image id of a dataset: its texts, what cleaning did to them, its outcome, and how to attribute it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from imagenet_captions.captions import mentions
from imagenet_captions.cleaner.text import Change, record_changes
from imagenet_captions.dataset.manifest import Manifest, read_manifest, shard_files, unchanged
from imagenet_captions.errors import InputError, quoted, require_kind
from imagenet_captions.flickr.photos import License, allows_sharing, find_license
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.imagenet.image_ids import image_id as read_image_id
from imagenet_captions.imagenet.image_ids import wnid_of
from imagenet_captions.outcomes import OUTCOMES_FILE, Outcome
from imagenet_captions.pipeline.explaining.explanation import Explanation, ImageFacts, Mention, Photo, Texts
from imagenet_captions.pipeline.explaining.rows import Row, count_outside, find_row, of_image, outcomes_of
from imagenet_captions.pipeline.explaining.work import NO_PHOTO, RAW_TEXTS, WorkFacts, read_work
from imagenet_captions.storage.places import Place, PlaceLike, place

_SOURCES = {"release": "the published file", "flickr": "Flickr", "yfcc100m": "YFCC100M"}


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
    with unchanged(folder):
        manifest = read_manifest(folder)
        outcomes = outcomes_of(folder / OUTCOMES_FILE, name)
        if not outcomes or outcomes[0]["image_id"] is None:
            raise _unknown_id(folder, name)
        row, raw = (find_row(shard_files(folder, config), of_image(name)) for config in ("data", "raw"))
    facts = _without_work(manifest) if work is None else read_work(place(work), name, manifest.inputs)
    return _explanation(name, manifest, outcomes, facts, row, raw)


def _without_work(manifest: Manifest) -> WorkFacts:
    if "release" in manifest.inputs:
        return WorkFacts(unknown=[NO_PHOTO])
    return WorkFacts(unknown=["the line of the URL list, and Flickr's answer: no work folder was given"])


def _unknown_id(dataset: Place, image_id: str) -> InputError:
    wnid = wnid_of(image_id)
    outside = count_outside(dataset / OUTCOMES_FILE, wnid)
    if outside:
        return InputError(
            f"{image_id} is not in {dataset}, unless it is among the ids of {wnid} outside the wanted classes "
            f"({outside:,} in all), which are counted and not listed; give another id"
        )
    return InputError(f"{image_id} is not among the inputs of {dataset}; check the id")


def _explanation(
    image_id: str, manifest: Manifest, outcomes: list[Row], facts: WorkFacts, row: Row | None, raw_row: Row | None
) -> Explanation:
    class_, own = classes.find(wnid_of(image_id)), outcomes[0]
    unknown = [*facts.unknown]
    raw = facts.raw if raw_row is None else _texts(raw_row)
    if raw is None and not any(sentence.startswith(RAW_TEXTS) for sentence in unknown):
        unknown.append(f"{RAW_TEXTS}the dataset has those of its rows alone, and the given folders have no others")
    changes = [] if raw is None or manifest.as_published else _changes(raw, row, unknown)
    found: dict[str, Any] = {} if row is None else _of_row(row, manifest, unknown)
    return Explanation(
        image_id=image_id,
        wnid=wnid_of(image_id),
        class_name="" if class_ is None else class_.name,
        outcome=Outcome(own["outcome"]),
        detail=own["detail"],
        further_entries=[f"{each['outcome']}: {each['detail']}" for each in outcomes[1:]],
        raw=raw,
        changes=changes,
        listed=facts.listed,
        unknown=unknown,
        **found,
    )


def _changes(raw: Texts, row: Row | None, unknown: list[str]) -> list[Change]:
    changes = record_changes(raw.title, raw.description, raw.tags)
    if row is not None:
        for name in ("title", "description"):
            steps = [change.after for change in changes if change.field == name and change.after is not None]
            if row[name] != (steps[-1] if steps else getattr(raw, name)):
                unknown.append(f"what cleaned the {name}: another version did, and the changes shown are of this one")
    return changes


def _of_row(row: Row, manifest: Manifest, unknown: list[str]) -> dict[str, Any]:
    names = ("label", "caption", "names_class", "language", "language_score", "source")
    if row["language"] is None:
        unknown.append("the language: it was not detected when the dataset was made")
    return {
        **{name: row[name] for name in names},
        "cleaned": _texts(row),
        "mentions": _mentions(row, manifest.classes),
        "image": _image(row, unknown),
        "photo": _photo(row, unknown),
    }


def _texts(row: Row) -> Texts:
    return Texts(row["title"], row["description"], row["tags"])


def _mentions(row: Row, among: ClassSet) -> list[Mention]:
    if not row["mentions"]:
        return []
    words = mentions.matcher(among=among).words([row["title"], row["description"], *row["tags"]])
    found = [classes.by_index(int(label), among) for label in row["mentions"].split()]
    return [
        Mention(one.index, one.wnid, one.name, [word for label, word in words if label == one.index]) for one in found
    ]


def _image(row: Row, unknown: list[str]) -> ImageFacts | None:
    from imagenet_captions.images.reading import read_header

    data = (row.get("image") or {}).get("bytes")
    if data is None:
        has_column = "image" in row
        unknown.append(f"the image: {'this row has none' if has_column else 'the dataset has text only'}")
        return None
    width, height = read_header(memoryview(data)).size or (None, None)
    return ImageFacts(width, height, len(data), hashlib.sha256(data).hexdigest())


def _photo(row: Row, unknown: list[str]) -> Photo:
    license_ = find_license(row["license"])
    names = ("photo_id", "photo_page", "owner", "owner_name", "retrieved_at")
    photo = Photo(**{name: row[name] for name in names}, attribution=_attribution(row, license_))
    if license_ is None:
        unknown.append(f"the license: the texts are from {_SOURCES.get(row['source'], row['source'])}, without one")
    if photo.attribution is None:
        unknown.append("how to attribute it: owner, page or license of the photo is not known")
    return photo if license_ is None else replace(photo, license=license_.name, license_url=license_.url)


def _attribution(row: Row, license_: License | None) -> str | None:
    """Return title, author, source and license, as Creative Commons asks for; None if one of the last three lacks."""
    owner = row["owner_name"] or row["owner"]
    if license_ is None or owner is None or row["photo_page"] is None:
        return None
    terms = f"{license_.name} ({license_.url})" if license_.url else license_.name
    asking = "" if allows_sharing(license_.id) else "; sharing it needs the owner's permission"
    return f'"{row["title"] or "Untitled"}" by {owner}, {row["photo_page"]}, {terms}{asking}'
