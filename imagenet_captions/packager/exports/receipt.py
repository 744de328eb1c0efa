"""PATH.json beside an export: what it was made of and how, and the SHA-256 of what came out."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagenet_captions.dataset.manifest import NAME
from imagenet_captions.errors import InputError
from imagenet_captions.files import sha256, write_json

FORMAT = "imagenet-captions export"
VERSION = 1


def receipt_path(out: Path) -> Path:
    """Where the receipt of an export lies.

    >>> receipt_path(Path("work/train.tsv")).as_posix()
    'work/train.tsv.json'
    """
    return out.with_name(out.name + ".json")


def check_place(out: Path, dataset: Path, images: Path | None) -> None:
    """Refuse to write into the dataset or the images, or over anything that is no earlier export."""
    place = out.resolve()
    for path, what in ((dataset, "the dataset"), (images, "the images")):
        if path is None:
            continue
        inside = path.resolve()
        if place == inside or inside in place.parents:
            raise InputError(f"the output {out} lies in {what} {path}; give a place outside")
        if place in inside.parents:
            raise InputError(f"{what} {path} lie in the output {out}; give another place")
    if receipt_path(out).exists() and not _is_receipt(receipt_path(out)):
        raise InputError(f"{receipt_path(out)} is no receipt of an export and would be lost; give another name")
    if out.exists() and not receipt_path(out).exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{out} is there and is no earlier export; give another name, or remove it")


def mark_unfinished(out: Path) -> None:
    """Say that the files of an export are about to take their place.

    So a killed run leaves nothing that the next one would refuse, nor anything that passes for whole.
    """
    write_json(receipt_path(out), {"format": FORMAT, "version": VERSION, "unfinished": True})


def write_receipt(
    out: Path, dataset: Path, settings: Mapping[str, Any], counts: Mapping[str, int], files: Mapping[str, str]
) -> None:
    """Write the receipt; `files` are the SHA-256 of what is exported, by name."""
    write_json(
        receipt_path(out),
        {
            "format": FORMAT,
            "version": VERSION,
            "made_with": {"imagenet-captions": importlib.metadata.version("imagenet-captions")},
            "inputs": {"dataset": sha256(dataset / NAME)},
            "settings": settings,
            "counts": counts,
            "files": files,
            "command": command(out, settings),
        },
    )


def command(out: Path, settings: Mapping[str, Any]) -> str:
    """The command that makes it again from the same dataset.

    >>> command(Path("work/slim.csv"), {"to": "slim", "caption": "title"})
    "imagenet-captions export DATASET --to slim --caption 'title' --out slim.csv"
    """
    flags = {"caption": "--caption", "seed": "--seed", "shard_size": "--shard-size", "path_prefix": "--path-prefix"}
    words = ["imagenet-captions export DATASET --to", str(settings["to"])]
    for name, flag in flags.items():
        if name in settings:
            value = settings[name]
            words += [flag, "'" + value.replace("'", "'\\''") + "'" if isinstance(value, str) else str(value)]
    if "deny" in settings:
        words.append("--deny FILE")
    return " ".join([*words, "--out", out.name])


def _is_receipt(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT
