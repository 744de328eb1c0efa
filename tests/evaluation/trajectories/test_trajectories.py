"""Accuracy along training: what is measured, what is measured again, and the figure."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from imagenet_captions.ablations.ablate import RunRecord
from imagenet_captions.errors import InputError
from imagenet_captions.evaluation import trajectories as measure
from imagenet_captions.evaluation.evaluate import evaluate_model
from imagenet_captions.evaluation.settings import ClassifierSettings, EvaluateSettings, Reading, TrajectorySettings
from imagenet_captions.evaluation.trajectories import (
    Step,
    Trajectory,
    draw_trajectories,
    find_runs,
    measure_trajectories,
)
from imagenet_captions.models.load import load_model
from imagenet_captions.training.train import train
from tests.command_line import invoke
from tests.training.made import settings, write_images

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "along-training.md"
CPU = Reading(device="cpu", workers=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A contrastive and a supervised run that keep each epoch, one that keeps none, SimCLR's, and two test sets."""
    folder = tmp_path_factory.mktemp("trajectories")
    data = write_images(folder / "train.parquet")
    write_images(folder / "own.parquet", 12)
    write_images(folder / "blurred.parquet", 9)
    runs = folder / "runs"
    for name, recipe, keep_every in (("clip-s0", "micro-contrastive", 1), ("labels-s0", "micro-supervised", 2)):
        train(settings(data, runs / name, recipe, keep_every=keep_every, epochs=3, ids=None))
    shutil.copytree(runs / "labels-s0", runs / "once")
    (runs / "once" / "checkpoints" / "epoch-0002.ckpt").unlink()
    shutil.copytree(runs / "clip-s0", runs / "simclr")
    written = (runs / "simclr" / "settings.json").read_text().replace('"contrastive"', '"simclr"')
    (runs / "simclr" / "settings.json").write_text(written)
    return folder


def asked(made: Path, out: Path, *runs: str, prompts: str | None = None) -> TrajectorySettings:
    sets = tuple((name, made / f"{name}.parquet") for name in ("own", "blurred"))
    return TrajectorySettings(tuple(made / run for run in runs), sets, out, prompts, reading=CPU)


@pytest.mark.slow
def test_every_kept_checkpoint_is_measured_as_evaluate_measures_it(made: Path, tmp_path: Path) -> None:
    here = asked(made, tmp_path / "along", "runs/clip-s0", "runs/labels-s0", prompts="one")
    clip, labels = measure_trajectories(here)
    kept = [(step.checkpoint, step.step) for step in clip.steps]
    assert kept == [("epoch-0001.ckpt", 3), ("epoch-0002.ckpt", 6), ("epoch-0003.ckpt", 9)]
    assert [step.checkpoint for step in labels.steps] == ["epoch-0002.ckpt", "last.ckpt"]
    assert (clip.arm, labels.arm) == ("clip", "labels")
    for found, kind, prompts in ((clip, "zero-shot", "one"), (labels, "head", None)):
        run, classifier = made / "runs" / found.run, ClassifierSettings(kind, prompts=prompts)
        for model, step in zip((run / "checkpoints/epoch-0002.ckpt", run), found.steps[-2:], strict=True):
            settings = EvaluateSettings(str(model), here.test_sets, classifier, CPU)
            measured = evaluate_model(load_model(str(model)), settings)["test_sets"]
            expected = {name: (100 * entry["top1"], entry["n"]) for name, entry in measured.items()}
            assert step.accuracies == expected
    with (tmp_path / "along" / "trajectories.csv").open(newline="") as opened:
        first, *_, last = csv.DictReader(opened)
    assert (first["run"], first["step"], first["own_n"]) == ("clip-s0", "3", "12")
    assert float(last["blurred"]) == pytest.approx(labels.steps[-1].accuracies["blurred"][0], abs=1e-4)
    assert ElementTree.parse(tmp_path / "along" / "trajectories.svg").getroot().tag.endswith("svg")


