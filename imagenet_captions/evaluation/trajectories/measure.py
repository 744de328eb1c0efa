"""Measure the kept checkpoints of runs on every test set; what a stopped call measured is kept and read again."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.evaluation.evaluate import evaluate_model, results_of
from imagenet_captions.evaluation.results import read_metrics
from imagenet_captions.evaluation.robustness.figures import check_figure_path
from imagenet_captions.evaluation.settings import EvaluateSettings
from imagenet_captions.evaluation.trajectories.figure import draw_trajectories
from imagenet_captions.evaluation.trajectories.runs import KeptRun, find_runs
from imagenet_captions.evaluation.trajectories.settings import TrajectorySettings
from imagenet_captions.evaluation.trajectories.trajectory import Step, Trajectory, trajectories_csv
from imagenet_captions.models.load import load_model
from imagenet_captions.storage.files import checked, digest, write_json, write_text
from imagenet_captions.storage.outputs import check_folder, has_our_format, locked

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
