"""A run's accuracies at its checkpoints, and their table as CSV and for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from imagenet_captions.evaluation.robustness.shifts import IMAGENET, SHIFTS


@dataclass(frozen=True)
class Step:
    """A checkpoint: its file, the steps that it has taken, and top-1 in percent with the images of each test set."""

    checkpoint: str
    step: int
    accuracies: Mapping[str, tuple[float, int]]


@dataclass(frozen=True)
class Trajectory:
    """The checkpoints of one run, in the order of training."""

    run: str
    arm: str
    steps: tuple[Step, ...]


def clean_column(shift: str, clean: str, columns: Iterable[str]) -> str:
    """Return the column that a shift is drawn against: ImageNet on the shift's own classes if it was measured.

    >>> clean_column("imagenet-r", "imagenet", ["imagenet", "imagenet_on_r_classes", "imagenet-r"])
    'imagenet_on_r_classes'
    """
    same = {each.column: each.same_classes for each in SHIFTS}.get(shift)
    return same if clean == IMAGENET and same is not None and same in columns else clean


def trajectories_csv(trajectories: Sequence[Trajectory]) -> str:
    """Return a row for each checkpoint: top-1 in percent, and the images of each test set in a column with `_n`."""
    names = list(trajectories[0].steps[0].accuracies)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["arm", "run", "checkpoint", "step", *(cell for name in names for cell in (name, f"{name}_n"))])
    for each in trajectories:
        for step in each.steps:
            found = (step.accuracies[name] for name in names)
            cells = (cell for percent, images in found for cell in (f"{percent:.4f}", images))
            writer.writerow([each.arm, each.run, step.checkpoint, step.step, *cells])
    return text.getvalue()


def format_trajectories(trajectories: Sequence[Trajectory], names: Sequence[str]) -> str:
    """Return a row for each run: its checkpoints, and top-1 on each test set at the first and the last of them.

    >>> first, last = (Step("x", at, {"val": (10.0 * at, 9)}) for at in (1, 2))
    >>> print(format_trajectories([Trajectory("clip-s0", "clip", (first, last))], ["val"]))
    top-1 in percent at the first and the last checkpoint
    run      checkpoints  steps     val
    clip-s0            2   1..2  10..20
    """
    rows = [["run", "checkpoints", "steps", *names]]
    for each in trajectories:
        first, last = each.steps[0], each.steps[-1]
        ends = (f"{first.accuracies[name][0]:.3g}..{last.accuracies[name][0]:.3g}" for name in names)
        rows.append([each.run, str(len(each.steps)), f"{first.step}..{last.step}", *ends])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["top-1 in percent at the first and the last checkpoint"]
    for run, *others in rows:
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        lines.append("  ".join([run.ljust(widths[0]), *cells]))
    return "\n".join(lines)
