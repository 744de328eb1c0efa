"""Reading tables of accuracies: units, missing cells, and everything that is refused."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.robustness.tables import (
    SHIFTS,
    TESTBED,
    accuracy_columns,
    images_of,
    parse_results,
    read_published,
    read_results,
    read_testbed,
)

HEADER = "model,imagenet,imagenet-v2,imagenet-a\n"


@pytest.mark.parametrize(
    ("rows", "asked", "expected", "imagenet"),
    [
        ("a,0.76,0.63,0.01\n", None, "fraction", 76.0),
        ("a,76,63,0.4\n", None, "percent", 76.0),
        ("a,76,63,0.4\nchance,0.3,1.1,0.5\n", None, "percent", 76.0),
        ("a,1,1,0\n", None, "fraction", 100.0),
        ("a,1,1,0\n", "percent", "percent", 1.0),
        ("a,0.5,0.4,0.3\n", "percent", "percent", 0.5),
        ("a,76,0.9,0.4\n", "percent", "percent", 76.0),
        ("a,7.6e1,63,\n", None, "percent", 76.0),
    ],
)
def test_units(rows: str, asked: str | None, expected: str, imagenet: float) -> None:
    table = parse_results(HEADER + rows, units=asked)
    assert table.units == expected
    assert table.rows[0].accuracies["imagenet"] == pytest.approx(imagenet)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no rows"),
        (HEADER, "has no rows"),
        ("imagenet,imagenet-v2\n76,63\n", "has no column 'model'"),
        ("model,imagenet-v2\na,63\n", "has no column 'imagenet'"),
        ("model,imagenet\na,63\n", "has no shift"),
        ("model,imagenet,imagenet_v2\na,76,63\n", "unknown column 'imagenet_v2'"),
        ("model,imagenet,imagenet-v2,imagenet-v2\na,76,63,63\n", "column 'imagenet-v2' twice"),
        (HEADER + "a,76,63,1\na,70,60,1\n", "model 'a' twice"),
        (HEADER + "a,76,63,1\n,70,60,1\n", "row 2 names no model"),
        (HEADER + "a,76,sixty,1\n", "'a' has 'sixty' in imagenet-v2"),
        (HEADER + "a,76,63%,1\n", "'63%'"),
        (HEADER + "a,76,101,1\n", "from 0 to 100 percent"),
        (HEADER + "a,76,-1,1\n", "'-1'"),
        (HEADER + "a,inf,63,1\n", "'inf'"),
        (HEADER + "a,76,63\n", "row 1 has 3 cells and the header 4"),
        (HEADER + "a,76,63,1,2\n", "row 1 has 5 cells"),
        (HEADER + "a,0.76,0.63,0.01\nb,70,58,2\n", "seems to mix percent and fractions: 'a' has 0.76 in imagenet"),
        (HEADER + "a,0.76,63,1\n", "seems to mix"),
        (HEADER + "a,76,0.63,1\n", "'a' has 0.63 in imagenet-v2"),
        (HEADER + 'a,"76,63,1\n', "is not a CSV file"),
        (HEADER + "a,76,63,\0\n", "null characters"),
        ("model,imagenet,imagenet-v2,imagenet-v2_n\na,76,63,many\n", "'many' in imagenet-v2_n"),
        ("model,imagenet,imagenet-v2,imagenet-v2_n\na,76,63,0\n", "give a number of images"),
        (HEADER + "x" * 5000 + ",76,sixty,1\n", "…"),
    ],
)
def test_what_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_results(text, "RESULTS.csv")
    assert sentence in str(caught.value)
    assert "RESULTS.csv" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_fractions_above_one_are_refused() -> None:
    with pytest.raises(InputError, match="say `units='percent'`"):
        parse_results(HEADER + "a,76,63,1\n", units="fraction")


def test_missing_cells_are_not_there() -> None:
    table = parse_results(HEADER + "a,76,,NA\nb,,nan,-\n")
    assert [dict(row.accuracies) for row in table.rows] == [{"imagenet": 76.0}, {}]
    assert table.rows[0].cells == {"model": "a", "imagenet": "76", "imagenet-v2": "", "imagenet-a": "NA"}


def test_what_spreadsheets_write(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.csv"
    path.write_bytes(b"\xef\xbb\xbf" + HEADER.encode().replace(b"\n", b"\r\n") + b'"net, large",76,63,1\r\n\r\n,,,\r\n')
    (row,) = read_results(path).rows
    assert row.model == "net, large"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    latin = tmp_path / "latin.csv"
    latin.write_bytes(HEADER.encode() + b"caf\xe9,76,63,1\n")
    for path, sentence in [(latin, "not UTF-8"), (tmp_path, "is a folder"), (tmp_path / "no.csv", "does not exist")]:
        with pytest.raises(InputError, match=sentence):
            read_results(path)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    with contextlib.suppress(InputError):
        rows = parse_results(HEADER + text).rows
        assert len({row.model for row in rows}) == len(rows) > 0


def test_the_shipped_tables() -> None:
    assert len(read_testbed().rows) == 338
    families = {row.family for row in read_published().rows}
    assert {"CLIP", "ALIGN", "BASIC"} <= families
    for row in read_published().rows:
        assert len(row.cells["source"]) > 10, row.model
        assert {"imagenet", *(shift.column for shift in SHIFTS)} <= set(row.accuracies), row.model
    assert parse_results(TESTBED.read_text(encoding="utf-8")).units == "percent"


def test_the_published_clip_models_of_the_testbed_are_its_own() -> None:
    """The testbed holds two CLIP models; open_clip's evaluation of the same weights is within a point or two."""
    by_name = {row.model: row.accuracies for row in read_testbed().rows}
    ours = {row.model: row.accuracies for row in read_published().rows}
    assert ours["CLIP RN50"] == by_name["resnet50_clip_zeroshot"]
    assert ours["CLIP ViT-B/32"] == by_name["vit_b_32_clip_zeroshot"]


def test_sizes_of_test_sets() -> None:
    """Every accuracy of the testbed is a whole number of images over the size we have for its test set."""
    for column in accuracy_columns():
        images = 18_514 if column == "objectnet" else images_of(column)
        values = [row.accuracies[column] for row in read_testbed().rows if column in row.accuracies]
        off = [abs(value / 100 * images - round(value / 100 * images)) for value in values]
        assert max(off) < 0.06, column  # four decimals of a percent are 0.025 of 50,000 images
