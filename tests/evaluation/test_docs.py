"""The commands of the pages on evaluate, compare and score, run as they are written, over small replicas."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from imagenet_captions.imagenet import classes
from imagenet_captions.models.build import build_model
from imagenet_captions.models.load import save_model
from tests.command_line import invoke
from tests.dataset.made import make_dataset, rows
from tests.evaluation.comparison.made_results import write_result
from tests.evaluation.made_sets import flat_val, ground_truth, picture, write_files, write_tar

DOCS = Path(__file__).parents[2] / "docs" / "how-to"
WNIDS = sorted(set(classes.read_list("imagenet-r")) & set(classes.read_list("imagenet-a")))[:2]


def by_folder(folders: list[str], around: str) -> dict[str, bytes]:
    return {f"{around}/{folder}/{number}.jpg": picture(number * 9) for folder in folders for number in range(3)}


def write_sets(root: Path) -> None:
    write_tar(root / "ILSVRC2012_img_val.tar", flat_val(4))
    write_files(root, {"ILSVRC2012_validation_ground_truth.txt": ground_truth(WNIDS * 2)})
    v2 = "imagenetv2-matched-frequency-format-val"
    write_tar(root / f"{v2}.tar.gz", by_folder(["0", "10"], v2), "w:gz")
    write_files(root, by_folder(WNIDS, "imagenet-r"))
    write_files(root, by_folder(WNIDS, "sketch"))
    write_files(root, by_folder(["bicycle", "air_freshener"], "objectnet-1.0/images"))
    write_tar(root / "imagenet-a.tar", by_folder(WNIDS, "imagenet-a"))
    write_files(root, by_folder(WNIDS, "val"))
    write_files(root, by_folder(WNIDS, "imagenet-captions"))
    (root / "my-prompts.txt").write_text("a drawing of {}\n")
    save_model(build_model("micro", seed=0), root / "RUN")


def run_page(name: str) -> list[str]:
    """Run the commands of a page and then its code; return what each command said."""
    page = (DOCS / name).read_text(encoding="utf-8")
    said = []
    for line in "".join(re.findall(r"```bash\n(.*?)```", page, re.DOTALL)).splitlines():
        words = shlex.split(line)[1:]
        if words[0] == "evaluate" and "--classifier" not in words and "--prompts" not in words:
            words += ["--prompts", "none"]  # 80 sentences for 1000 classes take a minute
        code, told = invoke(*words)
        assert code == 0, told
        said.append(told)
    for program in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(program, {})
    return said


def test_evaluate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sets(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert len(run_page("evaluate.md")) == 7
    measured = json.loads((tmp_path / "metrics.json").read_text())["test_sets"]
    assert {name: entry["n"] for name, entry in measured.items()} == {
        **dict.fromkeys(("imagenet", "imagenet_on_r_classes", "imagenet_on_a_classes"), 4),
        **dict.fromkeys(("imagenet-v2", "imagenet-r", "imagenet-sketch", "imagenet-a"), 6),
        "objectnet": 3,
    }
    (row,) = csv.DictReader((tmp_path / "RESULTS.csv").read_text().splitlines())
    assert float(row["imagenet-r"]) == pytest.approx(measured["imagenet-r"]["top1"], abs=1e-6)
    assert (row["model"], row["imagenet_on_r_classes_n"]) == ("RN50 captions", "4")


def test_compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    right = np.arange(60) % 2 == 0
    for number, name in enumerate(("a", "b", "c", "a-s0", "b-s0", "a-s1", "b-s1")):
        write_result(Path("runs") / name, {"imagenet": np.roll(right, 30 * number) | (np.arange(60) < 9 * number)})
    for name, kind in (("zero-shot", "zero-shot"), ("probe", "linear-probe")):
        write_result(Path(name), {"imagenet": right}, kind=kind).rename(f"{name}.json")
        (Path(name) / "metrics.answers.parquet").rename(f"{name}.answers.parquet")
    assert ["difference (95 %)" in told for told in run_page("compare.md")] == [True] * 4
    assert {"compare.csv", "compare.svg"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.slow
def test_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_dataset(tmp_path, rows(4), images=True).rename(tmp_path / "imagenet-captions")
    save_model(build_model("micro", seed=0), tmp_path / "RUN")
    monkeypatch.chdir(tmp_path)
    assert all("kept" in told for told in run_page("score.md"))
