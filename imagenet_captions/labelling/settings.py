"""Which rows a labeling keeps, and how it looks for names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from imagenet_captions.engines.local import LOCAL, Engine, check_workers, default_workers
from imagenet_captions.errors import InputError
from imagenet_captions.options import check, option
from imagenet_captions.storage.places import PlaceField


class Mode(str, Enum):
    """Which rows get a label."""

    SINGLE = "single"  # that name exactly one class
    MULTI = "multi"  # that name at least one class; they get a list
    STRICT = "strict"  # that name exactly one class, by open_clip's curated names alone


@dataclass(frozen=True)
class LabelSettings:
    """Which rows get a label, the columns that are searched for names, and how many rows make a test set.

    Without `texts`, the columns are title, description and tags, or else the caption.
    """

    mode: Mode = option(
        "Label rows that name exactly one class (single), at least one (multi), or exactly one by its curated name "
        "alone (strict).",
        Mode.SINGLE,
    )
    texts: Sequence[str] = option(
        "A column to look for names in. May be given often. Default: title, description and tags, else the caption.",
        (),
        flag="--text",
        what="caption",
    )
    case_sensitive: bool = option("Take a name only as WordNet writes it, as the paper did with YFCC.", False)
    per_class: int | None = option(
        "A test set for `evaluate --on`: at most this many rows a class, with their images from Parquet to Parquet.",
        least=1,
    )
    seed: int = option("Seed that chooses the rows of a test set.", 0, needs="per_class")
    without: PlaceField = option("Leave out the rows with these ids, such as those trained on: one a line.")
    workers: int = field(default_factory=default_workers)
    engine: Engine = LOCAL

    def __post_init__(self) -> None:
        check(self)
        check_workers(self.workers)
        if self.per_class is not None and self.mode is Mode.MULTI:
            raise InputError("a test set needs one label a row; leave out `per_class`, or `mode` multi")
