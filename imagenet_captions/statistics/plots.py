"""The geometry of plots: numbers become positions in a drawing of 400 by 220, which the page draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imagenet_captions.statistics.result import Distribution

WIDTH, HEIGHT = 400, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 392.0, 14.0, 188.0


@dataclass(frozen=True)
class Tick:
    """A label on an axis, and its position along it."""

    at: float
    label: str


@dataclass(frozen=True)
class Columns:
    """A histogram over bins that double in width, which makes the horizontal axis logarithmic."""

    bars: tuple[tuple[float, float, float, float], ...]  # x, y, width, height
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]


@dataclass(frozen=True)
class Curve:
    """Values from the largest to the smallest, as a filled area with some marked values."""

    area: str  # an SVG path
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    marks: tuple[tuple[float, float, str], ...]  # x, y, label


def columns(lengths: Distribution) -> Columns:
    """Return the plot of a distribution's bins, as shares of the total."""
    bins = lengths.bins()
    shares = [100 * each.count / lengths.total if lengths.total else 0.0 for each in bins]
    steps = _steps(max(shares, default=0))
    wide = (_RIGHT - _LEFT) / max(1, len(bins))
    bars = []
    for number, share in enumerate(shares):
        y = _height(share, steps[-1])
        bars.append((round(_LEFT + number * wide + 1, 1), y, round(wide - 2, 1), round(_BOTTOM - y, 1)))
    starts = [(1 << each.bits) >> 1 for each in bins]
    across = [Tick(round(_LEFT + number * wide, 1), _short(start)) for number, start in enumerate(starts)]
    return Columns(tuple(bars), tuple(across), tuple(Tick(_height(step, steps[-1]), f"{step:g} %") for step in steps))


def curve(values: Sequence[int], marked: Sequence[tuple[float, str]]) -> Curve:
    """Return the plot of values by rank; `marked` holds shares of the ranks and their labels."""
    ordered = sorted(values, reverse=True)
    steps = _steps(max(ordered, default=0))
    wide = (_RIGHT - _LEFT) / max(1, len(ordered))
    # One step per value; a line is drawn only where the height changes.
    path, last = [f"M{_LEFT:g},{_BOTTOM:g}"], None
    for number, value in enumerate(ordered):
        if value != last:
            path.append(f"{'' if last is None else f'H{_LEFT + number * wide:.1f}'}V{_height(value, steps[-1]):g}")
            last = value
    path.append(f"H{_RIGHT:g}V{_BOTTOM:g}Z")
    ticks = [0, len(ordered) // 2, len(ordered)]
    marks = []
    for share, label in marked if ordered else ():
        at = min(len(ordered) - 1, int(share * len(ordered)))
        marks.append((round(_LEFT + at * wide, 1), _height(ordered[at], steps[-1]), label))
    return Curve(
        "".join(path),
        tuple(Tick(round(_LEFT + tick * wide, 1), f"{tick:,}") for tick in ticks),
        tuple(Tick(_height(step, steps[-1]), f"{step:,.0f}") for step in steps),
        tuple(marks),
    )


def _height(value: float, largest: float) -> float:
    return round(_BOTTOM - (_BOTTOM - _TOP) * value / largest, 1)


def _steps(largest: float) -> list[float]:
    """Return three to five round numbers from 0 to at least the largest.

    >>> _steps(961), _steps(36.2), _steps(0)
    ([0.0, 250.0, 500.0, 750.0, 1000.0], [0.0, 10.0, 20.0, 30.0, 40.0], [0.0, 1.0])
    """
    if largest <= 1:
        return [0.0, 1.0]
    power = 10.0 ** (len(str(int(largest))) - 1)
    step = next(power * part for part in (0.25, 0.5, 1, 2.5, 5) if largest <= 4 * power * part)
    step = max(1.0, step)
    return [step * number for number in range(int(-(-largest // step)) + 1)]


def _short(number: int) -> str:
    return f"{number // 1024}k" if number >= 1024 else str(number)
