"""Batches of records: columns as one string at a time would give them."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_captions.captions.caption_template import DEFAULT_FIELDS, CaptionTemplate
from imagenet_captions.captions.compose import is_camera_name
from imagenet_captions.cleaner.clean import CLEANED, MACHINE_TAG, CleanSettings, clean_batch
from imagenet_captions.cleaner.text import clean_description, clean_title
from tests.cleaner.raw import FULL, TENCH, TOILET_TISSUE, batch, record
from tests.cleaner.strategies import arrow_texts, plain_ascii

tags = st.one_of(
    arrow_texts, st.sampled_from(["dog", "Dog", "DOG ", "Straße", "STRASSE", "geo:lat=1", "a:b=http://x", "", " "])
)
records = st.lists(
    st.builds(
        record,
        st.just(f"{TENCH}_1"),
        st.one_of(arrow_texts, plain_ascii, st.sampled_from(["IMG_1234", "DSC_0001.JPG", "&#73;MG_1234"])),
        st.one_of(arrow_texts, plain_ascii),
        st.lists(tags, max_size=5),
    ),
    max_size=6,
)
templates = st.permutations(DEFAULT_FIELDS).flatmap(
    lambda fields: st.integers(1, 3).map(lambda n: CaptionTemplate(tuple(fields[:n])))
)


def cleaned_tags(tags: list[str]) -> list[str]:
    kept: dict[str, str] = {}
    for tag in map(clean_title, tags):
        if tag and not re.search(MACHINE_TAG, tag):
            kept.setdefault(tag.casefold(), tag)
    return list(kept.values())


def one_by_one(raw: dict[str, Any], template: CaptionTemplate) -> dict[str, Any]:
    title = clean_title(raw["title"])
    made = {"title": title, "description": clean_description(raw["description"]), "tags": cleaned_tags(raw["tags"])}
    parts = {**made, "title": "" if is_camera_name(title) else title, "tags": " ".join(made["tags"])}
    caption = " ".join(parts[field] for field in template.fields if parts[field])
    return {**made, "caption": caption, "outcome": "kept" if any(parts.values()) else "no_text"}


@given(records, templates)
def test_columns_are_cleaned_as_single_strings_are(raw: list[dict[str, Any]], template: CaptionTemplate) -> None:
    cleaned = clean_batch(batch(raw), CleanSettings(template, language=False))
    names = ["title", "description", "tags", "caption", "outcome"]
    assert cleaned.select(names).to_pylist() == [one_by_one(each, template) for each in raw]


def test_every_column_of_a_row() -> None:
    cleaned = clean_batch(batch([FULL]), CleanSettings())
    assert cleaned.schema.equals(CLEANED)
    [row] = cleaned.to_pylist()
    assert 0 < row.pop("language_score") <= 1
    assert row == {
        **FULL,
        "filename": "n01440764_1.JPEG",
        "label": 0,
        "class_name": "tench",
        "title": "A tench",
        "description": "caught today",
        "tags": ["fish"],
        "caption": "A tench fish caught today",
        "language": "en",
        "mentions": " 0 ",
        "names_class": True,
        "raw_title": "A  tench",
        "raw_description": "caught <b>today</b>",
        "raw_tags": ["fish", "Fish"],
        "outcome": "kept",
    }


def test_mentions_are_of_the_texts_and_not_of_the_caption() -> None:
    raw = [record(f"{TENCH}_1", "Goldfish", "and a tench", ["great white", "shark"]), record(f"{TENCH}_2", "tenches")]
    raw += [record(f"{TENCH}_3", "goldfish"), record("n02084071_1", "tench"), record(f"{TENCH}_4", "IMG_1234")]
    for template in ("title tags description", "title"):
        cleaned = clean_batch(batch(raw), CleanSettings(CaptionTemplate.parse(template), language=False))
        assert cleaned["mentions"].to_pylist() == [" 0 1 ", " 0 ", " 1 ", " 0 ", ""]
        assert cleaned["names_class"].to_pylist() == [True, True, False, False, False]


def test_classes_and_those_outside() -> None:
    raw = [record(f"{wnid}_1", "x") for wnid in (TOILET_TISSUE, "n02084071", "", TENCH)]
    cleaned = clean_batch(batch(raw), CleanSettings(language=False))
    assert cleaned["label"].to_pylist() == [999, -1, -1, 0]
    assert cleaned["class_name"].to_pylist() == ["toilet paper", "", "", "tench"]
    assert cleaned["outcome"].to_pylist() == ["kept", "unknown_class", "unknown_class", "kept"]


@pytest.mark.parametrize(
    ("raw", "template", "detail"),
    [
        (record("n01440764_1"), "title tags description", "nothing in title, tags, description"),
        (record("n01440764_1", " ", "<br>", ["", "geo:lat=1"], detail="a remark"), "title tags description",
         "a remark; nothing in title, tags, description"),
        (record("n01440764_1", "IMG_1234"), "title tags description", "nothing but a camera's file name"),
        (record("n01440764_1", "IMG_1234"), "tags", "nothing but a camera's file name"),
    ],
)  # fmt: skip
def test_why_there_is_no_text(raw: dict[str, Any], template: str, detail: str) -> None:
    cleaned = clean_batch(batch([raw]), CleanSettings(CaptionTemplate.parse(template), language=False))
    assert (cleaned["outcome"][0].as_py(), cleaned["detail"][0].as_py()) == ("no_text", detail)


def test_what_the_template_lacks_or_a_camera_named_stays_in_its_row() -> None:
    raw = [record("n01440764_1", "IMG_1234", "text"), record("n01440764_2", "a tench")]
    raw += [record("n01440764_3", "IMG_1234", "", ["42"])]
    cleaned = clean_batch(batch(raw), CleanSettings(CaptionTemplate.parse("tags")))
    assert cleaned["outcome"].to_pylist() == ["kept"] * 3
    assert cleaned["caption"].to_pylist() == ["", "", "42"]
    assert (cleaned["title"][2].as_py(), cleaned["language"][2].as_py()) == ("IMG_1234", "und")


HOSTILE = ["IMG_1", "a:b1=", "é ", "\u0e01", "crane ", "great white shark-", "tench's ", "-'_|", "[url="]


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_records_take_no_more_than_their_length(unit: str) -> None:
    text = unit * (100_000 // len(unit))
    began = time.process_time()
    pieces = [text[start : start + 9] for start in range(0, len(text), 9)]
    clean_batch(batch([record(f"{TENCH}_1", text, text, [text, *pieces])]), CleanSettings())
    assert time.process_time() - began < 30  # a few seconds, where nothing is quadratic
