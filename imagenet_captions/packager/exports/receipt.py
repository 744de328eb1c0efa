"""What the receipt of an export says: what it was made of, and the command that makes it again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagenet_captions.dataset.manifest import NAME
from imagenet_captions.files import sha256, write_json
from imagenet_captions.storage.receipts import FORMAT, VERSION


def mark_unfinished(receipt: Path) -> None:
    """Say that the files of an exported folder are about to take their place.

    So a killed run leaves nothing that the next one would refuse, nor anything that passes for whole.
    """
    write_json(receipt, {"format": FORMAT, "version": VERSION, "unfinished": True})


def about(dataset: Path, out: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the receipt of an export says beside counts and hashes."""
    return {
        "inputs": {"dataset": sha256(dataset / NAME)},
        "settings": settings,
        "command": command(out, settings),
    }


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
