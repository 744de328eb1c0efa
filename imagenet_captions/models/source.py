"""Where a model comes from: a library and a name, or a path; checked without PyTorch, whose import takes seconds."""

from __future__ import annotations

import os
from pathlib import Path

from imagenet_captions.errors import InputError, unknown_name
from imagenet_captions.models.presets import PRESETS
from imagenet_captions.storage.files import require_there

_LIBRARIES = ("open_clip", "timm", "transformers")
_LONGEST_SHOWN = 100


def split_library(source: str) -> tuple[str, str]:
    """Return the library that a source names and what it names there; of a path, nothing and the path.

    >>> split_library("timm:resnet50"), split_library("runs/0")
    (('timm', 'resnet50'), ('', 'runs/0'))
    """
    library, colon, rest = source.partition(":")
    return (library, rest) if colon and rest and library in _LIBRARIES else ("", source)


def check_source(source: str) -> None:
    """Raise InputError unless a source of `load_model` names a library, or a path that is there."""
    if split_library(source)[0]:
        return
    if os.path.lexists(source):
        require_there(Path(source), "the model")
        return
    library, colon, rest = source.partition(":")
    shown = repr(source[:_LONGEST_SHOWN])
    if colon and rest and "/" not in library:
        raise unknown_name("library of models", library, _LIBRARIES)
    if source in PRESETS:
        raise InputError(f"{shown} is a model without weights; give a run's folder, or a checkpoint")
    raise InputError(
        f"model {shown} does not exist; give a folder, a .ckpt file, open_clip:NAME@TAG, timm:NAME or transformers:NAME"
    )
