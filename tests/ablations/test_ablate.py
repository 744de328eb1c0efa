"""Whole ablations on a few coloured squares: every factor from data to report, killed, resumed, refused."""

from __future__ import annotations

import gc
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from imagenet_captions.ablations import ablate as ablating
from imagenet_captions.ablations.ablate import ablate, prepare
from imagenet_captions.ablations.comparing import factor_sentence, sentence
from imagenet_captions.ablations.report import escape
from imagenet_captions.ablations.settings import FACTORS, AblateSettings, parse_places, write_settings
from imagenet_captions.ablations.testing import read_answers
from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.intervals import holm
from imagenet_captions.storage.files import digest, sha256
from imagenet_captions.training.settings import TrainSettings
from imagenet_captions.training.train import TrainResult, train
from tests.ablations.made import COLOURS, read_rows, write_micro_set
from tests.command_line import HANGS_AFTER

EPOCHS = 2
SHIFTS = ("micro-blur", "micro-noise", "micro-contrast")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> AblateSettings:
    gc.freeze()  # every training collects garbage, which takes a second with all that the tests have imported
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


def run_folder(settings: AblateSettings, name: str) -> Path:
    return settings.out / "runs" / f"squares-{name}-s0"


def read_record(settings: AblateSettings, name: str, file: str = "run.json") -> Any:
    return json.loads((run_folder(settings, name) / file).read_text())


def test_every_sentence_of_the_report_is_made_of_comparisons_csv(done: AblateSettings) -> None:
    report = (done.out / "report.md").read_text(encoding="utf-8")
    rows = read_rows((done.out / "comparisons.csv").read_text(encoding="utf-8"))
    for factor in FACTORS:
        figure = (done.out / f"figure-{factor}.svg").read_text(encoding="utf-8")
        assert figure.startswith("<?xml")
        assert ("(other factor)" in figure) == (factor not in ("size", "domain")), "whose arms the line has"
        own = [row for row in rows if row.factor == factor]
        section = report.partition(f"### {factor}: comparisons")[2].partition("\n## ")[0]
        bullets = [line.removeprefix("- ") for line in section.splitlines() if line.startswith("- ")]
        assert bullets == [sentence(row) for row in own]
        assert escape(factor_sentence(own), longest=4000) in section.splitlines()
        assert {row.quantity for row in own if row.headline} == {"mean accuracy under the shifts"}
    verdicts = [row for row in rows if row.headline]
    assert len(verdicts) >= 15
    assert [row.p_holm for row in verdicts] == pytest.approx(holm([row.p_value for row in verdicts]))
    assert "The shifts are blur, noise and less contrast" in report
    assert "and there are 3. Arms are compared in accuracy." in report, "as close as their noise, they have no line"


def test_the_numbers_of_the_report_are_those_of_the_answers(done: AblateSettings) -> None:
    rows = read_rows((done.out / "comparisons.csv").read_text(encoding="utf-8"))
    names = ("clip", "supervised-matched")
    own = [row for row in rows if (row.factor, row.first, row.second) == ("loss", *names)]
    values = {row.quantity: row.value for row in own}
    clip, labels = (read_answers(run_folder(done, name) / "metrics.json") for name in names)
    assert values["accuracy on clean"] == pytest.approx(100 * (clip["clean"].mean() - labels["clean"].mean()))
    first, second = (np.mean([arm[name].mean() for name in SHIFTS]) for arm in (clip, labels))
    assert values["mean accuracy under the shifts"] == pytest.approx(100 * (first - second))
    report = (done.out / "report.md").read_text(encoding="utf-8")
    shown = [line.split(" | ") for line in report.splitlines() if line.startswith("| supervised-matched | 0 | 24 |")]
    for cell, name in zip(shown[0][8:12], ("clean", *SHIFTS), strict=True):
        assert cell.startswith(f"{100 * labels[name].mean():.1f} ")
        assert len(labels[name]) == 18


