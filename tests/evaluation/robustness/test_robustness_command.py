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
from imagenet_captions.evaluation.robustness.tables import parse_results, read_published
from imagenet_captions.storage.faults import how_to_install
from tests.command_line import HANGS_AFTER, run_cli
from tests.evaluation.robustness.made_models import made, write_table

DOCS = Path(__file__).parents[3] / "docs" / "how-to" / "robustness.md"
RN50 = """\
model,imagenet,imagenet-v2,imagenet-sketch,imagenet-r,imagenet_on_r_classes,objectnet,imagenet_on_objectnet_classes
RN50,0.59808,0.5253,0.35377,0.6046,0.8576,0.40283,0.66848
"""


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def test_clip_rn50_from_a_users_table(tmp_path: Path) -> None:
    (tmp_path / "RESULTS.csv").write_text(RN50)
    done = run_cli("robustness", tmp_path / "RESULTS.csv", "--baseline", "standard", "--out", tmp_path / "ER.csv")
    assert done.returncode == 0, done.stderr
    (row,) = read_csv(tmp_path / "ER.csv")
    values = {name: float(row[f"{name}_effective_robustness"]) for name in ("imagenet-v2", "imagenet-sketch")}
    assert values == {"imagenet-v2": pytest.approx(5.79, abs=0.01), "imagenet-sketch": pytest.approx(22.86, abs=0.01)}
    assert float(row["imagenet-r_effective_robustness"]) == pytest.approx(32.86, abs=0.01)
    assert float(row["objectnet_effective_robustness"]) == pytest.approx(17.85, abs=0.01)
    assert row["imagenet-r_compared_on"] == "same classes"
    assert row["baseline"] == "standard"
    assert row["imagenet-v2"] == "0.5253"
    assert float(row["imagenet-v2_low"]) == pytest.approx(clopper_pearson(52.53, 10_000)[0] / 100, abs=1e-5)
    assert "taken as fractions" in done.stderr
    for part in ("RN50", "+5.79", "+32.86", "n 85", "n 80", "baseline standard"):
        assert part in done.stdout


def test_the_published_figure_in_one_command(tmp_path: Path) -> None:
    done = run_cli("robustness", "published", "--plot", tmp_path / "figure.svg", "--out", tmp_path / "ER.csv")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "figure.svg").read_bytes().startswith(b"<?xml")
    rows = {row["model"]: row for row in read_csv(tmp_path / "ER.csv")}
    assert {"CLIP RN50", "CLIP ViT-L/14-336", "ALIGN", "BASIC-L"} <= set(rows)
    assert {row["baseline"] for row in rows.values()} == {"auto"}
    assert "extrapolated: outside the fitted range of imagenet (0.3 to 84.7 %): BASIC-L" in done.stderr
    without = {name for name, row in rows.items() if not row["mean_effective_robustness"]}
    assert without == {"CLIP RN50", "CLIP ViT-B/32"}
    for name, row in rows.items():
        if name in without:
            assert "R and ObjectNet are compared on their own classes" in row["mean_note"]
        else:
            assert float(row["mean_effective_robustness"]) > 5
            assert (row["mean_compared_on"], row["mean_note"]) == ("all classes", "")
    marks = {name: row["mean_mark"] for name, row in rows.items() if name not in without}
    assert [name for name, mark in marks.items() if mark == "extrapolated"] == ["BASIC-L"]
    assert [name for name, mark in marks.items() if mark == "sparse"] == [
        "OpenCLIP RN50 YFCC-15M",
        "OpenCLIP RN101 YFCC-15M",
        "OpenCLIP RN50 CC-12M",
    ]


def test_the_table_says_which_baseline_and_where_it_is_doubtful() -> None:
    done = run_cli("robustness", "published")
    lines = {re.split("  +", line)[0]: line for line in done.stdout.splitlines()}
    assert lines["BASIC-L"].count("^") == 6
    assert lines["OpenCLIP RN50 YFCC-15M"].count("~") == 6
    assert "~ sparse: " in done.stdout
    assert "^ extrapolated: " in done.stdout
    assert all(lines[model].endswith("auto") for model in ("ALIGN", "CLIP RN50"))
    assert "imagenet-v2 from imagenet: local curve, r 0.9999, n 195" in done.stdout
    by_line = run_cli("robustness", "published", "--baseline", "imagenet-only").stdout
    assert "imagenet-v2 from imagenet: slope 0.9327" in by_line
    assert "sparse" not in by_line


def write_own(path: Path, models: int) -> None:
    rows = (f"own {number},{30 + 2 * number},{24 + 1.9 * number}\n" for number in range(models))
    path.write_text("model,imagenet,imagenet-v2\n" + "".join(rows))


def test_a_baseline_of_ones_own_models(tmp_path: Path) -> None:
    write_own(tmp_path / "own.csv", 12)
    (tmp_path / "RESULTS.csv").write_text("model,imagenet,imagenet-v2,objectnet\nm,40,40,20\n")
    asked = ["robustness", tmp_path / "RESULTS.csv", "--baseline-from", tmp_path / "own.csv"]
    done = run_cli(*asked, "--out", tmp_path / "ER.csv", "--plot", tmp_path / "figure.svg")
    assert done.returncode == 0, done.stderr
    (row,) = read_csv(tmp_path / "ER.csv")
    assert row["baseline"] == "own.csv"
    assert float(row["imagenet-v2_effective_robustness"]) == pytest.approx(40 - (24 + 1.9 * 5), abs=0.2)
    assert row["objectnet_effective_robustness"] == ""
    assert "own.csv has 0 models with imagenet and objectnet" in done.stderr
    assert "baseline own.csv: in logit space over the models of own.csv" in done.stdout


