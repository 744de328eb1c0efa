"""Write comparisons.csv, and make the report's sentences from its rows alone."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from imagenet_captions.ablations.reports.compare import Difference

POINTS, LOG_ODDS = "points", "log-odds"
_MARKS = {
    "extrapolated": "an arm is outside the accuracies of the baseline's models, where the curve is extrapolated",
    "sparse": "the baseline has few models of an arm's accuracy",
}
EFFECTIVE, ACCURACY = "effective robustness", "accuracy"


@dataclass(frozen=True)
class Row:
    """One quantity of one comparison: how far the first arm is above the second, with the interval at 95 %.

    `kind` is effective robustness or accuracy, `quantity` says on what, and `headline` marks the rows that a factor's
    sentence is about. `by_seed` holds the differences of the single seeds, and `mark` says `extrapolated` or `sparse`
    where the baseline has no models of an arm's accuracy, or few.
    """

    factor: str
    first: str
    second: str
    kind: str
    quantity: str
    unit: str
    headline: bool
    value: float
    low: float
    high: float
    images: int
    by_seed: tuple[float, ...]
    mark: str = ""

    @property
    def settled(self) -> bool:
        """Whether the difference is significant."""
        return Difference(self.value, self.low, self.high, self.images, self.by_seed).settled


def sentence(row: Row) -> str:
    """Return a row as a sentence.

    >>> numbers = {"value": 1.0, "low": -0.7, "high": 2.7, "images": 1000, "by_seed": (1.0,)}
    >>> sentence(Row("size", "clip", "labels", ACCURACY, "accuracy on clean", POINTS, headline=False, **numbers))
    'clip and labels: the difference of +1.0 points in accuracy on clean has an interval of -0.7 to +2.7 (n = 1,000), \
which includes 0: this run does not tell them apart.'
    """
    numbers = f"{_signed(row, row.low)} to {_signed(row, row.high)} (n = {row.images:,})"
    several = len(row.by_seed) > 1
    mark = f"; {_MARKS[row.mark]}" if row.mark else ""
    seeds = f"; by seed {', '.join(_signed(row, value) for value in row.by_seed)}" if several else ""
    seeds += mark
    runs = "these runs do" if several else "this run does"
    if row.settled:
        return f"{_above(row)} in {row.quantity}, with an interval of {numbers}{seeds}."
    gap = (
        f"{row.first} and {row.second}: the difference of {_signed(row, row.value)} {row.unit} in {row.quantity} has "
        f"an interval of {numbers}"
    )
    if row.low <= 0 <= row.high:
        return f"{gap}, which includes 0: {runs} not tell them apart{seeds}."
    return f"{gap}, which excludes 0, but not all seeds agree on the sign: {runs} not tell them apart{seeds}."


def factor_sentence(rows: Sequence[Row]) -> str:
    """Return one sentence on a factor's comparisons of effective robustness, or "" if none was measured."""
    headlines = [row for row in rows if row.headline]
    if not headlines:
        return ""
    settled = [row for row in headlines if row.settled]
    start = f"In {headlines[0].quantity}, {len(settled)} of {len(headlines)} comparisons show a difference"
    which = f": {'; '.join(map(_above, settled))}" if settled else ""
    others = [row for row in headlines if not row.settled]
    if not others:
        return f"{start}{which}."
    low, high = min(row.low for row in others), max(row.high for row in others)
    rest = f"the intervals of the {'others' if settled else 'differences'} lie within"
    return f"{start}{which}; {rest} {_signed(others[0], low)} and {_signed(others[0], high)} {others[0].unit}."


def write_rows(rows: Iterable[Row]) -> str:
    """Write comparisons.csv with every digit of the numbers."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([part.name for part in fields(Row)])
    for row in rows:
        values = {part.name: getattr(row, part.name) for part in fields(Row)}
        values |= {"headline": "yes" if row.headline else "no", "by_seed": " ".join(map(repr, row.by_seed))}
        writer.writerow(values.values())
    return text.getvalue()


def read_rows(text: str) -> list[Row]:
    """Return the rows of a comparisons.csv."""
    return [
        Row(
            factor=values["factor"],
            first=values["first"],
            second=values["second"],
            kind=values["kind"],
            quantity=values["quantity"],
            unit=values["unit"],
            headline=values["headline"] == "yes",
            value=float(values["value"]),
            low=float(values["low"]),
            high=float(values["high"]),
            images=int(values["images"]),
            by_seed=tuple(map(float, values["by_seed"].split())),
            mark=values["mark"],
        )
        for values in csv.DictReader(io.StringIO(text))
    ]


def _above(row: Row) -> str:
    way = "above" if row.value > 0 else "below"
    return f"{row.first} is {_signed(row, abs(row.value)).lstrip('+')} {row.unit} {way} {row.second}"


def _signed(row: Row, value: float) -> str:
    return f"{value:+.1f}" if row.unit == POINTS else f"{value:+.2f}"
