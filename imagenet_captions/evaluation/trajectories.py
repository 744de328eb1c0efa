"""Accuracy along training: the kept checkpoints of runs, measured on every test set and drawn."""

from __future__ import annotations

import csv
import filecmp
import io
import logging
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.evaluation.evaluate import evaluate_model, results_of
from imagenet_captions.evaluation.results import read_metrics
from imagenet_captions.evaluation.robustness.figure import (
    HOLLOW,
    IDENTITY,
    STYLE,
    Panel,
    check_figure_path,
    draw_baseline,
    legend_text,
    save_figure,
    set_axes,
    to_logits,
)
from imagenet_captions.evaluation.robustness.fits import fit_baseline, inverse_logit
from imagenet_captions.evaluation.robustness.tables import IMAGENET, SHIFTS
from imagenet_captions.evaluation.settings import ClassifierSettings, EvaluateSettings, TrajectorySettings
from imagenet_captions.models.load import load_model
from imagenet_captions.storage.files import checked, digest, read_json, require_there, write_json, write_text
from imagenet_captions.storage.outputs import check_folder, has_our_format, locked

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes


log = logging.getLogger(__name__)

RECORD, TABLE, FIGURE = "trajectories.json", "trajectories.csv", "trajectories.svg"
_LOCK, _MEASURED, _FORMAT = ".lock", "checkpoints", "imagenet-captions trajectories"


class _Kept(msgspec.Struct):
    asked: dict[str, Any]
    step: int


def measure_trajectories(settings: TrajectorySettings) -> list[Trajectory]:
    """Measure every kept checkpoint that is not measured yet; write the table and the figure into `out`.

    A checkpoint's metrics are in OUT/checkpoints/RUN/NAME.json. They are measured again if the checkpoint, the test
    sets or the classifier changed.
    """
    out = settings.out
    check_figure_path(out / FIGURE)
    check_folder(out, [*settings.runs, *(path for _, path in settings.test_sets)])
    _refuse_foreign(out)
    runs = find_runs(settings.runs, settings.prompts)
    with locked(out / _LOCK, f"the trajectories {out}"):
        tests = {name: digest(path) for name, path in settings.test_sets}
        write_json(out / RECORD, {"format": _FORMAT, "runs": [run.name for run in runs], "test_sets": tests})
        with tempfile.TemporaryDirectory() as scratch:
            trajectories = [_measure_run(run, settings, tests, Path(scratch)) for run in runs]
        write_text(out / TABLE, trajectories_csv(trajectories))
        draw_trajectories(trajectories, [name for name, _ in settings.test_sets], out / FIGURE)
    return trajectories


def _measure_run(run: KeptRun, settings: TrajectorySettings, tests: Mapping[str, str], scratch: Path) -> Trajectory:
    steps = []
    for number, path in enumerate(run.checkpoints, start=1):
        asked = {
            "checkpoint": digest(path),
            "test_sets": dict(tests),
            "labels": None if settings.labels is None else digest(settings.labels),
            "classifier": run.classifier.kind,
            "prompts": _content(run.classifier.prompts),
        }
        kept = settings.out / _MEASURED / run.name / f"{path.stem}.json"
        metrics = _read(kept, asked)
        if metrics is None:
            log.info("%s, checkpoint %d of %d: %s", run.name, number, len(run.checkpoints), path.name)
            measured = _evaluate(path, run, settings, scratch)  # first, as it refuses a damaged checkpoint by name
            metrics = {"asked": asked, "step": _read_step(path), **measured}
            write_json(kept, metrics)
        found = results_of(metrics)
        names = [name for name in dict.fromkeys([*tests, *sorted(found)]) if name in found]
        percent = {name: (100 * found[name][0], found[name][1]) for name in names}
        steps.append(Step(path.name, metrics["step"], percent))
    return Trajectory(run.name, run.arm, tuple(sorted(steps, key=lambda step: step.step)))


def _evaluate(path: Path, run: KeptRun, settings: TrajectorySettings, scratch: Path) -> dict[str, Any]:
    asked = EvaluateSettings(str(path), settings.test_sets, run.classifier, settings.reading, settings.labels)
    return evaluate_model(load_model(str(path)), asked, scratch)


def _content(prompts: str | None) -> str | None:
    """Return the name of the prompts, or the digest of a file of them."""
    return digest(Path(prompts)) if prompts is not None and Path(prompts).is_file() else prompts


