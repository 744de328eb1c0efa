"""How an input can end: the outcomes, what each means, and how they are counted and shown.

Every input id ends in exactly one outcome. A stage writes what it dropped into `X.outcomes.parquet` beside its product
`X.parquet`, everything dropped before included; packaging adds the kept rows in the dataset's `outcomes.parquet`. To
add an outcome, add a line to `Outcome`: the table that `build` prints and the dataset card take it from there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from imagenet_captions.errors import aligned

if TYPE_CHECKING:
    from imagenet_captions.storage.places import Place


class Outcome(str, Enum):
    """Where an input id ended, and what that means to a reader of the dataset card."""

    _value_: str
    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Outcome:
        """Make an outcome whose value is its name in a file."""
        outcome = str.__new__(cls, value)
        outcome._value_ = value
        outcome.meaning = meaning
        return outcome

    KEPT = "kept", "in the dataset"
    NO_URL = "no_url", "the URL lists have no address for it"
    BAD_URL = "bad_url", "its address cannot be read"
    NOT_FLICKR = "not_flickr", "its address is not Flickr's"  # look-alike hosts too
    NOT_A_PHOTO = "not_a_photo", "its address is on Flickr, but is not a photo's"  # a video, a profile
    NOT_FOUND = "not_found", "Flickr no longer has it, or it is private"  # code 1; Flickr does not say which
    PRIVATE = "private", "its owner made it private"  # code 2
    UNREACHABLE = "unreachable", "Flickr gave no usable answer"  # to any attempt
    NOT_ASKED = "not_asked", "Flickr was not asked: the crawl was limited, or there was none"
    NO_TEXT = "no_text", "cleaning left no text of its photographer"
    UNKNOWN_CLASS = "unknown_class", "outside the wanted classes, or not asked for"
    BAD_RECORD = "bad_record", "its record is not in the source's format"  # a line or an entry
    DUPLICATE_ID = "duplicate_id", "an earlier record has the same id"
    NO_IMAGE = "no_image", "the given images do not include it"
    BROKEN_IMAGE = "broken_image", "its file is not a usable image"
    DENIED = "denied", "on the denylist"
    FILTERED = "filtered", "left out by the filter that made this dataset from a larger one"


OUTCOMES_FILE = "outcomes.parquet"  # of a dataset

OUTCOMES = pa.schema(
    [
        pa.field("image_id", pa.string()),  # null where a row stands for several ids, or for an entry without one
        pa.field("wnid", pa.string()),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("detail", pa.string()),
        pa.field("count", pa.int64(), nullable=False),
    ]
)


def outcomes_path(product: Place) -> Place:
    """Return the file beside a stage's product, X.outcomes.parquet, that holds what was dropped on the way to it."""
    return product.parent / f"{PurePath(product.name).stem}.{OUTCOMES_FILE}"


def outcome_rows(outcome: Outcome | pa.Array, size: int, **columns: Any) -> pa.Table:
    """Return OUTCOMES rows of one outcome or a column of them; omitted columns are null, and omitted counts are 1."""
    outcomes = pa.repeat(outcome.value, size) if isinstance(outcome, Outcome) else outcome
    given = {"outcome": outcomes, "count": pa.repeat(1, size), **columns}
    return pa.table([given.get(field.name, pa.nulls(size, field.type)) for field in OUTCOMES], schema=OUTCOMES)


def count_outcomes(batches: Iterable[pa.RecordBatch], kept: int = 0) -> dict[Outcome, int]:
    """Return the number of inputs per outcome in OUTCOMES batches, in the order of the enum and without zeros.

    `kept` is the number of kept inputs that the batches leave out.
    """
    counts = Counter({Outcome.KEPT.value: kept})
    for batch in batches:
        found = pa.Table.from_batches([batch]).group_by("outcome").aggregate([("count", "sum")])
        counts.update(dict(zip(found["outcome"].to_pylist(), found["count_sum"].to_pylist(), strict=True)))
    return {outcome: counts[outcome.value] for outcome in Outcome if counts[outcome.value]}


def format_counts(counts: Mapping[Outcome, int]) -> str:
    """Return the counts as a text table whose last line is their sum.

    >>> print(format_counts({Outcome.KEPT: 1200, Outcome.NO_URL: 34}))
    kept    1,200   97.2 %
    no_url     34    2.8 %
    input   1,234  100.0 %
    """
    total = sum(counts.values())
    rows = [*((outcome.value, count) for outcome, count in counts.items()), ("input", total)]
    return "\n".join(aligned([[name, f"{count:,}", share(count, total)] for name, count in rows]))


def share(count: int, total: int) -> str:
    """Return a share in percent, as text."""
    return f"{100 * count / total if total else 0:.1f} %"
