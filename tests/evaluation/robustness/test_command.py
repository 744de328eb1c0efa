"""`imagenet-captions robustness`: its files, its table, the docs' examples, and wrong input."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from imagenet_captions.evaluation.intervals import clopper_pearson
from imagenet_captions.evaluation.robustness.measure import measure_robustness, write_notes
from imagenet_captions.evaluation.robustness.output import format_robustness, write_robustness
from imagenet_captions.evaluation.robustness.tables import IMAGENET, Result, read_published
from imagenet_captions.storage.faults import how_to_install
from tests.command_line import HANGS_AFTER, invoke, run_cli
from tests.evaluation.robustness.made_models import IDS, baseline_of, made, write_table

DOCS = Path(__file__).parents[3] / "docs" / "how-to" / "robustness.md"
RN50 = """\
model,imagenet,imagenet-v2,imagenet-sketch,imagenet-r,imagenet_on_r_classes,objectnet,imagenet_on_objectnet_classes
RN50,0.59808,0.5253,0.35377,0.6046,0.8576,0.40283,0.66848
"""


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def test_clip_rn50_from_a_users_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "RESULTS.csv").write_text(RN50)
    given = (tmp_path / "RESULTS.csv", "--baseline", "standard", "--out", tmp_path / "ER.csv")
    code, told = invoke("robustness", *given)
    assert code == 0, told
    (row,) = read_csv(tmp_path / "ER.csv")
    expected = {"imagenet-v2": 5.79, "imagenet-sketch": 22.86, "imagenet-r": 32.86, "objectnet": 17.85}
    for shift, value in expected.items():
        assert float(row[f"{shift}_effective_robustness"]) == pytest.approx(value, abs=0.01)
    assert (row["imagenet-r_compared_on"], row["baseline"]) == ("same classes", "standard")
    assert row["imagenet-v2"] == "0.5253"
    assert float(row["imagenet-v2_low"]) == pytest.approx(clopper_pearson(52.53, 10_000)[0] / 100, abs=1e-5)
    assert "taken as fractions" in caplog.text
    for part in ("RN50", "+5.79", "+32.86", "n 85", "n 80", "baseline standard"):
        assert part in told


def test_the_published_models_in_one_command(tmp_path: Path) -> None:
    table = tmp_path / "ER.csv"
    done = run_cli("robustness", "published", "--out", table)
    assert done.returncode == 0, done.stderr
    extrapolated, mixed = (line for line in done.stderr.splitlines() if line.startswith("note: "))
    assert "extrapolated: outside the fitted range of imagenet (0.3 to 84.7 %): BASIC-L" in extrapolated
    assert mixed.startswith("note: ImageNet-R, ObjectNet, ImageNet-A: some models are compared on the shift's own")
    assert mixed.endswith("--all-classes compares all alike, and gives a mean to CLIP RN50, CLIP ViT-B/32")
    rows = {row["model"]: row for row in read_csv(table)}
    assert {row["baseline"] for row in rows.values()} == {"auto"}
    assert "R and ObjectNet are compared on their own classes" in rows["CLIP RN50"]["mean_note"]
    row = rows["OpenCLIP RN50 YFCC-15M"]
    assert float(row["mean_effective_robustness"]) > 5
    assert (row["mean_compared_on"], row["mean_note"], row["mean_mark"]) == ("all classes", "", "")
    assert int(row["imagenet-v2_ordinary_trainings"]) >= 5
    assert row["imagenet-v2_ordinary_below"] == "100"
    assert 0.2 < float(row["imagenet-v2_ordinary_deviation"]) < 1
    lines = {re.split("  +", line)[0]: line for line in done.stdout.splitlines()}
    assert lines["BASIC-L"].count("^") == 6
    assert lines["OpenCLIP RN50 YFCC-15M"].count(" p100") == 5
    assert lines["CLIP RN101"].count("*") == 4, "R, ObjectNet, A and the mean"
    for text in ("* against the accuracy on all", "p: the percentage of", "^ extrapolated: ", "n 200 of 92 trainings"):
        assert text in done.stdout


def test_a_hostile_name_cannot_write_to_the_terminal() -> None:
    report = measure_robustness([Result("\x1b[31mred\x07" + "x" * 500, {IMAGENET: 76.0, "imagenet-v2": 63.0})])
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", format_robustness(report) + "\n".join(write_notes(report)))


def write_own(path: Path, models: int) -> None:
    rows = (f"own {at},{30 + 2 * at},{24 + 1.9 * at},{20 + at}\n" for at in range(models))
    path.write_text("model,imagenet,imagenet-v2,imagenet-r\n" + "".join(rows))


def test_a_baseline_of_ones_own_models_is_used_for_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    write_own(Path("own.csv"), 12)
    columns = "model,imagenet,imagenet-v2,imagenet-r,imagenet_on_r_classes,objectnet"
    Path("RESULTS.csv").write_text(f"{columns}\nm,40,40,30,60,20\n")
    words = "robustness RESULTS.csv --baseline-from own.csv --out ER.csv --plot figure.svg"
    code, told = invoke(*words.split())
    assert code == 0, told
    (row,) = read_csv(Path("ER.csv"))
    assert row["baseline"] == "own.csv"
    assert float(row["imagenet-v2_effective_robustness"]) == pytest.approx(40 - (24 + 1.9 * 5), abs=0.2)
    assert row["imagenet-r_compared_on"] == "all classes", "the own models have no accuracy on R's classes"
    assert row["objectnet_effective_robustness"] == ""
    few = "imagenet-r from imagenet_on_r_classes (0 of 5); objectnet from imagenet (0 of 5)"
    assert f"own.csv has too few models for {few}; add" in caplog.text
    assert "baseline own.csv: in logit space over the models of own.csv" in told
    assert Path("figure.svg").read_bytes().startswith(b"<?xml")


def test_er_csv_has_what_was_measured(tmp_path: Path) -> None:
    table = read_published()
    report = measure_robustness(table.rows, "standard")
    write_robustness(tmp_path / "ER.csv", table, report)
    for row, model in zip(read_csv(tmp_path / "ER.csv"), report.models, strict=True):
        assert {column: row[column] for column in table.columns} == model.result.cells
        for column, found in model.shifts.items():
            value = f"{column}_effective_robustness"
            cells = [float(row[name]) for name in (value, f"{value}_low", f"{value}_high", f"{column}_predicted")]
            assert cells == pytest.approx([found.value, *found.interval, found.predicted], abs=1e-4)
            assert row[f"{column}_mark"] == found.mark


def test_several_id_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_table(Path("own.csv"), made(noise=0.1))
    write_table(Path("few.csv"), made(4, seed=1))
    ids = ("--id", "imagenet", "--id", "yfcc", "--id", "laion")
    code, told = invoke("robustness", "few.csv", "--baseline-from", "own.csv", *ids, "--out", "ER.csv")
    assert code == 0, told
    assert "over the models of own.csv (Shi et al. 2023)" in told
    multi = measure_robustness(made(4, seed=1), baseline_of(made(noise=0.1)), ids=IDS)
    _, r2, _ = multi.fits[0].quality
    _, single_r2, single_error = multi.fits[0].first_alone.quality
    for row, model in zip(read_csv(Path("ER.csv")), multi.models, strict=True):
        found = model.shifts["imagenet-v2"]
        expected = {"multi_id_effective_robustness": found.value, "multi_id_predicted": found.predicted}
        expected |= {"multi_id_r2": r2, "single_id_r2": single_r2, "single_id_mae": single_error}
        cells = {name: float(row[f"imagenet-v2_{name}"]) for name in expected}
        assert cells == pytest.approx(expected, abs=1e-4)
        assert (row["multi_id_sets"], row["baseline"]) == ("imagenet + yfcc + laion", "own.csv")
    assert f"{multi.models[3].shifts['imagenet-v2'].value:+.2f}" in told
    assert f"R² {single_r2:.4f}" in told


def test_the_fit_runs_without_the_extras(tmp_path: Path) -> None:
    (tmp_path / "RESULTS.csv").write_text("model,imagenet,imagenet-v2\na,76,63\n")
    hide = "import sys\nfor name in ('scipy', 'matplotlib'): sys.modules[name] = None\n"
    run = hide + "from imagenet_captions.cli.main import main\nmain()"
    arguments = [sys.executable, "-c", run, "robustness", "RESULTS.csv"]
    done = subprocess.run([*arguments, "--out", "ER.csv"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert how_to_install("report") in done.stderr
    (row,) = read_csv(tmp_path / "ER.csv")
    assert row["imagenet-v2_effective_robustness"] != ""
    assert "imagenet_low" not in row


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("nothing.csv", "nothing.csv does not exist"),
        ("bad.csv", "unknown column 'top1'"),
        ("percent.csv --units fraction", "is not a fraction"),
        ("percent.csv --plot figure.jpg", "is not a .png or .svg file"),
        ("alone.csv --plot figure.svg", "nothing to draw"),
        (
            "percent.csv --baseline-from percent.csv",
            "percent.csv has too few models for imagenet-v2 from imagenet (1 of 5)",
        ),
        ("percent.csv --baseline auto --baseline-from own.csv", "give one of the two"),
        ("percent.csv --baseline-from own.csv --out own.csv", "is the input own.csv itself"),
        (
            "few.csv --id imagenet --id yfcc --id laion",
            "too few models for imagenet-v2 from imagenet, yfcc, laion (4 of",
        ),
        ("few.csv --id imagenet", "--id takes two or more"),
        ("few.csv --id imagenet --id imagenet", "--id 'imagenet' is given twice"),
        ("few.csv --id imagenet --id objectnet", "--id 'objectnet' is not in-distribution"),
        ("few.csv --id yfcc --id laion --id cc12m", "no model of the results has yfcc, laion, cc12m"),
    ],
)
def test_wrong_input_is_one_sentence_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.csv").write_text("model,imagenet,top1\na,76,63\n")
    Path("percent.csv").write_text("model,imagenet,imagenet-v2\na,76,63\n")
    Path("alone.csv").write_text("model,imagenet,imagenet-v2\na,76,\n")
    write_own(Path("own.csv"), 12)
    write_table(Path("few.csv"), made(4, seed=1))
    before = sorted(tmp_path.iterdir())
    code, told = invoke("robustness", *arguments.split())
    assert code == 2, told
    assert sentence in told.strip().splitlines()[-1]
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.slow
def test_the_commands_of_the_docs(tmp_path: Path) -> None:
    scripts = re.findall(r"```bash\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert len(scripts) == 3
    write_table(tmp_path / "MODELS.csv", made(noise=0.1), without="laion")
    write_table(tmp_path / "MIXED.csv", made(3, seed=1), without="laion")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", "\n".join(scripts)]
    asked = {"cwd": tmp_path, "env": {**os.environ, "PATH": path}, "timeout": HANGS_AFTER * 3}
    done = subprocess.run(command, capture_output=True, text=True, check=False, **asked)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    names = ["ER.csv", "MIXED.csv", "MODELS.csv", "MULTI.csv", "RESULTS.csv", "figure.png", "figure.svg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