def test_er_csv_has_what_was_measured(tmp_path: Path) -> None:
    table = read_published()
    report = measure_robustness(table.rows, "standard")
    write_robustness(tmp_path / "ER.csv", table, report)
    for row, model in zip(read_csv(tmp_path / "ER.csv"), report.models, strict=True):
        assert {column: row[column] for column in table.columns} == model.result.cells
        for column, found in model.shifts.items():
            assert float(row[f"{column}_effective_robustness"]) == pytest.approx(found.value, abs=1e-4)
            assert float(row[f"{column}_effective_robustness_low"]) == pytest.approx(found.interval[0], abs=1e-4)
            assert float(row[f"{column}_effective_robustness_high"]) == pytest.approx(found.interval[1], abs=1e-4)
            assert float(row[f"{column}_predicted"]) == pytest.approx(found.predicted, abs=1e-4)
            assert row[f"{column}_mark"] == found.mark
        same = "same classes" if "imagenet_on_r_classes" in model.result.accuracies else "all classes"
        assert row["imagenet-r_compared_on"] == same


def test_without_scipy_there_are_no_intervals_of_accuracies(tmp_path: Path) -> None:
    table = parse_results("model,imagenet,imagenet-v2\na,76,63\n")
    write_robustness(tmp_path / "ER.csv", table, measure_robustness(table.rows), exact_intervals=False)
    (row,) = read_csv(tmp_path / "ER.csv")
    assert "imagenet_low" not in row
    assert row["imagenet-v2_effective_robustness"]
    assert row["mean_effective_robustness"] == ""


def test_the_fit_runs_without_the_extras(tmp_path: Path) -> None:
    """On an installation of the core alone the table and ER.csv come, and a figure is refused in one sentence."""
    (tmp_path / "RESULTS.csv").write_text("model,imagenet,imagenet-v2\na,76,63\n")
    hide = "import sys\nfor name in ('scipy', 'matplotlib'): sys.modules[name] = None\n"
    run = hide + "from imagenet_captions.cli.main import main\nmain()"
    arguments = [sys.executable, "-c", run, "robustness", "RESULTS.csv"]
    done = subprocess.run([*arguments, "--out", "ER.csv"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "scipy is not installed" in done.stderr
    assert how_to_install("report") in done.stderr
    assert read_csv(tmp_path / "ER.csv")[0]["imagenet-v2_effective_robustness"] != ""
    done = subprocess.run([*arguments, "--plot", "f.svg"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "a figure needs matplotlib" in done.stderr
    assert done.stderr.strip().endswith(how_to_install("report"))


def test_values_on_all_classes_are_marked() -> None:
    text = format_robustness(measure_robustness(read_published().rows[:3], "standard"))
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    assert "*" not in lines["CLIP RN50"]
    assert lines["CLIP RN101"].count("*") == 4, "R, ObjectNet, A and the mean"
    assert "* against the accuracy on all 1000 classes" in text


def test_a_hostile_name_cannot_write_to_the_terminal() -> None:
    table = parse_results("model,imagenet,imagenet-v2\n\x1b[31mred\x07" + "x" * 500 + ",76,63\n")
    report = measure_robustness(table.rows)
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", format_robustness(report) + "\n".join(write_notes(report)))
    assert max(map(len, format_robustness(report).splitlines())) < 140


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("robustness nothing.csv", "nothing.csv does not exist"),
        ("robustness bad.csv", "unknown column 'top1'"),
        ("robustness mixed.csv", "seems to mix percent and fractions"),
        ("robustness percent.csv --units fraction", "is not a fraction"),
        ("robustness percent.csv --plot figure.jpg", "is not a .png or .svg file"),
        ("robustness percent.csv --plot figure", "is not a .png or .svg file"),
        ("robustness alone.csv --plot figure.svg", "nothing to draw"),
        ("robustness percent.csv --baseline-from percent.csv", "percent.csv has 1 models with imagenet and"),
        ("robustness percent.csv --baseline auto --baseline-from own.csv", "give one of the two"),
        ("robustness percent.csv --baseline-from bad.csv", "unknown column 'top1'"),
        ("robustness percent.csv --baseline-from own.csv --out own.csv", "is the input own.csv itself"),
    ],
)
def test_wrong_input_is_one_sentence_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.csv").write_text("model,imagenet,top1\na,76,63\n")
    (tmp_path / "mixed.csv").write_text("model,imagenet,imagenet-v2\na,0.76,0.63\nb,70,58\n")
    (tmp_path / "percent.csv").write_text("model,imagenet,imagenet-v2\na,76,63\n")
    write_own(tmp_path / "own.csv", 12)
    (tmp_path / "alone.csv").write_text("model,imagenet,imagenet-v2\na,76,\n")
    before = sorted(path.name for path in tmp_path.iterdir())
    done = run_cli(*arguments.split())
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert sentence in done.stderr.strip().splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_the_commands_of_the_docs(tmp_path: Path) -> None:
    scripts = re.findall(r"```bash\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert len(scripts) == 3
    write_table(tmp_path / "MODELS.csv", made(noise=0.1), without="laion")
    write_table(tmp_path / "MIXED.csv", made(3, seed=1), without="laion")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for script in scripts:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=HANGS_AFTER,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    names = ["ER.csv", "MIXED.csv", "MODELS.csv", "MULTI.csv", "RESULTS.csv", "figure.png", "figure.svg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
