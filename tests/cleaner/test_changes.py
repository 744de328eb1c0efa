"""What each rule changes in a record."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_captions.cleaner.clean import clean_tags
from imagenet_captions.cleaner.text import Change, clean_description, clean_title, record_changes
from tests.cleaner.strategies import arrow_texts, texts

tag_lists = st.lists(st.one_of(arrow_texts, st.sampled_from(["Dog", "dog", "geo:lat=1", ""])), max_size=5)


@pytest.mark.parametrize(
    ("texts", "changes"),
    [
        (("A tench", "", ["fish"]), []),
        (
            ("Tom &amp;lt; x\u00ad", "", []),
            [
                ("entities", "Tom &amp;lt; x\u00ad", "Tom &lt; x\u00ad"),
                ("entities", "Tom &lt; x\u00ad", "Tom < x\u00ad"),
                ("controls", "Tom < x\u00ad", "Tom < x"),
            ],
        ),
        (("", "a<br>b", []), [("markup", "a<br>b", "a b")]),
        (("IMG_1234", "", []), [("camera file names", "IMG_1234", None)]),
        (
            ("", "", ["www.a.org", "geo:lat=1", "Straße", "STRASSE"]),
            [
                ("addresses", "www.a.org", " "),
                ("white space", " ", ""),
                ("empty tags", "www.a.org", None),
                ("machine tags", "geo:lat=1", None),
                ("repeated tags", "STRASSE", None),
            ],
        ),
    ],
)
def test_each_rule_notes_what_it_changes(
    texts: tuple[str, str, list[str]], changes: list[tuple[str, str, str | None]]
) -> None:
    assert [(each.rule, each.before, each.after) for each in record_changes(*texts)] == changes


@given(texts, texts)
def test_the_changes_of_a_text_lead_from_the_raw_to_the_cleaned_one(title: str, description: str) -> None:
    found = record_changes(title, description, [])
    for name, raw, cleaned in (
        ("title", title, clean_title(title)),
        ("description", description, clean_description(description)),
    ):
        at = raw
        for change in [each for each in found if each.field == name and each.after is not None]:
            assert change.before == at
            at = str(change.after)
        assert at == cleaned


@given(tag_lists)
def test_the_tags_that_no_rule_removes_are_the_cleaned_ones(tags: list[str]) -> None:
    removed = sum(change.after is None for change in record_changes("", "", tags))
    (cleaned,) = clean_tags(pa.array([tags], pa.list_(pa.string()))).to_pylist()
    assert len(tags) - removed == len(cleaned)


def test_a_long_text_is_shown_around_its_change() -> None:
    shown = str(Change("entities", "description", "x" * 500 + "&lt;" + "y" * 500, "x" * 500 + "<" + "y" * 500))
    assert shown == f"description: '…{'x' * 24}&lt;{'y' * 92}…' → '…{'x' * 24}<{'y' * 95}…'"
