"""The inputs of a micro ablation, made once: texts for images that have none, and a test set under each shift."""

from __future__ import annotations

from pathlib import Path

from imagenet_captions.ablations.micro.dataset import write_micro_dataset, write_micro_shifts
from imagenet_captions.ablations.micro.shift import SHIFTS
from imagenet_captions.errors import InputError
from imagenet_captions.storage.files import digest
from imagenet_captions.storage.parquet import read_schema

CLEAN = "clean"
_TEXTS = {"title", "description", "tags", "caption"}


def with_texts(source: Path, made: Path) -> Path:
    """Return a micro data set unchanged if it has texts, else a copy with texts made for it."""
    if not source.is_file():
        raise InputError(
            f"`preset='micro'` trains on a Parquet file with image, label and class_name; {source} is none"
        )
    if made.is_file():
        return made
    if _TEXTS & {*read_schema(source).names}:
        return source
    write_micro_dataset(source, made)
    return made


def with_shifts(clean: Path, folder: Path) -> dict[str, Path]:
    """Return the test sets of a micro ablation: the one given, and what the shifts make of it."""
    shifted = folder / f"shifts-{digest(clean)[:10]}"
    shifts = {f"micro-{name}": shifted / f"micro-{name}.parquet" for name in SHIFTS}
    if not all(path.is_file() for path in shifts.values()):
        write_micro_shifts(clean, shifted)
    return {CLEAN: clean, **shifts}
