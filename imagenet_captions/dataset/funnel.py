"""How the inputs ended, as counts and as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from imagenet_captions.schema import Outcome
from imagenet_captions.storage.parquet import read_files


def read_funnel(outcomes: Path) -> dict[Outcome, int]:
    """The number of inputs per outcome in an outcomes file, in the order of the enum, without zeros."""
    counts: Counter[str] = Counter()
    for batch in read_files([outcomes], columns=["outcome", "count"]):
        found = pa.Table.from_batches([batch]).group_by("outcome").aggregate([("count", "sum")])
        counts.update(dict(zip(found["outcome"].to_pylist(), found["count_sum"].to_pylist(), strict=True)))
    return {outcome: counts[outcome.value] for outcome in Outcome if outcome.value in counts}


def format_funnel(counts: Mapping[Outcome, int]) -> str:
    """The counts as a text table whose last line is their sum.

    >>> print(format_funnel({Outcome.KEPT: 1200, Outcome.NO_URL: 34}))
    kept    1,200   97.2 %
    no_url     34    2.8 %
    input   1,234  100.0 %
    """
    total = sum(counts.values())
    rows = [(outcome.value, count) for outcome, count in counts.items()] + [("input", total)]
    width = max(len(name) for name, _ in rows)
    digits = max(len(f"{count:,}") for _, count in rows)
    return "\n".join(
        f"{name:<{width}}  {count:>{digits},}  {100 * count / total if total else 0:>5.1f} %" for name, count in rows
    )
