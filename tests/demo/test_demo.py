"""The demo over the bundled sample: every id ends where the sample says it does."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from imagenet_captions.demo.run import SAMPLE, run_demo
from imagenet_captions.errors import InputError
from tests.command_line import run_cli_apart


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "dataset"
    run_demo(out, out.parent / "inputs")
    return out


def test_every_id_ends_as_expected(dataset: Path) -> None:
    lines = (SAMPLE / "expected.tsv").read_text(encoding="utf-8").splitlines()[1:]
    expected = dict(line.split("\t") for line in lines)
    rows = pq.read_table(dataset / "outcomes.parquet").to_pylist()
    ended = {row["image_id"]: row["outcome"] for row in rows if row["image_id"] is not None}
    for row in rows:
        if row["image_id"] is None and row["outcome"] == "bad_record" and row["detail"].startswith("ids: "):
            ended[""] = row["outcome"]  # the entry that is not an id has none to be listed under
        if row["outcome"] == "unknown_class":  # one row for all ids of a class
            ended |= {image_id: row["outcome"] for image_id in expected if image_id.startswith(row["wnid"])}
    assert ended == expected


def test_counts_add_up_to_ids_and_unreadable_lines(dataset: Path) -> None:
    text = (SAMPLE / "ids.txt").read_text(encoding="utf-8")
    ids = {line.strip().removesuffix(".JPEG") for line in text.splitlines() if line.strip()}
    rows = pq.read_table(dataset / "outcomes.parquet").to_pylist()
    (lines,) = (row["count"] for row in rows if (row["detail"] or "").startswith("list 1: lines without an image id"))
    assert lines == 3
    assert sum(row["count"] for row in rows) == len(ids) + lines


def test_the_demo_shows_no_bar_of_datasets(tmp_path: Path) -> None:
    done = run_cli_apart("demo", "--out", tmp_path / "dataset", HF_DATASETS_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert "Generating" not in done.stderr
    assert "load_dataset" in done.stdout


def test_the_inputs_have_the_names_of_the_real_ones(dataset: Path) -> None:
    inputs = dataset.parent / "inputs"
    names = {path.name for path in inputs.iterdir()}
    assert names == {"imagenet_captions.json", "fall11_urls.txt", "ILSVRC2012_img_train"}
    assert len(list(inputs.rglob("*.JPEG"))) == len(list((SAMPLE / "train").rglob("*.JPEG")))
    with pytest.raises(InputError, match="inputs exists; name a new folder"):
        run_demo(dataset.parent / "again", inputs)
    assert not (dataset.parent / "again").exists()
