"""The residuals of ordinary trainings by the baseline `auto`, and the table of docs/design/baseline-fit.md.

    python -m tests.evaluation.robustness.test_residuals

writes the table of the page anew.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from imagenet_captions.evaluation.robustness.fits import fit_baseline, inverse_logit, logit
from imagenet_captions.evaluation.robustness.tables import IMAGENET, SHIFTS, Shift

PAGE = Path(__file__).parents[3] / "docs" / "design" / "baseline-fit.md"
TABLE = re.compile(r"(?<=```text\n)Residuals of ordinary.*?(?=```)", re.DOTALL)
PAIRS = [(x, shift) for shift in SHIFTS for x in (shift.same_classes, IMAGENET) if x]
IDS = [f"{shift.column} from {x}" for x, shift in PAIRS]
BIN, LEAST = 10, 5  # points of ImageNet accuracy, and the trainings from which a bin counts
HEAD = """\
Residuals of ordinary ImageNet trainings, each predicted by a fit without any of its checkpoints: the mean of accuracy
less prediction in each 10 points of ImageNet accuracy, and after the slash the number of trainings.
"""


class Bin(NamedTuple):
    """The ordinary trainings in ten points of ImageNet accuracy: how many, and their mean residuals in points."""

    trainings: int
    residual: float
    left_out: float


@cache
def bins_of(x_column: str, shift: Shift) -> dict[int, Bin]:
    fit = fit_baseline("auto", shift, x_column)
    x, y = fit.x[:, 0], fit.y
    assert fit.near is not None
    left_out = y - inverse_logit(logit(y) - fit.near.residuals)
    residuals = np.stack([y - fit.predict_all(x), left_out])
    numbers = (x // BIN).astype(int)
    found = {}
    for number in np.unique(numbers).tolist():
        runs = fit.runs[numbers == number]
        means = [residuals[:, (numbers == number) & (fit.runs == run)].mean(axis=1) for run in np.unique(runs)]
        found[number] = Bin(len(means), *np.mean(means, axis=0).tolist())
    return found


def largest_of(bins: dict[int, Bin]) -> float:
    return max(abs(value) for each in bins.values() if each.trainings >= LEAST for value in each[1:])


def table() -> str:
    lines = [HEAD, " " * 46 + "".join(f"{number * BIN}-{(number + 1) * BIN}".rjust(10) for number in range(10))]
    for (x_column, shift), name in zip(PAIRS, IDS, strict=True):
        bins = bins_of(x_column, shift)
        cells = [f"{bins[at].left_out:+.2f}/{bins[at].trainings}" if at in bins else "" for at in range(10)]
        lines.append(f"{name:46}" + "".join(cell.rjust(10) for cell in cells).rstrip())
    return "\n".join(lines) + "\n"


def test_the_table_of_the_page_is_that_of_the_baseline() -> None:
    assert TABLE.findall(PAGE.read_text(encoding="utf-8")) == [table()]
    assert max(largest_of(bins_of(*pair)) for pair in PAIRS) <= 1


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda _: table(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
