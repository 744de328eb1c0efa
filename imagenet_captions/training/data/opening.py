"""Open the images that a run trains on."""

from __future__ import annotations

from pathlib import Path

from imagenet_captions.errors import InputError
from imagenet_captions.images.examples import Examples, only_ids, open_examples
from imagenet_captions.storage.files import require_file


def open_rows(data: Path, ids: Path | None) -> Examples:
    """Return the images of `data`, or those of them whose ids are in the file `ids`, one a line."""
    examples = open_examples(data)
    if ids is None:
        return examples
    lines = require_file(ids, "the list of ids").read_text(encoding="utf-8").splitlines()
    lines = [line.strip() for line in lines if line.strip()]
    if not lines:
        raise InputError(f"the list of ids {ids} is empty; give one id a line")
    return only_ids(examples, lines)
