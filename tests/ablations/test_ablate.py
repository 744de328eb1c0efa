"""Whole ablations on a few coloured squares: every factor from data to report, killed, resumed, refused."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from imagenet_captions.ablations import ablate as ablating
from imagenet_captions.ablations.ablate import ablate
from imagenet_captions.ablations.comparing import factor_sentence, sentence
from imagenet_captions.ablations.report import escape
from imagenet_captions.ablations.settings import FACTORS, AblateSettings, parse_places, write_settings
from imagenet_captions.ablations.testing import Answers
from imagenet_captions.ablations.testing import read_answers as answers_of
from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.intervals import holm
from imagenet_captions.storage.files import digest, sha256
from imagenet_captions.training.settings import TrainSettings
from imagenet_captions.training.train import TrainResult, train
from tests.ablations.made import COLOURS, read_rows, write_micro_set
from tests.command_line import HANGS_AFTER

EPOCHS = 2


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> AblateSettings:
    folder = tmp_path_factory.mktemp("ablate")
    data = write_micro_set(folder / "squares.parquet", per_class=8)
    test = write_micro_set(folder / "test.parquet", per_class=6, seed=1)
    return AblateSettings(FACTORS, {"squares": data}, folder / "out", "micro", {"test": test}, epochs=EPOCHS, workers=1)


@pytest.fixture(scope="module")
def done(asked: AblateSettings) -> AblateSettings:
    """All five factors, run once."""
    assert ablate(asked) == asked.out / "report.md"
    return asked


@pytest.fixture
def copied(done: AblateSettings, tmp_path: Path) -> AblateSettings:
    """The same in a folder that a test may change."""
    shutil.copytree(done.out, tmp_path / "out")
    return replace(done, out=tmp_path / "out")


def read_answers(run: Path) -> Answers:
    return answers_of(run / "metrics.json")


def run_folder(settings: AblateSettings, name: str) -> Path:
    return settings.out / "runs" / f"squares-{name}-s0"


def test_the_report_has_every_factor_with_figure_and_sentences(done: AblateSettings) -> None:
    report = (done.out / "report.md").read_text(encoding="utf-8")
    assert "The shifts are blur, noise and less contrast" in report
    assert "stand in for the natural shifts" in report
    for factor in FACTORS:
        assert f"## {factor}: " in report
        assert (done.out / f"figure-{factor}.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert "share images, steps, seed" in report
    assert "and there are 3. Arms are compared in accuracy." in report, (
        "accuracies as close as their noise have no line"
    )
    assert "texts name exactly one class, and" in report
    verdicts = report.count("does not tell these two trained models apart")
    assert verdicts + len(re.findall(r"points (above|below)", report)) >= 15
    assert "not between their recipes" in report


def test_every_sentence_of_the_report_is_made_of_comparisons_csv(done: AblateSettings) -> None:
    report = (done.out / "report.md").read_text(encoding="utf-8")
    rows = read_rows((done.out / "comparisons.csv").read_text(encoding="utf-8"))
    for factor in FACTORS:
        own = [row for row in rows if row.factor == factor]
        section = report.partition(f"### {factor}: comparisons")[2].partition("\n## ")[0]
        bullets = [line.removeprefix("- ") for line in section.splitlines() if line.startswith("- ")]
        assert bullets == [sentence(row) for row in own]
        assert escape(factor_sentence(own), longest=4000) in section.splitlines()
        assert {row.quantity for row in own if row.headline} == {"mean accuracy under the shifts"}
    verdicts = [row for row in rows if row.headline]
    assert [row.p_holm for row in verdicts] == pytest.approx(holm([row.p_value for row in verdicts]))
    assert "what the shifts change" not in report, "the raw drop is not robustness"


def test_the_numbers_of_comparisons_csv_are_those_of_the_answers(done: AblateSettings) -> None:
    rows = read_rows((done.out / "comparisons.csv").read_text(encoding="utf-8"))
    by_key = {(row.factor, row.first, row.second, row.quantity): row for row in rows}
    clip, labels = (read_answers(run_folder(done, name)) for name in ("clip", "supervised-matched"))
    row = by_key["loss", "clip", "supervised-matched", "accuracy on clean"]
    assert row.value == pytest.approx(100 * (clip["clean"].mean() - labels["clean"].mean()))
    shifts = ("micro-blur", "micro-noise", "micro-contrast")
    first, second = (np.mean([arm[name].mean() for name in shifts]) for arm in (clip, labels))
    found = by_key["loss", "clip", "supervised-matched", "mean accuracy under the shifts"]
    assert found.value == pytest.approx(100 * (first - second))


def test_every_accuracy_in_the_report_is_that_of_metrics_json(done: AblateSettings) -> None:
    report = (done.out / "report.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in report.splitlines() if line.startswith("| supervised | 0 | 24 |")]
    assert len(rows) == 3, "in size, train-language and loss"
    metrics = json.loads((run_folder(done, "supervised") / "metrics.json").read_text())["test_sets"]
    for cell, name in zip(rows[0][8:12], ("clean", "micro-blur", "micro-noise", "micro-contrast"), strict=True):
        assert cell.startswith(f"{100 * metrics[name]['top1']:.1f} ")
        answers = read_answers(run_folder(done, "supervised"))[name]
        assert answers.mean() == pytest.approx(metrics[name]["top1"])
        assert len(answers) == metrics[name]["n"] == 18


def test_three_samples_an_arm_are_what_the_model_got(done: AblateSettings) -> None:
    records = {path.parent.name: json.loads(path.read_text()) for path in (done.out / "runs").glob("*/run.json")}
    shown = {name: record["samples"] for name, record in records.items()}
    assert all(len(samples) == 3 for samples in shown.values())
    texts = {name: [sample["text"] for sample in shown[f"squares-{name}-s0"]] for name in ("clip", "clip-title")}
    by_id = {row["image_id"]: row for row in pq.read_table(done.out / "inputs" / "squares.parquet").to_pylist()}
    assert set(texts["clip"]) <= {row["caption"] for row in by_id.values()}
    assert set(texts["clip-title"]) <= {row["title"] for row in by_id.values()}
    templates = [sample["text"] for sample in shown["squares-clip-templates-s0"]]
    assert all(any(name in text for name in COLOURS) for text in templates)
    assert not set(templates) & set(texts["clip"])
    labels = [(sample["text"], sample["label"]) for sample in shown["squares-supervised-s0"]]
    assert all(text == "" and label in COLOURS for text, label in labels)
    views = shown["squares-simclr-s0"][0]["pictures"]
    pixels = [np.asarray(Image.open(done.out / "samples" / name)) for name in views]
    assert len(pixels) == 2
    assert pixels[0].shape == (32, 32, 3)
    assert (pixels[0] != pixels[1]).any()
    prompts = [sample["text"] for sample in shown["squares-clip.no-prompt-s0"]]
    assert prompts == list(COLOURS)


def test_arms_were_trained_as_planned(done: AblateSettings) -> None:
    took = {path.parent.name: json.loads(path.read_text()) for path in (done.out / "runs").glob("*/done.json")}
    assert len(took) == 23
    same = [took[f"squares-{name}-s0"] for name in ("clip", "clip-title", "supervised", "supervised-12", "clip-6")]
    assert len({(run["steps"], run["images_seen"]) for run in same}) == 1
    same = [took[f"squares-{name}-s0"] for name in ("clip", "clip-named", "text-matched-scratch")]
    assert len({run["steps"] for run in same}) == 1
    cells = [path for path in took if path.startswith("squares-text-labels-")]
    assert len(cells) == 3
    assert len({(took[path]["steps"], path.rpartition("-s")[0].rpartition("-")[2]) for path in cells}) == 1
    settings = {
        name: json.loads((run_folder(done, name) / "settings.json").read_text()) for name in ("clip", "supervised")
    }
    assert settings["clip"]["ids"]["sha256"] == settings["supervised"]["ids"]["sha256"]
    assert settings["clip"]["seed"] == settings["supervised"]["seed"]


def test_the_same_command_again_changes_nothing(copied: AblateSettings) -> None:
    before = {path: path.stat().st_mtime_ns for path in (copied.out / "runs").rglob("*") if path.is_file()}
    report = (copied.out / "report.md").read_bytes()
    ablate(replace(copied, factors=("size",), keep_every=2))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (copied.out / "report.md").read_bytes() == report, "one factor keeps the others in the report"


@pytest.mark.slow
def test_a_killed_ablation_goes_on_to_the_same_weights(done: AblateSettings, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    tests = next(iter((done.tests or {}).values()))
    arguments = f"ablate test-language squares={done.data['squares']} --on {tests} --preset micro --out {out}"
    command = [sys.executable, "-m", "imagenet_captions", *arguments.split(), "--epochs", str(EPOCHS)]
    checkpoint = out / "runs" / "squares-clip-s0" / "checkpoints" / "last.ckpt"
    with subprocess.Popen([*command, "--workers", "1"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        until = time.monotonic() + HANGS_AFTER
        while not checkpoint.exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < until
            time.sleep(0.005)
        with pytest.raises(InputError, match="is in use by another run"):
            ablate(replace(done, factors=("test-language",), out=out))
        process.send_signal(signal.SIGKILL)
    assert not (out / "report.md").exists()
    ablate(replace(done, factors=("test-language",), out=out))
    for name in ("clip", "clip.80-prompts", "clip.linear-probe"):
        found, unbroken = (read_answers(folder / "runs" / f"squares-{name}-s0") for folder in (out, done.out))
        assert all((found[each] == unbroken[each]).all() for each in unbroken)
    weights = [folder / "runs" / "squares-clip-s0" / "model" / "weights.safetensors" for folder in (out, done.out)]
    assert sha256(weights[0]) == sha256(weights[1])


def test_a_failed_run_stops_only_those_that_need_it(copied: AblateSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(run_folder(copied, "simclr"))

    def diverge(settings: TrainSettings) -> TrainResult | None:
        if settings.out.name == "squares-simclr-s0":
            raise InputError("the loss at step 1 is not a number <b>")
        return train(settings)

    monkeypatch.setattr(ablating, "train", diverge)
    with pytest.raises(InputError, match=r"2 of 7 runs failed, squares-simclr-s0 because the loss at step 1"):
        ablate(replace(copied, factors=("loss",)))
    report = (copied.out / "report.md").read_text(encoding="utf-8")
    assert "**squares-simclr-s0 failed:** the loss at step 1 is not a number &lt;b&gt;" in report
    assert "it needs squares-simclr-s0, which failed" in report
    assert "Not compared: one of the arms failed." in report
    assert "clip and supervised" in report or "clip is" in report
    monkeypatch.setattr(ablating, "train", train)
    shutil.rmtree(run_folder(copied, "noclip"))
    ablate(replace(copied, factors=("loss",)))
    assert "failed" not in (copied.out / "report.md").read_text(encoding="utf-8")


def test_a_folder_of_an_earlier_version_is_refused(copied: AblateSettings) -> None:
    record = json.loads((copied.out / "settings.json").read_text())
    del record["format"]
    (copied.out / "settings.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"holds runs of an earlier version of this package; give another `out`"):
        ablate(copied)


def test_other_settings_in_the_same_folder_are_refused(copied: AblateSettings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds runs with epochs 2, and this is 3"):
        ablate(replace(copied, epochs=3))
    other = write_micro_set(tmp_path / "other.parquet", per_class=8, seed=5)
    with pytest.raises(InputError, match=r"is not what the runs in .* were trained on"):
        ablate(replace(copied, data={"squares": other}))


def test_another_test_set_is_tested_again_and_nothing_trained(copied: AblateSettings, tmp_path: Path) -> None:
    other = write_micro_set(tmp_path / "more.parquet", per_class=9, seed=3)
    trained = (run_folder(copied, "clip") / "done.json").stat().st_mtime_ns
    ablate(replace(copied, factors=("test-language",), tests={"more": other}))
    assert (run_folder(copied, "clip") / "done.json").stat().st_mtime_ns == trained
    assert all(len(each) == 27 for each in read_answers(run_folder(copied, "clip")).values())


def test_other_prompts_are_tested_again_and_nothing_trained(copied: AblateSettings, tmp_path: Path) -> None:
    own = tmp_path / "sentences.txt"
    own.write_text("a {}\n")
    trained = (run_folder(copied, "clip") / "done.json").stat().st_mtime_ns
    settings = replace(copied, factors=("test-language",), prompts=str(own))
    for prompt in ("a {}", "no {} at all"):
        own.write_text(f"{prompt}\n")
        ablate(settings)
        assert (run_folder(copied, "clip") / "done.json").stat().st_mtime_ns == trained
        metrics = json.loads((run_folder(copied, "clip") / "metrics.json").read_text())
        assert metrics["prompts"] == str(own)
        record = json.loads((run_folder(copied, "clip") / "run.json").read_text())
        assert record["test"]["sentences"] == digest(own)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tests": None}, "needs a test set"),
        ({"seeds": 0}, "`seeds` must be at least 1, not 0"),
        ({"epochs": 0}, "`epochs` must be at least 1, not 0"),
        ({"devices": 0}, "`devices` must be at least 1, not 0"),
        ({"nodes": 0}, "`nodes` must be at least 1, not 0"),
        ({"nodes": 2}, "`nodes` 2 needs torchrun, which starts the same command on every machine"),
        ({"workers": 0}, "`workers` must be at least 1, not 0"),
        ({"accumulate": 0}, "`accumulate` must be at least 1, not 0"),
        ({"accumulate": 4}, "`batch_size` 6 cannot be split into 4 equal micro-batches"),
        ({"precision": "8"}, "`precision` must be one of 32, bf16-mixed"),
        ({"threads": 0}, "`threads` must be at least 1, not 0"),
        ({"keep_every": 0}, "`keep_every` must be at least 1, not 0"),
        ({"factors": ("colour",)}, "a factor must be one of .*, or all, not 'colour'"),
        ({"preset": "huge"}, "`preset` must be one of paper, micro, not 'huge'"),
        ({"prompts": "many"}, "the file many does not exist"),
        ({"tests": {"a": Path("nowhere")}}, "`tests` a: nowhere does not exist"),
        ({"data": {"a": Path("nowhere")}}, "the data a: nowhere does not exist"),
        ({"data": {}}, "needs `data`"),
    ],
)
def test_wrong_settings_are_one_sentence(
    asked: AblateSettings, tmp_path: Path, change: dict[str, object], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        ablate(replace(asked, out=tmp_path / "out", **change))  # type: ignore[arg-type]
    assert not (tmp_path / "out" / "runs").exists()


def test_a_refused_ablation_removes_nothing_and_a_corrected_one_goes_on(asked: AblateSettings, tmp_path: Path) -> None:
    """Whether the mistake is seen at once or while inputs are made."""
    out, wrong = tmp_path / "out", tmp_path / "wrong.parquet"
    wrong.write_bytes(b"PAR1 and no more")
    for change in (
        {"data": {"squares": wrong}, "epochs": 1},
        {"tests": {"test": wrong}},
        {"data": {"squares": asked.data["squares"], "wrong": wrong}},
    ):
        with pytest.raises(InputError, match="is not a Parquet file"):
            ablate(replace(asked, out=out, **change))  # type: ignore[arg-type]
    made = sorted(out.rglob("*"))
    assert out / "inputs" / "squares.parquet" in made
    wrong.write_bytes(asked.data["squares"].read_bytes())
    write_settings(replace(asked, out=out, data={**asked.data, "wrong": wrong}))
    assert sorted(out.rglob("*")) == made
    with pytest.raises(InputError, match="the data squares is not what"):
        write_settings(replace(asked, out=out, data={"squares": next(iter((asked.tests or {}).values()))}))


def test_inputs_in_the_output_are_refused_before_anything(asked: AblateSettings, tmp_path: Path) -> None:
    """They lie where an ablation keeps inputs of its own, which earlier versions took back after a mistake."""
    (tmp_path / "out" / "inputs").mkdir(parents=True)
    mine = tmp_path / "out" / "inputs" / "squares.parquet"
    mine.write_bytes(asked.data["squares"].read_bytes())
    for data, words in (({"squares": mine}, "lies inside the output"), (asked.data, "holds 'inputs' and is not an")):
        with pytest.raises(InputError, match=words):
            ablate(replace(asked, out=tmp_path / "out", data=data, devices=3))
    with pytest.raises(InputError, match="is the input"):
        ablate(replace(asked, out=asked.data["squares"]))
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [mine]


def test_places_need_names_of_their_own() -> None:
    assert parse_places(["a=/x/y.csv", "/x/Some File.parquet"], "data") == {
        "a": Path("/x/y.csv"),
        "some-file": Path("/x/Some File.parquet"),
    }
    for given in (["a=/x", "a=/y"], ["../a=/x"], ["A B=/x"]):
        with pytest.raises(InputError):
            parse_places(given, "data")
