"""Accuracy along training: the kept checkpoints of runs, measured on every test set and drawn."""

from __future__ import annotations

import filecmp
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from imagenet_captions.errors import InputError, aligned, quoted
from imagenet_captions.evaluation.drawing import (
    COLORS,
    MARKERS,
    check_figure_path,
    draw_identity,
    legend_text,
    logit_panels,
    set_axes,
    to_logits,
)
from imagenet_captions.evaluation.evaluate import evaluate_model, results_of
from imagenet_captions.evaluation.results import RunRecord, RunSettings, read_metrics
from imagenet_captions.evaluation.robustness.fits import fit_baseline, inverse_logit
from imagenet_captions.evaluation.robustness.output import HOLLOW, Panel, draw_baseline
from imagenet_captions.evaluation.robustness.tables import IMAGENET, SHIFTS
from imagenet_captions.evaluation.settings import ClassifierSettings, EvaluateSettings, TrajectorySettings
from imagenet_captions.models.config import OBJECTIVES
from imagenet_captions.models.load import load_model
from imagenet_captions.storage.files import checked, csv_text, digest, read_json, require_there, write_json, write_text
from imagenet_captions.storage.outputs import LOCK, check_folder, check_nothing_else, has_our_format, locked

log = logging.getLogger(__name__)

RECORD, TABLE, FIGURE = "trajectories.json", "trajectories.csv", "trajectories.svg"
_CHECKPOINTS, _FORMAT = "checkpoints", "imagenet-captions trajectories"
_MARGIN = 0.3  # logits around the places of a panel


class Step(NamedTuple):
    """A checkpoint: its file, the steps that it has taken, and top-1 in percent with the images of each test set."""

    checkpoint: str
    step: int
    accuracies: Mapping[str, tuple[float, int]]


class Trajectory(NamedTuple):
    """The checkpoints of one run, in the order of training; seeds of one arm share its name."""

    run: str
    arm: str
    steps: tuple[Step, ...]


class KeptRun(NamedTuple):
    """A run, its checkpoints, and how they are tested."""

    name: str
    arm: str
    classifier: ClassifierSettings
    checkpoints: tuple[Path, ...]


def measure_trajectories(settings: TrajectorySettings) -> list[Trajectory]:
    """Measure every kept checkpoint that is not measured yet; write the table and the figure into `out`.

    The table has a row for each checkpoint: top-1 in percent, and each test set's images in a column with `_n`. A
    checkpoint's metrics are in OUT/checkpoints/RUN/NAME.json. They are measured again if the checkpoint, the test
    sets or the classifier changed.
    """
    out = settings.out
    check_figure_path(out / FIGURE)
    check_folder(out, [*settings.runs, *(path for _, path in settings.test_sets)])
    if not has_our_format(out / RECORD):
        check_nothing_else(out, "no trajectories")
    runs = find_runs(settings.runs, settings.prompts)
    with locked(out / LOCK, f"the trajectories {out}"), tempfile.TemporaryDirectory() as scratch:
        tests = {name: digest(path) for name, path in settings.test_sets}
        names = [run.name for run in runs]
        write_json(out / RECORD, {"format": _FORMAT, "runs": names, "test_sets": tests})
        trajectories = [_measure_run(run, settings, tests, Path(scratch)) for run in runs]
        rows: list[list[object]] = [["arm", "run", "checkpoint", "step"]]
        for name in trajectories[0].steps[0].accuracies:
            rows[0] += [name, f"{name}_n"]
        for each in trajectories:
            for checkpoint, step, accuracies in each.steps:
                row: list[object] = [each.arm, each.run, checkpoint, step]
                for percent, images in accuracies.values():
                    row += [f"{percent:.4f}", images]
                rows.append(row)
        write_text(out / TABLE, csv_text(rows))
        draw_trajectories(trajectories, list(tests), out / FIGURE)
    return trajectories


