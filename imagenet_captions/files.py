"""Files that are whole or not there: written under another name, renamed at the end."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imagenet_captions.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name to write to, and move what was written there to `path` if nothing went wrong.

    A process that is killed leaves a `.partial` file, which the next run overwrites, and never a half `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write a value as readable JSON, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as opened:
        digest = hashlib.sha256()
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def require_file(path: Path, what: str) -> Path:
    """The path if a file is there, else an InputError that says what was looked for."""
    if path.is_dir():
        raise InputError(f"{what} {path} is a folder; give the file itself")
    if not path.is_file():
        raise InputError(f"{what} {path} does not exist; check the path")
    return path


def remove_tree(path: Path) -> None:
    """Remove a folder of ours, if it is there."""
    if path.exists():
        shutil.rmtree(path)
