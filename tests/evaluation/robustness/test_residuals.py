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
Residuals of ordinary ImageNet trainings: accuracy less prediction, the mean in each 10 points of ImageNet
accuracy. A bin of 5 trainings or more should be within 1 point; ! marks one that is not.
left out: each training predicted by a fit without any of its checkpoints
"""


class Bin(NamedTuple):
    """The ordinary trainings in ten points of ImageNet accuracy: how many, and their mean residuals in points."""

    trainings: int
    residual: float
    left_out: float


@cache
def bins_of(x_column: str, shift: Shift) -> dict[int, Bin]:
    fit = fit_baseline("auto", shift, x_column)
    x, y = (np.array([model.accuracies[name] for model in fit.models]) for name in (x_column, shift.column))
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
    lines = [HEAD.rstrip()]
    for (x_column, shift), name in zip(PAIRS, IDS, strict=True):
        bins = bins_of(x_column, shift)
        marks = ["!" if largest_of({0: each, 1: Bin(LEAST, 0, 0)}) > 1 else "" for each in bins.values()]
        rows = {
            "": [f"{number * BIN}-{(number + 1) * BIN}" for number in bins],
            "trainings": [f"{each.trainings}" for each in bins.values()],
            "residual": [f"{each.residual:+.2f}" for each in bins.values()],
            "left out": [f"{each.left_out:+.2f}{mark}" for each, mark in zip(bins.values(), marks, strict=True)],
        }
        lines += ["", f"{name}: at most {largest_of(bins):.2f}"]
        lines += [f"  {row:<9}" + "".join(f"{cell:>9}" for cell in cells) for row, cells in rows.items()]
    return "\n".join(lines) + "\n"


def test_the_table_of_the_page_is_that_of_the_baseline() -> None:
    assert TABLE.findall(PAGE.read_text(encoding="utf-8")) == [table()]
    assert max(largest_of(bins_of(*pair)) for pair in PAIRS) <= 1


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda _: table(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