def _measure_run(run: KeptRun, settings: TrajectorySettings, tests: Mapping[str, str], scratch: Path) -> Trajectory:
    prompts = run.classifier.prompts
    if prompts and Path(prompts).is_file():
        prompts = digest(Path(prompts))
    asked = {
        "test_sets": dict(tests),
        "labels": None if settings.labels is None else digest(settings.labels),
        "classifier": run.classifier.kind,
        "prompts": prompts,
    }
    steps = []
    of = len(run.checkpoints)
    for number, path in enumerate(run.checkpoints, start=1):
        wanted = {"checkpoint": digest(path), **asked}
        kept = settings.out / _CHECKPOINTS / run.name / f"{path.stem}.json"
        metrics = read_metrics(kept) if kept.is_file() else {}
        if metrics.get("asked") != wanted:
            log.info("%s, checkpoint %d of %d: %s", run.name, number, of, path.name)
            evaluation = EvaluateSettings(
                str(path),
                settings.test_sets,
                run.classifier,
                settings.reading,
                settings.labels,
            )
            measured = evaluate_model(load_model(str(path)), evaluation, scratch)
            about = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            step = checked(about.get("global_step"), int, f"the step of the checkpoint {path}")
            metrics = {"asked": wanted, "step": step, **measured}
            write_json(kept, metrics)
        found = results_of(metrics)
        names = [*tests, *sorted(found.keys() - tests)]
        percent = {name: (100 * found[name][0], found[name][1]) for name in names}
        steps.append(Step(path.name, metrics["step"], percent))
    steps.sort(key=lambda step: step.step)
    return Trajectory(run.name, run.arm, tuple(steps))


def find_runs(places: Sequence[Path], prompts: str | None) -> list[KeptRun]:
    """Return the runs of all places, each a run's folder or an ablation's.

    Zero-shot runs are tested with `prompts`, or else as the ablation tested them. Raises InputError for a place without
    runs, two runs of one name, and a run whose checkpoints cannot be measured.
    """
    runs: list[KeptRun] = []
    for place in places:
        if (require_there(place, "the run") / _CHECKPOINTS).is_dir():
            runs.append(_kept_run(place, prompts))
            continue
        found = []
        for inside in sorted(place.glob(f"runs/*/{_CHECKPOINTS}")):
            try:
                found.append(_kept_run(inside.parent, prompts))
            except InputError as error:
                log.warning("note: left out, since %s", error)
        if not found:
            raise InputError(
                f"{place} is neither a run nor an ablation with checkpoints of a model with a classifier; "
                "give `keep_every` to train or ablate"
            )
        runs += found
    names = [run.name for run in runs]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise InputError(f"two of the `runs` are called {quoted(repeated)}; give each once, under a name of its own")
    if prompts is not None and all(run.classifier.kind != "zero-shot" for run in runs):
        raise InputError("`prompts` has no effect, since none of the `runs` is contrastive; leave it out")
    return runs


def _kept_run(folder: Path, prompts: str | None) -> KeptRun:
    settings = read_json(folder / "settings.json", RunSettings, "the run's settings")
    needs = OBJECTIVES.get(settings.recipe.objective)
    if needs is None or needs.views:  # SimCLR's models have no classifier of their own
        raise InputError(
            f"the run {folder} has the objective {quoted(settings.recipe.objective)} and no classifier; "
            "measure its checkpoints with `evaluate`"
        )
    kind = needs.classifier
    checkpoints = sorted((folder / _CHECKPOINTS).glob("epoch-*.ckpt"))
    last = folder / _CHECKPOINTS / "last.ckpt"
    # A copied run has two files where `train` made two links to one.
    if last.is_file() and not (checkpoints and filecmp.cmp(last, checkpoints[-1], shallow=False)):
        checkpoints.append(last)
    if len(checkpoints) < 2:
        raise InputError(f"the run {folder} keeps {len(checkpoints)} checkpoint; train it with `keep_every` for more")
    tested = folder / "run.json"
    if kind != "zero-shot":
        prompts = None
    elif not prompts and tested.is_file():
        prompts = read_json(tested, RunRecord).test.prompts
    classifier = ClassifierSettings(kind, prompts=prompts or None)
    arm = folder.name.removesuffix(f"-s{settings.seed}")
    return KeptRun(folder.name, arm, classifier, tuple(checkpoints))