@pytest.mark.slow
def test_what_is_measured_is_not_measured_again(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []
    scratches: set[Path] = set()

    def counting(model: object, settings: EvaluateSettings, scratch: Path) -> object:
        scratches.add(scratch)
        measured.append(Path(settings.model).name)
        if len(measured) == stop_at:
            raise KeyboardInterrupt
        return evaluate_model(model, settings, scratch)  # type: ignore[arg-type]

    monkeypatch.setattr(measure, "evaluate_model", counting)
    here = asked(made, tmp_path / "along", "runs/clip-s0")
    stop_at = 2
    with pytest.raises(KeyboardInterrupt):
        measure_trajectories(here)
    assert not (tmp_path / "along" / "trajectories.csv").exists()
    first = measure_trajectories(here)
    assert measured == ["epoch-0001.ckpt", "epoch-0002.ckpt", "epoch-0002.ckpt", "epoch-0003.ckpt"]
    assert measure_trajectories(here) == first
    assert len(measured) == 4
    measure_trajectories(asked(made, tmp_path / "along", "runs/clip-s0", prompts="none"))
    assert len(measured) == 7
    shutil.copy(made / "own.parquet", tmp_path / "own.parquet")
    sets = (("own", made / "own.parquet"), ("blurred", tmp_path / "own.parquet"))
    measure_trajectories(TrajectorySettings(here.runs, sets, here.out, "none", reading=CPU))
    assert len(measured) == 10, "another file of the same name"
    assert len(scratches) == 4  # one for each call, in which tars stay unpacked
    assert not any(scratch.exists() for scratch in scratches)


@pytest.mark.slow
def test_an_ablation_is_all_of_its_runs_and_a_copy_is_one(
    made: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = RunRecord(test={"classifier": "zero-shot", "prompts": "none"})
    (made / "runs" / "clip-s0" / "run.json").write_text(json.dumps(asdict(record)))
    runs = {run.name: run for run in find_runs([made], None)}
    (made / "runs" / "clip-s0" / "run.json").unlink()
    assert list(runs) == ["clip-s0", "labels-s0"]
    assert runs["clip-s0"].classifier == ClassifierSettings("zero-shot", prompts="none")
    assert runs["labels-s0"].classifier == ClassifierSettings("head")
    assert "once keeps 1 checkpoint" in caplog.text
    assert "simclr has the objective 'simclr' and no classifier" in caplog.text


@pytest.mark.parametrize(
    ("runs", "sentence"),
    [
        (["runs/once"], "keeps 1 checkpoint; train it with `keep_every`"),
        (["runs/simclr"], "no classifier; measure its checkpoints with `evaluate`"),
        (["runs"], "neither a run nor an ablation with checkpoints"),
        (["runs/absent"], "does not exist"),
        (["runs/clip-s0", "."], "two of the `runs` are called 'clip-s0'"),
    ],
)
def test_what_cannot_be_measured_is_refused(made: Path, tmp_path: Path, runs: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        measure_trajectories(asked(made, tmp_path / "along", *runs))
    assert not (tmp_path / "along").exists()


def test_what_makes_no_trajectories_is_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`prompts` has no effect"):
        find_runs([made / "runs" / "labels-s0"], "one")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds 'notes\.txt' and no"):
        measure_trajectories(asked(made, tmp_path, "runs/clip-s0"))
    with pytest.raises(InputError, match="lies inside the input"):
        measure_trajectories(asked(made, made / "runs/clip-s0/along", "runs/clip-s0"))
    with pytest.raises(InputError, match="needs `test_sets` twice or more"):
        TrajectorySettings((made,), (("own", made),), tmp_path / "along")


def test_a_damaged_checkpoint_is_named_and_nothing_is_kept_of_it(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "runs" / "labels-s0", tmp_path / "run")
    damaged = tmp_path / "run" / "checkpoints" / "epoch-0002.ckpt"
    whole = damaged.read_bytes()
    torch.save({**torch.load(damaged, weights_only=True), "global_step": "two"}, damaged)
    without_step = damaged.read_bytes()
    for content, sentence in ((without_step, "the step of the checkpoint .*"), (whole[:5000], "")):
        damaged.write_bytes(content)
        with pytest.raises(InputError, match=rf"{sentence}epoch-0002\.ckpt"):
            measure_trajectories(asked(made, tmp_path / "along", str(tmp_path / "run")))
    assert not list((tmp_path / "along").rglob("epoch-*.json"))


def test_the_figure_has_the_plane_of_robustness(tmp_path: Path) -> None:
    columns = ("imagenet", "imagenet_on_r_classes", "imagenet-v2", "imagenet-r")
    trajectories = []
    for run, arm, first in (("a-s0", "a", 10), ("a-s1", "a", 12), ("b-s0", "b$", 30)):
        steps = []
        for n in range(4):
            accuracies = {name: (first + 5.0 * n + at, 100) for at, name in enumerate(columns)}
            steps.append(Step(f"epoch-{n}.ckpt", n, accuracies))
        trajectories.append(Trajectory(run, arm, tuple(steps)))
    draw_trajectories(trajectories, ["imagenet", "imagenet-v2", "imagenet-r"], tmp_path / "figure.svg")
    drawn = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    axes = ("ImageNetV2 (top-1, %)", "ImageNet, same classes (top-1, %)")
    for text in (*axes, "baseline 'auto'", "b$"):
        assert f"<!-- {text} -->" in drawn.replace("\\$", "$"), text


def test_the_commands_of_the_docs(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("own", "blurred"):
        shutil.copy(made / f"{name}.parquet", tmp_path)
    shutil.copytree(made / "runs" / "clip-s0", tmp_path / "runs" / "clip")
    monkeypatch.chdir(tmp_path)
    assert invoke("evaluate", "runs/clip", "--on", "own=own.parquet", "--out", "runs/clip/metrics.json")[0] == 0
    (script,) = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    said = []
    for line in script.splitlines():
        code, told = invoke(*shlex.split(line)[1:])
        assert code == 0, told
        said.append(told)
    assert re.search(r"clip +3 +3\.\.9", said[0])
    assert all(Path(name).is_file() for name in ("along/trajectories.svg", "classes.csv", "classes.svg"))
