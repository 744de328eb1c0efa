"""The page on label-by-text, run as it is written, and what its columns say."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from imagenet_captions.demo.run import SAMPLE
from tests.command_line import run_cli

DOCS = Path(__file__).parent.parent.parent / "docs"


def test_the_commands_of_the_page_on_label_by_text(tmp_path: Path) -> None:
    page = (DOCS / "how-to" / "label-by-text.md").read_text(encoding="utf-8")
    commands = re.findall(r"```bash\nimagenet-captions (.*?)\n```", page)
    (tmp_path / "captions.tsv").write_text("filepath\ttitle\na.jpg\ta tench\nb.jpg\tnothing\n", encoding="utf-8")
    built = run_cli("build", "--release", SAMPLE / "release.json", "--out", tmp_path / "imagenet-captions")
    assert built.returncode == 0, built.stderr
    for command in commands:
        words = [str(tmp_path / word) if (tmp_path / word).exists() or "." in word else word
                 for word in shlex.split(command)]  # fmt: skip
        done = run_cli(*words)
        assert done.returncode == 0, done.stderr
    assert pq.read_table(tmp_path / "labeled.parquet")["label"].to_pylist() == [0]
    report = json.loads((tmp_path / "by-text.report.json").read_text(encoding="utf-8"))
    assert report["known_class"] == report["rows"] > 0
    assert report["right"] > 0
    header = (tmp_path / "by-text.tsv").read_text(encoding="utf-8").partition("\n")[0].split("\t")
    assert header[-3:] == ["labels", "wnids", "class_names"]
    assert {"mentions", "names_class", "label", "wnid"} <= set(header)


def test_a_dataset_answers_which_rows_name_a_class(tmp_path: Path) -> None:
    built = run_cli("build", "--release", SAMPLE / "release.json", "--out", tmp_path / "dataset")
    assert built.returncode == 0, built.stderr
    dataset = ds.dataset(tmp_path / "dataset" / "data")
    rows = dataset.to_table().to_pylist()
    named = {label for row in rows for label in map(int, row["mentions"].split())}
    assert named
    for label in sorted(named):
        found = dataset.to_table(filter=pc.match_substring(pc.field("mentions"), f" {label} "))["image_id"].to_pylist()
        assert found == [row["image_id"] for row in rows if str(label) in row["mentions"].split()]
    assert [row["names_class"] for row in rows] == [str(row["label"]) in row["mentions"].split() for row in rows]
    assert any(row["names_class"] for row in rows)
