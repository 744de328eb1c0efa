"""What each rule changes in a record, and the report of how often."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_captions.cleaner.changes import RULES, Change, record_changes
from imagenet_captions.cleaner.columns import clean_tags
from imagenet_captions.cleaner.rule_report import RuleReport
from imagenet_captions.cleaner.text import clean_description, clean_title
from imagenet_captions.demo.run import SAMPLE
from tests.cleaner.raw import batch, record
from tests.cleaner.strategies import arrow_texts, texts
from tests.storage.conftest import invoke

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
            assert (change.before, change.rule in RULES) == (at, True)
            at = str(change.after)
        assert at == cleaned


@given(tag_lists)
def test_the_tags_that_no_rule_removes_are_the_cleaned_ones(tags: list[str]) -> None:
    removed = sum(change.after is None for change in record_changes("", "", tags))
    (cleaned,) = clean_tags(pa.array([tags], pa.list_(pa.string()))).to_pylist()
    assert len(tags) - removed == len(cleaned)


@given(st.lists(st.tuples(arrow_texts, arrow_texts, tag_lists), max_size=5))
def test_the_report_counts_every_record_once_a_rule(records: list[tuple[str, str, list[str]]]) -> None:
    report, expected = RuleReport(), Counter[str]()
    report.add(batch([record(f"n01440764_{at}", *each) for at, each in enumerate(records)]))
    for each in records:
        expected.update({change.rule for change in record_changes(*each)})
    assert (report.records, report.counts) == (len(records), expected)


def test_the_examples_are_the_first_three_and_differ() -> None:
    titles = ["a &amp; b", "a &amp; b", "c &amp; d", "e &amp; f", "g &amp; h"]
    report = RuleReport()
    report.add(batch([record(f"n01440764_{at}", title) for at, title in enumerate(titles)]))
    assert report.counts["entities"] == 5
    assert [image_id for image_id, _ in report.examples["entities"]] == ["n01440764_0", "n01440764_2", "n01440764_3"]
    assert "  n01440764_2 title: 'c &amp; d' → 'c & d'" in str(report).splitlines()


def test_a_long_text_is_shown_around_its_change() -> None:
    shown = str(Change("entities", "description", "x" * 500 + "&lt;" + "y" * 500, "x" * 500 + "<" + "y" * 500))
    assert shown == f"description: '…{'x' * 24}&lt;{'y' * 24}…' → '…{'x' * 24}<{'y' * 24}…'"


def test_clean_reports_as_text_and_as_json(tmp_path: Path) -> None:
    plain = tmp_path / "plain.parquet"
    release = ("clean", "--release", str(SAMPLE / "release.json"), "--out")
    assert invoke(*release, str(plain))[0] == 0
    code, told = invoke(*release, str(tmp_path / "a.parquet"), "--report")
    assert code == 0
    assert "camera file names   2    7.1 %" in told
    assert "title: 'IMG_1234' left out" in told
    code, told = invoke(*release, str(tmp_path / "b.parquet"), "--report", "--json")
    found = json.loads(told[told.index("{") :])
    assert found["outcomes"]["kept"] == 26
    assert found["rules"]["camera file names"]["records"] == 2
    assert found["rules"]["camera file names"]["examples"][0]["before"] == "IMG_1234"
    assert len({path.read_bytes() for path in tmp_path.glob("?.parquet")} | {plain.read_bytes()}) == 1


def test_a_denied_record_is_in_no_example(tmp_path: Path) -> None:
    deny = tmp_path / "deny.txt"
    deny.write_text("n01440764_965652.JPEG\n")
    out = ("--out", str(tmp_path / "c.parquet"), "--deny", str(deny), "--report")
    code, told = invoke("clean", "--release", str(SAMPLE / "release.json"), *out)
    assert code == 0
    assert "records            27" in told
    assert "n01440764_965652" not in told
