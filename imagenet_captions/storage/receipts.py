"""Recognize outputs of this package: a dataset by its manifest, other files by a receipt beside them.

The receipt of an output NAME is NAME.json. It holds the SHA-256 of what was written.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from typing import Any

from imagenet_captions.storage.file_names import MANIFEST
from imagenet_captions.storage.files import sha256, write_json
from imagenet_captions.storage.places import Place

FORMAT = "imagenet-captions receipt"
_FORMATS = (FORMAT, "imagenet-captions export")  # the latter until November 2026
VERSION = 1
DATASET_FORMAT = "imagenet-captions dataset"


def receipt_path(out: Place) -> Place:
    """Return the path of an output's receipt.

    >>> from pathlib import Path
    >>> receipt_path(Path("work/train.tsv")).as_posix()
    'work/train.tsv.json'
    """
    return out.parent / f"{out.name}.json"


def write_receipt(
    path: Place, files: Mapping[str, str], about: Mapping[str, Any], replaced: Mapping[str, str] | None = None
) -> None:
    """Write a receipt: the SHA-256 of each file by name, and what `about` says of them.

    `replaced` holds the SHA-256 of the files that the new ones are about to replace, so that after a run was killed
    between the receipt and the files, the next run still knows them.
    """
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "made_with": {"imagenet-captions": importlib.metadata.version("imagenet-captions")},
        **about,
        "files": dict(files),
    }
    if replaced:
        content["replaces"] = dict(replaced)
    write_json(path, content)


def is_dataset(folder: Place) -> bool:
    """Return whether a folder is a dataset of this package, of any version, finished or not."""
    return bool(manifest_content(folder))


def manifest_content(folder: Place) -> dict[str, Any]:
    """Return what the manifest of a dataset holds, in one read; empty if the folder is not a dataset."""
    content = _read_json(folder / MANIFEST)
    return content if content.get("format") == DATASET_FORMAT else {}


def names_in(record: Place) -> frozenset[str]:
    """Return the files that a manifest or a receipt names; empty if a run was killed before it named them."""
    return frozenset(_read_json(record).get("files", ()))


def is_receipt(path: Place) -> bool:
    """Return whether a file is a receipt that this package wrote."""
    return bool(_read(path))


def has_receipt(out: Place, receipt: Place) -> bool:
    """Return whether a receipt covers an output: a file with its present content, or a folder."""
    content = _read(receipt)
    if not content:
        return False
    if out.is_dir() or content.get("unfinished"):
        return True
    known = {content.get(part, {}).get(out.name) for part in ("files", "replaces")}
    known.add(content.get("ids"))  # of a list of ids, until November 2026
    return sha256(out) in known


def _read(path: Place) -> dict[str, Any]:
    """Return what a receipt holds; empty if the file is not a receipt."""
    content = _read_json(path)
    is_ours = content.get("format") in _FORMATS or {"parent", "filter", "counts", "ids"} == content.keys()
    return content if is_ours else {}


def _read_json(path: Place) -> dict[str, Any]:
    """Return the object in a JSON file; empty if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
