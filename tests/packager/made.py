"""Captions files and images for the tests, all made here."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from imagenet_captions.imagenet import classes
from imagenet_captions.outcomes import OUTCOMES, Outcome, outcomes_path
from imagenet_captions.schema import CAPTIONS, with_provenance

IDS = [f"{wnid}_{number}" for wnid in ("n01440764", "n02687172", "n03888257", "n15075141") for number in (10026, 17, 4)]
PHOTO_IDS = {image_id: str(2737866470 + number) for number, image_id in enumerate(IDS)}
PROVENANCE: dict[str, Any] = {
    "inputs": {"release": "ab" * 32},
    "settings": {"caption": "title tags description"},
    "language": "lid.176.ftz",
}
DROPS = [
    (None, "n00004475", Outcome.UNKNOWN_CLASS, None, 7),
    ("n01440764_99", "n01440764", Outcome.NO_TEXT, None, 1),
]


def image(image_id: str, form: str = "JPEG", mode: str = "RGB") -> bytes:
    """A small picture that no other id has."""
    seed = sum(map(ord, image_id)) % 251
    colour: Any = tuple((seed * (band + 1)) % 256 for band in range(len(mode)))
    drawn = Image.new(mode, (24 + seed % 9, 20), colour)
    drawn.putpixel((seed % 20, 3), tuple(255 - value for value in colour))
    out = io.BytesIO()
    drawn.save(out, form)
    return out.getvalue()


def images(ids: Iterable[str] = IDS) -> dict[str, bytes]:
    """A picture for each id."""
    return {image_id: image(image_id) for image_id in ids}


def write_captions(path: Path, ids: Iterable[str] = IDS, **columns: Any) -> Path:
    """Write a captions file as `clean` does, and its drops beside it; `columns` replace values in every row."""
    return write_rows(path, ({**caption_row(image_id), **columns} for image_id in sorted(ids)))


def write_published(path: Path, ids: Iterable[str] = IDS, **columns: Any) -> Path:
    """The same, as `clean --as-published` does it."""
    about = {**PROVENANCE, "settings": {**PROVENANCE["settings"], "as_published": True}}
    return write_rows(path, ({**caption_row(image_id), **columns} for image_id in sorted(ids)), about)


def write_rows(
    path: Path, rows: Iterable[dict[str, Any]], about: dict[str, Any] = PROVENANCE, drops: Iterable[Any] = DROPS
) -> Path:
    """Write a captions file of these rows, with what it says of itself, and the drops beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(list(rows), schema=with_provenance(CAPTIONS, about))
    pq.write_table(table, path, row_group_size=5 if len(table) < 100 else None)
    named = [dict(zip(OUTCOMES.names, drop, strict=True)) for drop in drops]
    pq.write_table(pa.Table.from_pylist(named, schema=OUTCOMES), outcomes_path(path))
    return path


def caption_row(image_id: str) -> dict[str, Any]:
    """A row as `clean` leaves it."""
    class_ = classes.by_wnid(image_id[:9])
    return {
        "image_id": image_id,
        "filename": f"{image_id}.JPEG",
        "wnid": class_.wnid,
        "label": class_.index,
        "class_name": class_.name,
        "title": f"Photo {image_id}",
        "description": "",
        "tags": ["one", "zwei"],
        "caption": f"Photo {image_id} one zwei",
        "language": "en",
        "language_score": 0.5,
        "photo_id": PHOTO_IDS.get(image_id),
        "license": 4,
        "date_taken": 1_100_000_000,
        "date_posted": 1_200_000_000,
        "source": "flickr",
        "retrieved_at": 1_700_000_000,
        "mentions": " 5 17 ",
        "names_class": False,
        "raw_title": f"Photo <{image_id}>",
        "raw_description": "",
        "raw_tags": ["one", "zwei", "ns:a=b"],
    }


def train_folder(root: Path, held: Mapping[str, bytes] | None = None) -> Path:
    """The nested folder that people have: Kaggle's ILSVRC/Data/CLS-LOC/train."""
    for image_id, data in (images() if held is None else held).items():
        file = root / "Data/CLS-LOC/train" / image_id[:9] / f"{image_id}.JPEG"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return root


def tar_of(members: Mapping[str, bytes]) -> bytes:
    """A tar, as bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def by_class(held: Mapping[str, bytes]) -> dict[str, dict[str, bytes]]:
    """wnid → file name → bytes."""
    found: dict[str, dict[str, bytes]] = {}
    for image_id, data in held.items():
        found.setdefault(image_id[:9], {})[f"{image_id}.JPEG"] = data
    return found


def change_manifest(dataset: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Edit the manifest of a dataset, as a stranger might."""
    manifest = json.loads((dataset / "manifest.json").read_text())
    change(manifest)
    (dataset / "manifest.json").write_text(json.dumps(manifest))


def sign(dataset: Path, name: str) -> None:
    """Put the bytes that a file has now into the manifest, as someone who edits a dataset would."""
    data, parquet = (dataset / name).read_bytes(), name.endswith(".parquet")
    entry = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    entry |= {"rows": pq.read_metadata(dataset / name).num_rows} if parquet else {}
    change_manifest(dataset, lambda manifest: manifest["files"][name].update(entry))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
