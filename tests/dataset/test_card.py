"""The card's header holds only what the Hub accepts."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
import yaml

from imagenet_captions.dataset.describing.card import card
from imagenet_captions.dataset.describing.facts import DatasetFacts


def header(rows: int, **languages: int) -> dict[str, list[str]]:
    facts = DatasetFacts(
        shards=1,
        rows=rows, classes={}, images=None, filled={}, languages=languages, sources={}, retrieved=None, funnel={},
        inputs={}, settings={}, made_with={},
    )  # fmt: skip
    found: dict[str, list[str]] = yaml.safe_load(card(facts).split("---")[1])
    return found


@pytest.mark.parametrize("rows", [0, *(10**power - less for power in range(3, 13) for less in (1, 0)), 5 * 10**13])
def test_the_hub_knows_the_size_at_any_size(rows: int) -> None:
    known = json.loads(files("datasets").joinpath("utils/resources/size_categories.json").read_text())
    (size,) = header(rows)["size_categories"]
    assert size in known


def test_languages_of_fewer_rows_than_one_in_a_thousand_are_left_out() -> None:
    assert header(1000, en=990, und=8, no=1, so=1)["language"] == ["en", "no", "so"]
    assert header(1001, en=990, und=9, no=1, so=1)["language"] == ["en"]
    assert header(1000, und=1000)["language"] == ["en"]
