"""The card's header holds only what the Hub accepts."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from imagenet_captions.dataset.card import DatasetFacts, card
from imagenet_captions.packager.package import PackageSettings, package
from tests.dataset.made import rows, write_captions


def made_card(rows: int, **facts: Any) -> str:
    tables = "by_class filled languages sources licenses counts inputs settings made_with files".split()
    given: dict[str, Any] = {**{name: {} for name in tables}, "rows": rows, "shards_a_config": 1, "repeated": 0}
    return card(DatasetFacts(**{**given, "images": None, "retrieved": None, **facts}))


def header(rows: int, **languages: int) -> dict[str, list[str]]:
    found: dict[str, list[str]] = yaml.safe_load(made_card(rows, languages=languages).split("---")[1])
    return found


@pytest.mark.parametrize("rows", [0, *(10**power - less for power in range(3, 13) for less in (1, 0)), 5 * 10**13])
def test_the_hub_knows_the_size_at_any_size(rows: int) -> None:
    known = json.loads(files("datasets").joinpath("utils/resources/size_categories.json").read_text())
    (size,) = header(rows)["size_categories"]
    assert size in known


def test_the_hub_knows_the_license_and_the_tags() -> None:
    found = header(10)
    assert (found["license"], found["license_link"]) == ("other", "https://www.image-net.org/download.php")
    assert {"imagenet", "captions", "robustness"} < set(found["tags"])


def test_languages_of_fewer_rows_than_one_in_a_thousand_are_left_out() -> None:
    assert header(1000, en=990, und=8, no=1, so=1)["language"] == ["en", "no", "so"]
    assert header(1001, en=990, und=9, no=1, so=1)["language"] == ["en"]
    assert header(1000, und=1000)["language"] == ["en"]


def test_the_datasheet_has_what_was_measured() -> None:
    told = made_card(
        10,
        filled={"names_class": 4},
        repeated=3,
        measured={"survival": {"years": {"2007": [8, 10], "2008": [1, 2]}, "licenses": {"10": 1, "4": 3}}},
    )
    tables = [block.splitlines() for block in told.split("\n\n") if block.startswith("|")]
    assert tables[1][2:] == ["| 2007 | 10 | 8 | 80.0 % |", "| 2008 | 2 | 1 | 50.0 % |", "| all | 12 | 9 | 75.0 % |"]
    assert tables[2][2:] == ["| 4 CC BY 2.0 | 3 | 75.0 % |", "| 10 Public Domain Mark 1.0 | 1 | 25.0 % |"]
    assert tables[3][2:] == [
        "| name their own class | 4 | 40.0 % |",
        "| have a caption that another row has too | 3 | 30.0 % |",
    ]
    assert "The texts were cleaned by fixed rules" in told
    told = made_card(10, settings={"as_published": True})
    assert "| not known: Flickr was not asked about photos, so none is known to be gone |  |  |  |" in told
    assert "| not known: the source states no licenses |  |  |" in told
    assert "no cleaning rule was applied" in told
    assert "the exact texts of the source, a `caption` joined from them, the language\n" in told


def test_licenses_and_repeated_captions_are_those_of_the_rows(tmp_path: Path) -> None:
    made = [{**row, "caption": row["caption"] if number % 9 else ""} for number, row in enumerate(rows(20))]
    package(write_captions(tmp_path / "captions.parquet", made), tmp_path / "out", PackageSettings())
    captions = [row["caption"] for row in made]
    repeated = sum(captions.count(caption) > 1 for caption in captions if caption)
    told = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert 0 < repeated < 100
    assert f"| have a caption that another row has too | {repeated} | {repeated}.0 % |" in told
    assert f"| 4 CC BY 2.0 | {sum(row['license'] == 4 for row in made)} | 25.0 % |" in told


def test_texts_of_strangers_do_not_break_out_of_the_card() -> None:
    hostile = "`<script>`\n# \x1b[31m"
    shown = "`'<script>' # \\u001b[31m`"
    told = made_card(
        10,
        inputs={hostile: hostile},
        settings={"score-model": hostile, "filter": [{"score-model": hostile}]},
        sources={hostile: 10},
        languages={'en"\n': 10},
        measured={"survival": {"years": {"<script>": [1, 1]}}},
    )
    for line in (
        f"- input {shown}: SHA-256 {shown}",
        f"- setting `score-model`: {shown}",
        f"- texts from: {shown} 10",
        "| &lt;script&gt; | 1 | 1 | 100.0 % |",
    ):
        assert line in told.splitlines()
    assert yaml.safe_load(told.split("---\n")[1])["language"] == ['en"\n']
    assert "<script>" not in re.sub(r"`[^`\n]*`", "", told)
