"""The files of a model's folder: its description in JSON, and which of its files are the weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imagenet_captions.errors import InputError, shortened
from imagenet_captions.storage.files import require_file


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises InputError for a file that is not there, is no JSON or holds something else.
    """
    try:
        values = json.loads(require_file(path, "the model's description").read_bytes())
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({shortened(error)}); get the model again") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} describes no model; get the model again")
    return values


def find_weights(folder: Path, names: Sequence[str]) -> Path:
    """The folder's weights: the first of the names that is there, else the one file that can be weights."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    others = sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", ".pt", ".pth"))
    if len(others) == 1:
        return others[0]
    found = f"has {len(others)} files that could be" if others else "has no"
    raise InputError(f"{folder} {found} weights; name them {names[0]}")
