"""Tables of accuracies: units, missing cells, what is refused, and the rows that `evaluate` adds."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.robustness.tables import (
    IMAGES,
    SHIFTS,
    TESTBED,
    add_row,
    check_results,
    read_published,
    read_results,
    read_testbed,
)

HEADER = "model,imagenet,imagenet-v2,imagenet-a\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "RESULTS.csv"


@pytest.mark.parametrize(
    ("rows", "asked", "expected", "imagenet"),
    [
        ("a,0.76,0.63,0.01\n", None, "fraction", 76.0),
        ("a,76,63,0.4\n", None, "percent", 76.0),
        ("a,76,63,0.4\nchance,0.3,1.1,0.5\n", None, "percent", 76.0),
        ("a,1,1,0\n", None, "fraction", 100.0),
        ("a,1,1,0\n", "percent", "percent", 1.0),
        ("a,76,0.9,0.4\n", "percent", "percent", 76.0),
        ("a,7.6e1,63,\n", None, "percent", 76.0),
    ],
)
def test_units(path: Path, rows: str, asked: str | None, expected: str, imagenet: float) -> None:
    path.write_text(HEADER + rows)
    table = read_results(path, asked)
    assert table.units == expected
    assert table.rows[0].accuracies["imagenet"] == pytest.approx(imagenet)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no rows"),
        ("imagenet,imagenet-v2\n76,63\n", "needs the columns model, imagenet and one of imagenet-v2, "),
        ("model,imagenet-v2\na,63\n", "needs the columns"),
        ("model,imagenet\na,63\n", "needs the columns"),
        ("model,imagenet,imagenet_v2\na,76,63\n", "unknown column 'imagenet_v2'"),
        ("model,imagenet,imagenet-v2,imagenet-v2\na,76,63,63\n", "column 'imagenet-v2' twice"),
        (HEADER + "a,76,63,1\na,70,60,1\n", "model 'a' twice"),
        (HEADER + "a,76,63,1\n,70,60,1\n", "row 2 names no model"),
        (HEADER + "a,76,sixty,1\n", "'a' has 'sixty' in imagenet-v2"),
        (HEADER + "a,76,101,1\n", "from 0 to 100 percent"),
        (HEADER + "a,inf,63,1\n", "'inf'"),
        (HEADER + "a,76,63\n", "row 1 has 3 cells and the header 4"),
        (HEADER + "a,0.76,0.63,0.01\nb,70,58,2\n", "seems to mix percent and fractions: 'a' has 0.76 in imagenet"),
        (HEADER + "a,76,0.63,1\n", "'a' has 0.63 in imagenet-v2"),
        (HEADER + 'a,"76,63,1\n', "is not a CSV file"),
        (HEADER + "a,76,63,\0\n", "RESULTS.csv"),
        ("model,imagenet,imagenet-v2,imagenet-v2_n\na,76,63,many\n", "'many' in imagenet-v2_n"),
        ("model,imagenet,imagenet-v2,imagenet-v2_n\na,76,63,0\n", "give a number of images"),
        (HEADER + "x" * 5000 + ",76,sixty,1\n", "…"),
    ],
)
def test_what_is_refused(path: Path, text: str, sentence: str) -> None:
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_results(path)
    assert sentence in str(caught.value)
    assert "RESULTS.csv" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_what_spreadsheets_write(path: Path) -> None:
    """A mark of the encoding, other ends of lines, empty rows, and words for a missing value."""
    rows = b'"net, large",76,,NA\r\n\r\n,,,\r\nb,,nan,-\r\n'
    path.write_bytes(b"\xef\xbb\xbf" + HEADER.encode().replace(b"\n", b"\r\n") + rows)
    table = read_results(path)
    assert [(row.model, dict(row.accuracies)) for row in table.rows] == [("net, large", {"imagenet": 76.0}), ("b", {})]
    assert table.rows[0].cells == {"model": "net, large", "imagenet": "76", "imagenet-v2": "", "imagenet-a": "NA"}
    path.write_bytes(HEADER.encode() + b"caf\xe9,76,63,1\n")
    with pytest.raises(InputError, match="not a text file in UTF-8"):
        read_results(path)


def test_the_shipped_tables() -> None:
    assert len(read_testbed().rows) == 338
    families = {row.family for row in read_published().rows}
    assert {"CLIP", "ALIGN", "BASIC"} <= families
    for row in read_published().rows:
        assert len(row.cells["source"]) > 10, row.model
        assert {"imagenet", *(shift.column for shift in SHIFTS)} <= set(row.accuracies), row.model
    assert read_results(TESTBED).units == "percent"


def test_sizes_of_test_sets() -> None:
    """Every accuracy of the testbed is a whole number of images over the size we have for its test set."""
    for column, images in {**IMAGES, "objectnet": 18_514}.items():
        values = [row.accuracies[column] for row in read_testbed().rows if column in row.accuracies]
        off = [abs(value / 100 * images - round(value / 100 * images)) for value in values]
        assert max(off) < 0.06, column  # four decimals of a percent are 0.025 of 50,000 images


KEPT = '"old, large", CNN,70.50,"60.25"\r\n\r\n"two\nlines",,1,2\r\n'


def test_other_rows_stay_byte_for_byte_and_a_link_and_the_mode_stay(tmp_path: Path) -> None:
    path, link = tmp_path / "disk" / "results.csv", tmp_path / "results.csv"
    path.parent.mkdir()
    path.write_bytes(f"\ufeffmodel, family,imagenet,imagenet-v2\r\nmine,x,1,2\r\n{KEPT}last,,3,4".encode())
    path.chmod(0o600)
    link.symlink_to(path)
    measured = {"imagenet": (0.25, 50_000), "imagenet-v2": (0.5, 10_000)}
    add_row(link, "mine", measured)
    first = path.read_bytes().decode()
    header, mine = (
        "\ufeffmodel, family,imagenet,imagenet-v2,imagenet_n,imagenet-v2_n",
        "mine,,25.0000,50.0000,50000,10000",
    )
    kept = KEPT.replace('"60.25"', '"60.25",,').replace(",1,2", ",1,2,,")
    assert first == f"{header}\r\n{mine}\r\n{kept}last,,3,4,,\r\n"
    add_row(link, "new", measured)
    assert path.read_bytes().decode() == first + mine.replace("mine", "new") + "\r\n"
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_robustness_needs_is_asked_for_first(path: Path) -> None:
    with pytest.raises(InputError, match="needs ImageNet and a shift"):
        check_results(path, {"imagenet": path})
    check_results(path, {"imagenet": path, "imagenet-a": path})
    answers = path.with_name("m.answers.parquet")
    with pytest.raises(InputError, match="is to be written twice"):
        check_results(answers, {"imagenet": path, "imagenet-a": path}, out=path.with_name("m.json"))


def test_a_test_set_of_ones_own_goes_from_evaluate_to_the_table(path: Path) -> None:
    measured = {"imagenet": (0.5, 50_000), "yfcc": (0.25, 400), "imagenet-v2": (0.4, 10_000)}
    check_results(path, dict.fromkeys(measured, path))
    add_row(path, "mine", measured)
    table = read_results(path)
    assert table.own == ("yfcc",)
    assert table.rows[0].accuracies["yfcc"] == 25.0
    assert table.rows[0].size("yfcc") == 400
    for name in ("family", "yfcc_n"):
        with pytest.raises(InputError, match=f"'{name}' cannot be a column"):
            check_results(path, {**dict.fromkeys(measured, path), name: path})
    path.write_text("model,imagenet,imagenet-v2,yfcc\nmine,50,40,25\n")
    assert read_results(path, own=["yfcc"]).rows[0].size("yfcc") is None