def format_trajectories(trajectories: Sequence[Trajectory], names: Sequence[str]) -> str:
    """Return a row for each run: its checkpoints, and top-1 on each test set at the first and the last of them.

    >>> first, last = (Step("x", at, {"val": (10.0 * at, 9)}) for at in (1, 2))
    >>> print(format_trajectories([Trajectory("clip-s0", "clip", (first, last))], ["val"]))
    top-1 in percent at the first and the last checkpoint
    run      checkpoints  steps     val
    clip-s0            2   1..2  10..20
    """
    rows = [["run", "checkpoints", "steps", *names]]
    for run, _, steps in trajectories:
        first, last = steps[0], steps[-1]
        row = [run, str(len(steps)), f"{first.step}..{last.step}"]
        for name in names:
            ends = [f"{step.accuracies[name][0]:.3g}" for step in (first, last)]
            row.append("..".join(ends))
        rows.append(row)
    return "\n".join(["top-1 in percent at the first and the last checkpoint", *aligned(rows)])


def draw_trajectories(trajectories: Sequence[Trajectory], names: Sequence[str], path: Path) -> None:
    """Draw every test set after the first of `names` against the first; the same input gives the same bytes.

    ImageNet's shifts have the curve of ordinary ImageNet models, as in the figure of `robustness`, and are drawn
    against ImageNet on their own classes if that was measured.
    """
    clean, *shifts = names
    arms = list(dict.fromkeys(each.arm for each in trajectories))
    in_legend = [*arms, *["the curves: at most 30 letters"] * 7]
    with logit_panels(path, path.suffix, len(shifts), in_legend) as (all_axes, handles):
        for axes, name in zip(all_axes, shifts, strict=True):
            shift = next((each for each in SHIFTS if each.column == name), None)
            x_column = clean
            same = shift.same_classes if shift and clean == IMAGENET else None
            if same and same in trajectories[0].steps[0].accuracies:
                x_column = same
            lows, highs = [], []
            for each in trajectories:
                found = [step.accuracies for step in each.steps]
                points = [(one[x_column][0], one[name][0]) for one in found]
                x, y = to_logits(points)
                at = arms.index(each.arm)
                look: dict[str, Any] = {"color": COLORS[at % len(COLORS)], "zorder": 4}
                axes.plot(x, y, ".-", linewidth=1, markersize=4, alpha=0.75, **look)
                marker = MARKERS[(at + at // len(MARKERS)) % len(MARKERS)]
                look |= {"markersize": 7, "markeredgecolor": "white", "markeredgewidth": 0.7}
                (handles[each.arm],) = axes.plot(x[-1:], y[-1:], marker, **look)
                lows.append((x.min(), y.min()))
                highs.append((x.max(), y.max()))
            low = inverse_logit(np.min(lows, axis=0) - _MARGIN)
            high = inverse_logit(np.max(highs, axis=0) + _MARGIN)
            x_limits, y_limits = zip(low.tolist(), high.tolist(), strict=True)
            if shift and x_column in (IMAGENET, shift.same_classes):
                panel = Panel(shift.label, (fit_baseline("auto", shift, x_column),))
                curves = draw_baseline(axes, panel, x_limits)
                handles |= {text.removesuffix(HOLLOW): handle for text, handle in curves.items()}
            else:
                line, _ = to_logits([(end, end) for end in x_limits])
                handles["y = x"] = draw_identity(axes, line)
            label = shift.label if shift else legend_text(name)
            x_name = "ImageNet" if clean == IMAGENET else legend_text(clean)
            if x_column != clean:
                x_name += ", same classes"
            set_axes(axes, label, x_name, label, x_limits, y_limits)
