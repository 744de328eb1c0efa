"""Caption templates: the line of text, and the captions that it makes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_captions.captions.caption_template import CaptionTemplate, open_clip_templates
from imagenet_captions.captions.compose import caption_lists, compose_captions
from imagenet_captions.cleaner.clean import CleanSettings
from imagenet_captions.errors import InputError
from imagenet_captions.exports.settings import ExportSettings
from tests.captions.rows import ROWS, TENCH


@pytest.mark.parametrize(
    ("text", "template"),
    [
        (" title|description ,\ttags", CaptionTemplate(("title|description", "tags"))),
        ('title template="a photo of a {}"', CaptionTemplate(("class_name", "title"), template="a photo of a {}")),
        ("title, class_name, template=open_clip-80", CaptionTemplate(("title", "class_name"), template="open_clip-80")),
        ("tags names=wordnet seed=7", CaptionTemplate(("class_name", "tags"), names="wordnet", seed=7)),
        (r'tags separator=", \"" empty=keep', CaptionTemplate(("tags",), separator=', "', empty="keep")),
        ("tags separator= max_words=20 max_chars=50", CaptionTemplate(("tags",), "", max_words=20, max_chars=50)),
        ("title camera_names=keep", CaptionTemplate(("title",), camera_names="keep")),
        ('tags template="photographer\'s {}"', CaptionTemplate(("class_name", "tags"), template="photographer's {}")),
    ],
)
def test_a_template_with_settings(text: str, template: CaptionTemplate) -> None:
    assert CaptionTemplate.parse(text) == template


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (" , ", "at least one field"),
        ("title tags title", "none twice; give some of title, tags, description"),
        ("title caption", "'caption' is not a caption field; give some of title"),
        ("x" * 100_000, "…' is not a caption field; give some of"),
        ('title separator="; ', "open quote"),
        ("title color=red", "'color' is not a caption setting"),
        ("title seed=1 seed=2", "given twice"),
        ("title seed=-1", "not a whole number"),
        ("title max_words=0", "max_words must be at least 1, not 0"),
        ("tags camera_names=keep", "camera_names=keep is for the title; add title to the fields"),
        ("title,tags captions=list separator=-", "separator= joins fields"),
        ('title template="a photo"', "no place for the class's name"),
        ("title names=latin", "must be one of curated, wordnet"),
        ("title|class_name", "class_name is in every row, so it cannot be an alternative"),
        ("title|", "'' is not a caption field"),
    ],
)
def test_an_impossible_setting_is_told(text: str, told: str) -> None:
    with pytest.raises(InputError) as raised:
        CaptionTemplate.parse(text)
    assert told in str(raised.value)
    assert len(str(raised.value)) < 250


def test_published_texts_keep_camera_names_in_titles() -> None:
    assert CaptionTemplate(("tags",)).with_camera_names() == CaptionTemplate(("tags",))
    assert str(CaptionTemplate.parse("tags|title seed=1").with_camera_names()) == "tags|title camera_names=keep seed=1"


groups = st.permutations(["title", "tags|description", "class_name"]).flatmap(
    lambda names: st.integers(1, 3).map(lambda n: tuple(names[:n]))
)


@given(
    groups,
    st.text(max_size=5),
    st.sampled_from(["{}", "a {}", 'the "{}", \\', "open_clip-80"]),
    st.none() | st.integers(1, 99),
    st.integers(0, 9),
)
def test_the_text_of_a_template_is_the_template(
    fields: tuple[str, ...], separator: str, sentence: str, most: int | None, seed: int
) -> None:
    sentence = sentence if "class_name" in fields else "{}"
    made = CaptionTemplate(fields, separator, sentence, max_words=most, seed=seed)
    assert CaptionTemplate.parse(str(made)) == made


def test_open_clips_templates() -> None:
    assert len(set(open_clip_templates())) == 80
    assert all(template.count("{}") == 1 for template in open_clip_templates())


def composed(text: str) -> list[str]:
    columns = {name: pa.array(values) for name, values in ROWS.items()}
    return list(compose_captions(CaptionTemplate.parse(text), columns).to_pylist())


@pytest.mark.parametrize(
    ("text", "captions"),
    [
        (
            "title tags description",
            ["A fish fish new york caught by me", "", "", "Two cranes in a field bird at dawn", "?"],
        ),
        ("tags separator= title", ["fish new yorkA fish", "", "", "birdTwo cranes in a field", "?"]),
        ("class_name", ["tench", "tench", "crane bird", "crane bird", ""]),
        (
            'tags template="a photo of a {}"',
            ["a photo of a tench fish new york", "", "", "a photo of a crane bird bird", ""],
        ),
        (
            "title class_name empty=keep",
            ["A fish tench", "tench", "crane bird", "Two cranes in a field crane bird", "?"],
        ),
        ("title camera_names=keep", ["A fish", "IMG_1234", "", "Two cranes in a field", "?"]),
        ("title|tags camera_names=keep max_words=1", ["A", "IMG_1234", "", "bird", "?"]),
        ("title tags max_words=3 max_chars=8", ["A fish f", "", "", "Two cran", "?"]),
    ],
)
def test_captions_of_columns(text: str, captions: list[str]) -> None:
    assert composed(text) == captions


def test_an_empty_tag_adds_no_separator() -> None:
    tags = [["", "a", ""], ["b", None, "c"], [], [""], None]
    columns = {"image_id": pa.array(ROWS["image_id"]), "tags": pa.array(tags, pa.list_(pa.string()))}
    assert compose_captions(CaptionTemplate(("tags",)), columns).to_pylist()[:4] == ["a", "b c", "", ""]
    sliced = {name: column.slice(1, 3) for name, column in columns.items()}
    assert compose_captions(CaptionTemplate(("tags",)), sliced).to_pylist() == ["b c", "", ""]


def test_chance_depends_on_the_seed_and_the_image_alone() -> None:
    ids = [f"{TENCH}_{number}" for number in range(2000)]
    columns = {"image_id": pa.array(ids), "title": pa.array(["t"] * 2000), "description": pa.array(["d"] * 2000)}
    template = CaptionTemplate.parse("title|description template=open_clip-80 names=wordnet seed=1")
    captions = compose_captions(template, columns).to_pylist()
    backwards = {name: column.take(pa.array(range(1999, -1, -1))) for name, column in columns.items()}
    assert compose_captions(template, backwards).to_pylist() == captions[::-1]
    again = compose_captions(replace(template, seed=2), columns).to_pylist()
    assert sum(one != other for one, other in zip(captions, again, strict=True)) > 1900
    endings = Counter(caption[-1] for caption in captions)
    assert set(endings) == {"t", "d"}
    assert abs(endings["t"] - 1000) < 150
    names = {"tench", "Tinca tinca"}
    assert {name for caption in captions for name in names if f" {name}" in caption} == names
    assert len({caption[:-1].replace("Tinca tinca", "tench") for caption in captions}) == 80


def test_the_chosen_captions_are_the_same_for_ever() -> None:
    # Published subsets name a seed: the choice must not change with a version of this package or of Python.
    assert composed("title|description template=open_clip-80 names=wordnet seed=5") == [
        "a good photo of the tench. caught by me",
        "",
        "",
        "a jpeg corrupted photo of a crane. Two cranes in a field",
        "?",
    ]


def test_a_list_has_a_caption_a_field_without_empty_and_repeated_ones() -> None:
    rows = {
        "image_id": pa.array([f"{TENCH}_{number}" for number in range(4)]),
        "title": pa.array(["A fish", "a", "IMG_1234", ""]),
        "tags": pa.array([["b", "c d"], ["a"], [], []], pa.list_(pa.string())),
        "description": pa.array(["A fish", "three words here", "", ""]),
    }
    template = CaptionTemplate.parse("title tags description class_name captions=list max_words=2")
    lists = caption_lists(template, rows).to_pylist()
    assert lists == [["A fish", "b c", "tench"], ["a", "three words", "tench"], [], []]
    for epoch in range(7):
        drawn = compose_captions(template, rows, epoch).to_pylist()
        assert drawn == [each[epoch % len(each)] if each else "" for each in lists]
    kept = caption_lists(replace(template, empty="keep"), rows).to_pylist()
    assert kept == [*lists[:2], ["tench"], ["tench"]]


def test_a_list_is_refused_where_a_row_has_one_caption() -> None:
    template = CaptionTemplate.parse("title captions=list")
    assert str(template) == "title captions=list"
    with pytest.raises(InputError, match="it is for exports and for training"):
        compose_captions(template, {name: pa.array(["x"]) for name in ("image_id", "title")})
    with pytest.raises(InputError, match="a dataset has one caption a row"):
        CleanSettings(caption=template)
    with pytest.raises(InputError, match="open_clip reads one caption a row"):
        ExportSettings("open-clip-csv", caption=template)
