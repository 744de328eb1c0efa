"""Filtering, measuring, comparing and verifying from Python, as the commands of the same names do it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import imagenet_captions as ic
from imagenet_captions.dataset.settings import RowConditions


def test_a_condition_makes_a_dataset_or_a_list_of_ids(text_dataset: Path, tmp_path: Path) -> None:
    condition = ic.in_class("tench") & ic.has("title")
    wanted = ic.load(text_dataset, condition)["image_id"][:]
    counts = ic.filter(str(text_dataset), condition, out=str(tmp_path / "child"))
    assert counts == {"kept": len(wanted), "condition": 200 - len(wanted)}
    assert ic.load(tmp_path / "child")["image_id"][:] == wanted
    assert ic.verify(str(tmp_path / "child")).rows == len(wanted)
    assert 'wnid == "n01440764"' in (tmp_path / "child" / "README.md").read_text("utf-8")
    assert ic.filter(text_dataset, condition, out_ids=tmp_path / "ids.txt") == counts
    assert (tmp_path / "ids.txt").read_text("utf-8").split() == wanted


@pytest.mark.parametrize("outputs", [{}, {"out": "a", "out_ids": "b"}])
def test_a_filter_writes_one_thing(outputs: dict[str, str], text_dataset: Path) -> None:
    with pytest.raises(ic.InputError, match="a filter writes one thing: give `out` DATASET, or `out_ids` FILE"):
        ic.filter(text_dataset, ic.has("title"), **outputs)  # type: ignore[arg-type]


def test_paths_may_be_texts(text_dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "given").write_text("n01440764_3\n", "utf-8")
    kept = [
        ic.filter(text_dataset, ic.FilterSettings(ids=given), out_ids=tmp_path / "ids", overwrite=True)  # type: ignore[arg-type]
        for given in (tmp_path / "given", str(tmp_path / "given"))
    ]
    assert kept[0] == kept[1]
    for name in ("ids", "like", "deny"):
        with pytest.raises(ic.InputError, match="absent does not exist"):
            ic.filter(text_dataset, ic.FilterSettings(**{name: "absent"}), out_ids=tmp_path / "none")  # type: ignore[arg-type]
    with pytest.raises(ic.InputError, match="absent does not exist"):
        ic.export(text_dataset, "a.tsv", ic.ExportSettings("open-clip-csv", images="absent"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: ic.filter("d", "dog", out="o"), "`keep` must be a condition such as"),
        (lambda: ic.FilterSettings(balance=0), "`balance` must be at least 1, not 0"),
        (lambda: ic.FilterSettings(shuffle=0, shards=0), "`shards` must be at least 1, not 0"),
        (lambda: RowConditions(val_fraction=0.2), "`val_fraction` has no effect without `split`; leave it out"),
        (lambda: ic.FilterSettings(shards=4), "`shards` has no effect without `shuffle`; leave it out"),
        (lambda: ic.FilterSettings(score_above=0.0), "`score_above` has no effect without `scores`"),
        (lambda: ic.FilterSettings(score_top="x", scores="s"), "`score_top` must be a number, not 'x'"),
        (lambda: ic.FilterSettings(condition="dog"), "`condition` must be a condition such as `in_class('dog')`"),
        (lambda: ic.explain("d", 3), "'3' is not the id of a training image; give one such as n01440764_10026"),
        (lambda: ic.resolve(None), "`name` must be a wnid, an index or a name of a class, not None"),
        (lambda: ic.ExportSettings("slim", caption=3), "`caption` must be a CaptionTemplate, not 3"),
        (lambda: ic.publish(".", 3), "a repository is named ORG/NAME, such as my-group/captions, not '3'"),
        (lambda: ic.load("d", 3), "`filters` must be a condition such as"),
        (lambda: ic.filter("d", ic.has("title"), out="o", workers="2"), "`workers` must be a whole number, not '2'"),
        (lambda: ic.contains("title", 3), "`text` must be a text, not 3"),
        (lambda: ic.language(3), "'3' is not a language code"),
        (lambda: ic.in_split("val", "x"), "`fraction` must be a share such as 0.1, not 'x'"),
    ],
)
def test_a_value_of_another_type_is_refused_in_one_sentence(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ic.InputError, match=re.escape(sentence)):
        call()
