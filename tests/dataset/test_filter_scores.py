"""Filtering by a file of scores: which rows are left, ties, rows without a score, and files of other datasets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import imagenet_captions as ic
from imagenet_captions.dataset.shards import Shards
from imagenet_captions.packager.package import verify
from tests.command_line import invoke
from tests.dataset.made import make_dataset, read_ids, rows, write_scores

IDS = [row["image_id"] for row in rows()]


@pytest.fixture
def scores(text_dataset: Path, tmp_path: Path) -> Path:
    """Row i of 200 has (i - 50) / 200; the last twenty rows have no score, and rows 100 to 109 the same one."""
    values = [(at - 50) / 200 if at not in range(100, 110) else 0.25 for at in range(180)]
    order = sorted(range(180), key=lambda at: IDS[at][::-1])  # a file in another order than the dataset
    return write_scores(
        tmp_path / "scores.parquet",
        [IDS[at] for at in order],
        [values[at] for at in order],
        text_dataset,
    )


def kept(dataset: Path, out: Path, **settings: Any) -> list[str]:
    ic.filter(dataset, ic.FilterSettings(**settings), out_ids=out, overwrite=True)
    return read_ids(out)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"score_above": 0.5}, IDS[151:180]),
        ({"score_above": -1.0}, IDS[:180]),
        ({"score_top": 0.1}, IDS[162:180]),
        ({"score_top": 1.0}, IDS[:180]),
        ({"score_above": 0.5, "score_top": 0.1}, IDS[177:180]),
        ({"score_above": 0.25, "score_below": ["similarity=0.5"]}, IDS[110:150]),
        ({"score_top": 0.5, "condition": ic.in_class("n01440764")}, IDS[20:40]),
        # Of rows 100 to 109, with the same score, three are left: those with the lower ids.
        ({"score_top": 73 / 180}, [*IDS[110:180], *sorted(IDS[100:110])[:3]]),
    ],
)
def test_limits(text_dataset: Path, scores: Path, tmp_path: Path, limits: dict[str, Any], expected: list[str]) -> None:
    assert kept(text_dataset, tmp_path / "ids.txt", scores=scores, **limits) == sorted(expected)
    told = json.loads((tmp_path / "ids.txt.json").read_text())
    assert told["filter"].get("score-above") == limits.get("score_above")
    assert told["counts"].get("no-score") == (None if "condition" in limits else 20)


def test_the_dataset_names_the_model_and_its_weights(text_dataset: Path, scores: Path, tmp_path: Path) -> None:
    command = ["filter", str(text_dataset), "--scores", str(scores), "--score-top", "0.3", "--workers", "1"]
    code, told = invoke(*command, "--out", str(tmp_path / "best"))
    assert code == 0, told
    assert told.split()[:10] == "kept 54 left out by no-score 20 left out by".split()
    assert "left out by score-top  126" in told
    verify(tmp_path / "best")
    (record,) = Shards(tmp_path / "best").manifest.settings["filter"]
    assert record["score-model"] == "runs/clip"
    assert record["score-weights"] == "sha256:" + "cd" * 32
    assert record["score-top"] == 0.3
    assert record["scores"].startswith("sha256:")
    again = kept(tmp_path / "best", tmp_path / "ids.txt", scores=scores, score_top=0.5)
    assert again == sorted(IDS[153:180]), "the scores of the dataset that it was filtered from"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--scores other.parquet --score-top 0.3", "with 180 of its 200 ids; score this one, or the one"),
        ("--scores scores.parquet", "--scores has no effect without a limit; give --score-above, --score-below or"),
        ("--scores scores.parquet --score-below val=0.9", "has no such column; it has similarity"),
        ("--scores scores.parquet --score-below 0.9", "--score-below must be COLUMN=VALUE, such as imagenet-v2=0.9"),
        ("--scores scores.parquet --score-top 30", "--score-top must be a share above 0 and at most 1, not 30.0"),
        ("--scores scores.parquet --score-above nan", "--score-above must be a similarity from -1 to 1, not nan"),
        ("--scores nowhere.parquet --score-top 0.3", "the file of scores nowhere.parquet does not exist"),
        ("--scores twice.parquet --score-top 0.3", "twice.parquet has an id twice; score the dataset again"),
        ("--scores inf.parquet --score-top 0.3", "inf.parquet has similarities that are not numbers; score the"),
        ("--scores text.parquet --score-top 0.3", "was not written by `imagenet-captions score`"),
    ],
)
def test_a_file_that_does_not_fit_is_one_sentence(
    text_dataset: Path, scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_scores(tmp_path / "other.parquet", IDS[:180], [0.1] * 180, make_dataset(tmp_path / "o", rows(1)))
    write_scores(tmp_path / "twice.parquet", [*IDS[:180], IDS[0]], [0.1] * 181, text_dataset)
    write_scores(tmp_path / "inf.parquet", IDS[:2], [0.1, float("inf")], text_dataset)
    table = pq.read_table(scores)
    pq.write_table(table.set_column(1, "similarity", table["similarity"].cast("string")), tmp_path / "text.parquet")
    code, told = invoke("filter", str(text_dataset), *words.split(), "--out", "x")
    assert code == 2, told
    assert sentence in told.splitlines()[-1]
    assert not Path("x").exists()
