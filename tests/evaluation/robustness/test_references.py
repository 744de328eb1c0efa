"""Where every published number that ships comes from: a file, a row and a column, or a mark that none was found."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from imagenet_captions.ablations.plan import PUBLISHED_ARMS, published_numbers
from imagenet_captions.evaluation.robustness.tables import (
    IMAGES,
    PUBLISHED,
    TESTBED,
    read_published,
)
from imagenet_captions.imagenet.classes import DATA

REFERENCES = DATA / "references.csv"
NOT_FOUND = "not found in a public file"
# A file of a repository at a commit, a table of a paper, or a page.
FILE = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{7} \S+|arXiv \d{4}\.\d{5}(v\d+)? Table \d+[a-z]?|[\w-]+(\.[\w-]+)+/\S+")


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened, delimiter="\t" if path.suffix == ".tsv" else ","))


def parse_reference(text: str) -> tuple[str, str, list[str]]:
    """`file; row; column, column` into its parts."""
    file, row, columns = text.split("; ")
    return file, row, columns.split(", ")


def test_every_published_result_names_its_file_row_and_columns() -> None:
    for row in read_rows(PUBLISHED):
        file, where, columns = parse_reference(row["reference"])
        assert FILE.fullmatch(file), file
        assert where
        assert len(columns) == len(set(columns)) == len([column for column in IMAGES if row[column]])


def test_every_column_of_the_other_tables_has_a_reference() -> None:
    by_table: dict[str, set[str]] = {}
    for row in read_rows(REFERENCES):
        file, where, columns = parse_reference(row["reference"])
        assert FILE.fullmatch(file), file
        assert (bool(where), len(columns)) == (True, 1)
        by_table.setdefault(row["table"], set()).add(row["column"])
    assert (
        set(read_rows(TESTBED)[0]) == {"model", "run", "training", *IMAGES} == {"model", "run"} | by_table[TESTBED.name]
    )
    for table, columns in by_table.items():
        assert columns <= set(read_rows(DATA / table)[0]), table


def test_every_number_that_a_run_is_held_against_has_a_reference_or_the_mark() -> None:
    rows = [row["reference"] for row in read_rows(PUBLISHED_ARMS)]
    for reference in rows:
        assert reference == NOT_FOUND or FILE.fullmatch(parse_reference(reference)[0]), reference
    assert {number.reference for number in published_numbers()} >= set(rows)
    published = {row.model: row.accuracies for row in read_published().rows}
    found = {
        number.test_set: number.top1
        for number in published_numbers()
        if (number.data, number.arm) == ("yfcc15m", "clip") and "OpenAI" not in number.source
    }
    assert found == published["OpenCLIP RN50 YFCC-15M"]