def test_three_samples_an_arm_are_what_the_model_got(done: AblateSettings) -> None:
    names = ("clip", "clip-title", "clip-templates", "supervised", "simclr", "clip.no-prompt")
    shown = {name: read_record(done, name)["samples"] for name in names}
    assert all(len(samples) == 3 for samples in shown.values())
    texts = {name: {sample["text"] for sample in samples} for name, samples in shown.items()}
    made = pq.read_table(done.out / "inputs" / "squares.parquet").to_pylist()
    assert texts["clip"] <= {row["caption"] for row in made}
    assert texts["clip-title"] <= {row["title"] for row in made}
    assert all(any(name in text for name in COLOURS) for text in texts["clip-templates"])
    assert texts["supervised"] == {""}
    assert {sample["label"] for sample in shown["supervised"]} <= COLOURS.keys()
    assert texts["clip.no-prompt"] == COLOURS.keys()
    one, other = (np.asarray(Image.open(done.out / "samples" / name)) for name in shown["simclr"][0]["pictures"])
    assert one.shape == (32, 32, 3)
    assert (one != other).any()


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
    again = replace(done, factors=("test-language",), out=out)
    with subprocess.Popen([*command, "--workers", "1"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        until = time.monotonic() + HANGS_AFTER
        while not checkpoint.exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < until
            time.sleep(0.005)
        with pytest.raises(InputError, match="is in use by another run"):
            ablate(again)
        process.send_signal(signal.SIGKILL)
    assert not (out / "report.md").exists()
    ablate(again)
    for name in ("clip", "clip.80-prompts", "clip.linear-probe"):
        found, unbroken = (read_answers(run_folder(each, name) / "metrics.json") for each in (again, done))
        assert all((found[each] == unbroken[each]).all() for each in unbroken)
    weights = [run_folder(each, "clip") / "model" / "weights.safetensors" for each in (again, done)]
    assert sha256(weights[0]) == sha256(weights[1])


def test_a_failed_run_stops_only_those_that_need_it(copied: AblateSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(run_folder(copied, "simclr"))

    def diverge(settings: TrainSettings) -> TrainResult | None:
        if settings.out.name == "squares-simclr-s0":
            raise InputError("the loss at step 1 is not a number <b>")
        return train(settings)

    monkeypatch.setattr(ablating, "train", diverge)
    loss = replace(copied, factors=("loss",))
    with pytest.raises(InputError, match=r"2 of 7 runs failed, squares-simclr-s0 because the loss at step 1"):
        ablate(loss)
    report = (copied.out / "report.md").read_text(encoding="utf-8")
    for words in ("the loss at step 1 is not a number &lt;b&gt;", "it needs squares-simclr-s0", "Not compared: one of"):
        assert words in report
    assert "clip and supervised" in report or "clip is" in report
    monkeypatch.setattr(ablating, "train", train)
    shutil.rmtree(run_folder(copied, "noclip"))
    ablate(loss)
    assert "failed" not in (copied.out / "report.md").read_text(encoding="utf-8")


def test_a_folder_goes_on_with_its_own_settings_alone(copied: AblateSettings, tmp_path: Path) -> None:
    other = write_micro_set(tmp_path / "other.parquet", per_class=8, seed=5)
    with pytest.raises(InputError, match="holds runs with epochs 2, and this is 3"):
        ablate(replace(copied, epochs=3))
    with pytest.raises(InputError, match=r"is not what the runs in .* were trained on"):
        ablate(replace(copied, data={"squares": other}))
    record = json.loads((copied.out / "settings.json").read_text())
    (copied.out / "settings.json").write_text(json.dumps({**record, "format": 1}))
    with pytest.raises(InputError, match="holds runs of an earlier version of this package; give another `out`"):
        ablate(copied)


def test_a_factor_added_later_leaves_the_sizes_of_the_first(asked: AblateSettings, tmp_path: Path) -> None:
    first = replace(asked, factors=("size",), sizes=(1.0, 0.4), out=tmp_path / "out")
    wanted = [run.name for run in prepare(first, write_settings(first)).tables[0].runs]
    added = replace(first, factors=("loss",), sizes=None)
    (table,) = prepare(added, write_settings(added)).others
    assert [run.name for run in table.runs] == wanted


def test_other_tests_and_prompts_are_measured_again_and_nothing_trained(copied: AblateSettings, tmp_path: Path) -> None:
    more, own = write_micro_set(tmp_path / "more.parquet", per_class=9, seed=3), tmp_path / "sentences.txt"
    own.write_text("a {}\n")
    trained = (run_folder(copied, "clip") / "done.json").stat().st_mtime_ns
    settings = replace(copied, factors=("test-language",), tests={"more": more}, prompts=str(own))
    for prompt in ("a {}", "no {} at all"):
        own.write_text(f"{prompt}\n")
        ablate(settings)
        assert (run_folder(copied, "clip") / "done.json").stat().st_mtime_ns == trained
        assert read_record(copied, "clip", "metrics.json")["prompts"] == str(own)
        assert read_record(copied, "clip")["test"]["sentences"] == digest(own)
        assert all(len(each) == 27 for each in read_answers(run_folder(copied, "clip") / "metrics.json").values())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tests": None}, "needs a test set"),
        ({"seeds": 0}, "`seeds` must be at least 1, not 0"),
        ({"nodes": 2}, "`nodes` 2 needs torchrun, which starts the same command on every machine"),
        ({"accumulate": 4}, "`batch_size` 6 cannot be split into 4 equal micro-batches"),
        ({"factors": ("colour",)}, "a factor must be one of .*, or all, not 'colour'"),
        ({"prompts": "many"}, "the file many does not exist"),
        ({"tests": {"a": Path("nowhere")}}, "`tests` a: nowhere does not exist"),
        ({"data": {"a": Path("nowhere")}}, "the data a: nowhere does not exist"),
        ({"data": {}}, "needs `data`"),
    ],
)
def test_wrong_settings_are_one_sentence(
    asked: AblateSettings, tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        ablate(replace(asked, out=tmp_path / "out", **change))
    assert not (tmp_path / "out" / "runs").exists()


def test_a_refused_ablation_removes_nothing_and_a_corrected_one_goes_on(asked: AblateSettings, tmp_path: Path) -> None:
    """Whether the mistake is seen at once or while inputs are made."""
    out, wrong = tmp_path / "out", tmp_path / "wrong.parquet"
    wrong.write_bytes(b"PAR1 and no more")
    changes: list[dict[str, Any]] = [{"tests": {"test": wrong}}, {"data": {**asked.data, "wrong": wrong}}]
    for change in changes:
        with pytest.raises(InputError, match="is not a Parquet file"):
            ablate(replace(asked, out=out, **change))
    made = sorted(out.rglob("*"))
    assert out / "inputs" / "squares.parquet" in made
    wrong.write_bytes(asked.data["squares"].read_bytes())
    write_settings(replace(asked, out=out, data={**asked.data, "wrong": wrong}))
    assert sorted(out.rglob("*")) == made


def test_inputs_in_the_output_are_refused_before_anything(asked: AblateSettings, tmp_path: Path) -> None:
    mine = tmp_path / "out" / "inputs" / "squares.parquet"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(asked.data["squares"].read_bytes())
    for data, words in (({"squares": mine}, "lies inside the output"), (asked.data, "holds 'inputs' and is not an")):
        with pytest.raises(InputError, match=words):
            ablate(replace(asked, out=tmp_path / "out", data=data, devices=3))
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [mine]


@pytest.mark.parametrize("given", [["a=/x", "a=/y"], ["../a=/x"], ["A B=/x"]])
def test_places_need_names_of_their_own(given: list[str]) -> None:
    with pytest.raises(InputError):
        parse_places(given, "data")
