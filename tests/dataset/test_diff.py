"""Comparing two datasets: against a naive comparison, class by class, and what is written of it."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from imagenet_captions.dataset.diff import FIELDS, RAW_FIELDS, diff, format_summary
from imagenet_captions.errors import InputError
from tests.command_line import run_cli
from tests.dataset.made import WNIDS, make_dataset, rows
from tests.packager.made import caption_row


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dataset, and a version of it with a class less, a class more, rows lost and gained, texts changed."""
    folder = tmp_path_factory.mktemp("pair")
    chosen = random.Random(0)
    second = [row for row in rows() if row["wnid"] != WNIDS[2] and chosen.random() > 0.2]
    for number, row in enumerate(second):
        if number % 5 == 0:
            row["title"] = row["raw_title"] = f"{row['title']} again"
        if number % 7 == 0:
            row["tags"] = [*row["tags"], "one more"]
        if number % 11 == 0:
            row["raw_description"] = f"<b>{row['description']}</b>"  # the same text once it is cleaned
    more = [caption_row(image_id) for image_id in ("n01440764_0", "n04591157_1")]
    second = sorted([*second, *more], key=lambda row: (row["wnid"], row["image_id"]))
    return make_dataset(folder / "a", rows()), make_dataset(folder / "b", second)


def naive(a: Path, b: Path, raw: bool) -> dict[str, tuple[str, tuple[str, ...]]]:
    """What differs, the slow way."""
    fields = FIELDS + (RAW_FIELDS if raw else ())

    def texts(dataset: Path) -> dict[str, dict[str, Any]]:
        rows = {row["image_id"]: dict(row) for row in pq.read_table(dataset / "data").to_pylist()}
        for row in pq.read_table(dataset / "raw").to_pylist():
            rows[row["image_id"]].update({f"raw_{name}": row[name] for name in ("title", "description", "tags")})
        return rows

    one, other = texts(a), texts(b)
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    found |= dict.fromkeys(one.keys() - other.keys(), ("lost", ()))
    found |= dict.fromkeys(other.keys() - one.keys(), ("gained", ()))
    for image_id in one.keys() & other.keys():
        if changed := tuple(name for name in fields if one[image_id][name] != other[image_id][name]):
            found[image_id] = ("changed", changed)
    return found


@pytest.mark.parametrize("raw", [False, True])
def test_what_differs_is_what_a_naive_comparison_finds(pair: tuple[Path, Path], tmp_path: Path, raw: bool) -> None:
    expected = naive(*pair, raw)
    summary = diff(*pair, raw, out=tmp_path / "changes.tsv")
    lines = [line.split("\t") for line in (tmp_path / "changes.tsv").read_text().splitlines()[1:]]
    assert {line[0]: (line[2], tuple(filter(None, line[3].split(",")))) for line in lines} == expected
    assert [line[0] for line in lines] == sorted(expected)
    total, kinds = summary.total, Counter(kind for kind, _ in expected.values())
    assert all(kinds[kind] for kind in ("lost", "gained", "changed"))
    assert {"lost": total.lost, "gained": total.gained, "changed": total.changed} == kinds
    assert Counter(total.fields) == Counter(name for _, names in expected.values() for name in names)
    assert (total.a, total.b) == tuple(pq.read_table(each / "data").num_rows for each in pair)
    by_class = {wnid: counts.differing for wnid, counts in summary.classes.items()}
    assert by_class == Counter(image_id.partition("_")[0] for image_id in expected)
    assert [*by_class] == sorted(by_class)
    back = diff(pair[1], pair[0], raw).total
    assert (back.lost, back.gained, back.fields) == (total.gained, total.lost, total.fields)
    diff(*pair, raw, out=tmp_path / "ids.json")
    told = json.loads((tmp_path / "ids.json").read_text())
    assert told["ids"]["changed"] == {i: list(fields) for i, (kind, fields) in expected.items() if kind == "changed"}
    assert sorted([*told["ids"]["lost"], *told["ids"]["gained"], *told["ids"]["changed"]]) == sorted(expected)
    assert (told["equal"], told["lost"], told["rows"]["a"]) == (False, total.lost, total.a)
    folder = tmp_path / "folder"
    diff(*pair, raw, out=folder)
    assert sorted(path.name for path in folder.iterdir()) == ["changes.tsv", "classes.tsv", "summary.json"]
    assert (folder / "changes.tsv").read_bytes() == (tmp_path / "changes.tsv").read_bytes()
    rows = [line.split("\t") for line in (folder / "classes.tsv").read_text().splitlines()]
    assert rows[0] == ["wnid", "class_name", "a", "b", "lost", "gained", "changed", *total.fields]
    assert [sum(int(row[at]) for row in rows[1:]) for at in (4, 5, 6)] == [total.lost, total.gained, total.changed]
    assert json.loads((folder / "summary.json").read_text())["classes"] == told["classes"]


def test_equal_datasets_are_called_equal(pair: tuple[Path, Path], tmp_path: Path) -> None:
    summary = diff(pair[0], make_dataset(tmp_path, rows()), raw=True, out=tmp_path / "equal.tsv")
    assert summary.equal
    assert not summary.classes
    assert (tmp_path / "equal.tsv").read_text() == "image_id\twnid\tchange\tfields\n"
    text = format_summary(summary)
    assert text.startswith(f"equal: both have the same {summary.total.a:,} rows, with the same title, description")


def test_lists_of_tags_are_compared_exactly(tmp_path: Path) -> None:
    """Each pair would join to the same text."""
    lists = [([], [""]), (["a", "b"], ["a,b"]), (["1:a"], ["a"]), (["", ""], [""]), (["ä"], ["a"])]
    one, other = (
        make_dataset(
            tmp_path / str(side),
            [{**row, "tags": pair[side], "raw_tags": pair[side]} for row, pair in zip(rows(), lists, strict=False)],
        )
        for side in (0, 1)
    )
    summary = diff(one, other, raw=True)
    assert summary.total.fields["tags"] == summary.total.fields["raw_tags"] == len(lists)


def test_the_command(pair: tuple[Path, Path], tmp_path: Path) -> None:
    done = run_cli("diff", *pair, "--raw", "--out", tmp_path / "d")
    assert done.returncode == 0, done.stderr
    for words in ("lost: only in A", "gained: only in B", "raw description", "n04591157 Windsor"):
        assert words in done.stdout


def test_a_dataset_is_not_replaced(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "c").symlink_to(pair[0])
    with pytest.raises(InputError, match="is a dataset"):
        diff(pair[1], pair[1], out=tmp_path / "c")
