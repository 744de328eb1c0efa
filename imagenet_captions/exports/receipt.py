"""What the receipt of an export says: what it was made of, and the command that makes it again."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from imagenet_captions.exports.settings import ExportSettings
from imagenet_captions.storage.file_names import MANIFEST
from imagenet_captions.storage.files import sha256, write_json
from imagenet_captions.storage.receipts import FORMAT, VERSION


def mark_unfinished(receipt: Path) -> None:
    """Say that the files of an exported folder are about to take their place.

    So a killed run leaves nothing that the next one would refuse, nor anything that passes for whole.
    """
    write_json(receipt, {"format": FORMAT, "version": VERSION, "unfinished": True})


def about(dataset: Path, out: Path, settings: ExportSettings, own_caption: str) -> dict[str, Any]:
    """What the receipt of an export says beside counts and hashes."""
    return {
        "inputs": {"dataset": sha256(dataset / MANIFEST)},
        "settings": settings.recorded(own_caption),
        "command": command(out, settings),
    }


def command(out: Path, settings: ExportSettings) -> str:
    """The command that makes it again from the same dataset; the paths of images and denylist are as they were given.

    >>> command(Path("work/slim.csv"), ExportSettings("slim"))
    'imagenet-captions export DATASET --to slim --out slim.csv'
    """
    return shlex.join(["imagenet-captions", "export", "DATASET", *settings.flags(), "--out", out.name])