def _read(path: Path, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the metrics of a checkpoint if they answer what is asked."""
    if not path.is_file():
        return None
    metrics = read_metrics(path)
    return metrics if checked(metrics, _Kept, f"the result {path}").asked == asked else None


def _read_step(path: Path) -> int:
    """Return the steps of a checkpoint that `load_model` reads, without reading its weights."""
    found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return checked(found.get("global_step"), int, f"the step of the checkpoint {path}")


def _refuse_foreign(out: Path) -> None:
    if out.is_dir() and not has_our_format(out / RECORD):
        others = sorted(path.name for path in out.iterdir() if path.name != _LOCK)
        if others:
            raise InputError(f"{out} holds {quoted(others[0])} and no trajectories; give a new folder as `out`")


_CLASSIFIERS = {"contrastive": "zero-shot", "supervised": "head"}  # SimCLR's models have no classifier of their own
_SETTINGS, _RUN_FILE, _CHECKPOINTS = "settings.json", "run.json", "checkpoints"


class _Recipe(msgspec.Struct):
    objective: str


class _Settings(msgspec.Struct):
    recipe: _Recipe
    seed: int


class _Tested(msgspec.Struct):
    prompts: str | None = None


@dataclass(frozen=True)
class KeptRun:
    """A run, its checkpoints in the order of training, and how they are tested; seeds of one arm share its name."""

    name: str
    arm: str
    classifier: ClassifierSettings
    checkpoints: tuple[Path, ...]


def find_runs(places: Sequence[Path], prompts: str | None) -> list[KeptRun]:
    """Return the runs of all places, each a run's folder or an ablation's.

    Zero-shot runs are tested with `prompts`, or else as the ablation tested them. Raises InputError for a place without
    runs, two runs of one name, and a run whose checkpoints cannot be measured.
    """
    runs = [run for place in places for run in _runs_of(place, prompts)]
    names = [run.name for run in runs]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise InputError(f"two of the `runs` are called {quoted(repeated)}; give each once, under a name of its own")
    if prompts is not None and all(run.classifier.kind != "zero-shot" for run in runs):
        raise InputError("`prompts` has no effect, since none of the `runs` is contrastive; leave it out")
    return runs


def _runs_of(place: Path, prompts: str | None) -> Iterator[KeptRun]:
    require_there(place, "the run")
    if (place / _CHECKPOINTS).is_dir():
        yield _run(place, prompts)
        return
    inside = sorted(folder.parent for folder in place.glob(f"runs/*/{_CHECKPOINTS}"))
    if not inside:
        raise InputError(f"{place} is neither a run with checkpoints nor an ablation; give folders of these as `runs`")
    kept = 0
    for folder in inside:
        try:
            run = _run(folder, prompts)
        except InputError as error:
            log.warning("note: left out, since %s", error)
            continue
        kept += 1
        yield run
    if not kept:
        raise InputError(
            f"no run in {place} keeps checkpoints of a model with a classifier; give `keep_every` to ablate"
        )


def _run(folder: Path, prompts: str | None) -> KeptRun:
    settings = read_json(folder / _SETTINGS, _Settings, "the run's settings")
    tested = read_json(folder / _RUN_FILE, _Tested) if (folder / _RUN_FILE).is_file() else _Tested()
    objective = settings.recipe.objective
    if objective not in _CLASSIFIERS:
        raise InputError(
            f"the run {folder} has the objective {quoted(objective)} and no classifier; "
            "measure its checkpoints with `evaluate`"
        )
    checkpoints = tuple(_in_order(folder / _CHECKPOINTS))
    if len(checkpoints) < 2:
        raise InputError(f"the run {folder} keeps {len(checkpoints)} checkpoint; train it with `keep_every` for more")
    kind = _CLASSIFIERS[objective]
    asked = (prompts or tested.prompts or None) if kind == "zero-shot" else None
    arm = folder.name.removesuffix(f"-s{settings.seed}")
    return KeptRun(folder.name, arm, ClassifierSettings(kind, prompts=asked), checkpoints)


def _in_order(folder: Path) -> Iterable[Path]:
    """Return the kept checkpoints, then the last one unless it is one of them under another name, or its copy."""
    numbers = {path: path.stem.partition("-")[2] for path in sorted(folder.glob("epoch-*.ckpt"))}
    for path in (path for path, number in numbers.items() if not number.isdecimal()):
        log.warning("note: left out %s, since `train` names kept checkpoints such as epoch-0010.ckpt", path)
    kept = sorted((path for path in numbers if numbers[path].isdecimal()), key=lambda path: int(numbers[path]))
    last = folder / "last.ckpt"
    # A copied run has two files where `train` made two links to one.
    known = not last.is_file() or any(filecmp.cmp(last, path, shallow=False) for path in kept[-1:])
    return kept if known else [*kept, last]


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


Place = tuple[float, float]

_MARKERS = "os^Dv<>PX*ph"
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C564B")  # Okabe and Ito's
_MARGIN = 0.3  # logits around the places
_LABELS = {IMAGENET: "ImageNet", **{shift.column: shift.label for shift in SHIFTS}}


def draw_trajectories(trajectories: Sequence[Trajectory], names: Sequence[str], path: Path) -> None:
    """Draw every test set after the first of `names` against the first; the same input gives the same bytes.

    ImageNet's shifts have the curve of ordinary ImageNet models, as in the figure of `robustness`.
    """
    import matplotlib.style
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    clean, *shifts = names
    arms = list(dict.fromkeys(each.arm for each in trajectories))
    with matplotlib.style.context(["default", STYLE]):
        columns = min(3, len(shifts))
        rows = math.ceil(len(shifts) / columns)
        width = max(4.0 * columns + 0.4, 6.4)
        in_legend = max(1, min(4, int(width / (0.65 + 0.075 * max(30, *map(len, map(legend_text, arms)))))))
        height = 3.75 * rows + 0.4 + 0.2 * math.ceil((len(arms) + 7) / in_legend)
        figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))
        handles: dict[str, Artist] = {}
        all_axes = figure.subplots(rows, columns, squeeze=False)
        for axes, shift in zip(all_axes.flat, shifts, strict=False):
            handles |= _draw_panel(axes, trajectories, arms, (clean, shift))
        for axes in all_axes.flat[len(shifts) :]:
            axes.set_axis_off()
        texts = [legend_text(name.removesuffix(HOLLOW)) for name in handles]
        figure.legend(list(handles.values()), texts, loc="outside lower center", ncols=in_legend, frameon=False)
        save_figure(figure, path, path.suffix)


def _draw_panel(
    axes: Axes, trajectories: Sequence[Trajectory], arms: Sequence[str], sets: tuple[str, str]
) -> dict[str, Artist]:
    """Draw the runs under one shift, and return what the legend shows, by its name there."""
    clean, shift = sets
    x_column = clean_column(shift, clean, trajectories[0].steps[0].accuracies)
    ways = [[(step.accuracies[x_column][0], step.accuracies[shift][0]) for step in each.steps] for each in trajectories]
    x_limits, y_limits = _limits([place for way in ways for place in way])
    handles: dict[str, Artist] = {}
    for each, way in zip(trajectories, ways, strict=True):
        handles[each.arm] = _draw_way(axes, way, arms.index(each.arm))
    known = next((found for found in SHIFTS if found.column == shift), None)
    if known is not None and x_column in (IMAGENET, known.same_classes):
        panel = Panel(known.label, (fit_baseline("auto", known, x_column),), {})
        handles |= draw_baseline(axes, panel, x_limits)
    else:
        ends = to_logits([(end, end) for end in x_limits])
        (handles["y = x"],) = axes.plot(*ends, color=IDENTITY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    set_axes(axes, x_limits, y_limits)
    axes.set_title(_LABELS.get(shift, legend_text(shift)), fontweight="bold")
    same = ", same classes" if x_column != clean else ""
    axes.set_xlabel(f"{_LABELS.get(clean, legend_text(clean))}{same} (top-1, %)")
    axes.set_ylabel(f"{_LABELS.get(shift, legend_text(shift))} (top-1, %)")
    return handles


def _draw_way(axes: Axes, way: Sequence[Place], at: int) -> Artist:
    """Draw one run: a line with a dot for each checkpoint, and the arm's marker at the last one."""
    look: dict[str, Any] = {"color": _COLORS[at % len(_COLORS)], "zorder": 4}
    axes.plot(*to_logits(way), ".-", linewidth=1, markersize=4, alpha=0.75, **look)
    marker = _MARKERS[(at + at // len(_MARKERS)) % len(_MARKERS)]
    (last,) = axes.plot(
        *to_logits(way[-1:]), marker, markersize=7, markeredgecolor="white", markeredgewidth=0.7, **look
    )
    return last


def _limits(places: Sequence[Place]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the ends of both axes in percent, around all places."""
    ends = [inverse_logit([part.min() - _MARGIN, part.max() + _MARGIN]) for part in to_logits(places)]
    (left, right), (bottom, top) = (map(float, each) for each in ends)
    return (left, right), (bottom, top)
