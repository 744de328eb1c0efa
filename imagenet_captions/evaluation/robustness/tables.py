"""Tables of accuracies: the test sets that are their columns, RESULTS.csv, and the published ones in the package."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.imagenet.classes import DATA
from imagenet_captions.storage.files import csv_text, read_text, write_text

TESTBED = DATA / "testbed_top1.csv"
PUBLISHED = DATA / "published_results.csv"

IMAGENET = "imagenet"
# Of the testbed (Taori et al. 2020): `auto`, and the two published definitions.
BASELINES = {
    "auto": "local curves in logit space over trainings of standard and low-accuracy ImageNet models",
    "standard": "lines in logit space over standard ImageNet models of at least 55 %",
    "imagenet-only": "lines in logit space over standard and low-accuracy ImageNet models, down to 0 %",
}
TEXT_COLUMNS = ("model", "family", "training", "run", "source", "reference")
_ABSENT = ("", "na", "nan", "n/a", "none", "null", "-")
# A model this good on ImageNet has more than 1 % on every shift but ImageNet-A.
_SURELY_ABOVE_ONE_PERCENT = 20.0
_LONGEST_WAIT = 600.0  # seconds; a row is written in a moment


@dataclass(frozen=True)
class Shift:
    """A test set under shift: its column, and the column that its accuracy is compared with.

    R, A and ObjectNet hold a part of the 1000 classes. Their accuracy is counted among those classes only, so it is
    best compared with the ImageNet accuracy on the same classes, column `same_classes`; V2 and Sketch have all 1000.
    `images` are the test set's, `same_class_images` those of ImageNet's validation set in the same classes.
    """

    column: str
    label: str
    images: int
    same_classes: str | None = None
    same_class_images: int = 0
    averaged: bool = True

    def on_own_classes(self, name: str) -> str:
        """Return the column with the accuracy on the test set `name` among the shift's own classes.

        >>> SHIFTS[1].on_own_classes("yfcc")
        'yfcc_on_r_classes'
        """
        return name + (self.same_classes or IMAGENET).removeprefix(IMAGENET)


SHIFTS = (
    Shift("imagenet-v2", "ImageNetV2", 10_000),
    Shift("imagenet-r", "ImageNet-R", 30_000, "imagenet_on_r_classes", 10_000),
    Shift("imagenet-sketch", "ImageNet-Sketch", 50_889),
    # The 113 folders that stand for 125 of ImageNet's classes; the testbed counts its accuracies over 18,514 of them
    Shift("objectnet", "ObjectNet", 18_574, "imagenet_on_objectnet_classes", 6_250),
    # Collected against a ResNet-50, so not one of the four that the paper averages over
    Shift("imagenet-a", "ImageNet-A", 7_500, "imagenet_on_a_classes", 10_000, averaged=False),
)
# The images behind every accuracy column, in the order of the shipped tables.
IMAGES = {IMAGENET: 50_000}
for _shift in SHIFTS:
    IMAGES[_shift.column] = _shift.images
    if _shift.same_classes is not None:
        IMAGES[_shift.same_classes] = _shift.same_class_images


@dataclass(frozen=True)
class Result:
    """One model's accuracies in percent, by column; missing ones are left out.

    `run` names the training of a checkpoint; a model without it is a training of its own. `images` holds the sizes of
    test sets that the table names itself (column `imagenet-v2_n`, for example), `cells` the row as it was written.
    """

    model: str
    accuracies: Mapping[str, float]
    family: str = ""
    training: str = ""
    run: str = ""
    images: Mapping[str, int] = field(default_factory=dict)
    cells: Mapping[str, str] = field(default_factory=dict)

    def row(self, columns: Iterable[str]) -> list[float]:
        """Return the accuracies on these columns; NaN for missing ones."""
        return [self.accuracies.get(column, math.nan) for column in columns]

    def size(self, column: str) -> int | None:
        """Return the number of images of a test set; None for one of the user's own without that number."""
        return self.images.get(column, IMAGES.get(column))


@dataclass(frozen=True)
class Results:
    """A table of results, and the unit in which it was written; `own` are its columns of the user's own test sets."""

    rows: tuple[Result, ...]
    columns: tuple[str, ...]
    units: str
    own: tuple[str, ...] = ()


def read_results(path: Path, units: str | None = None, own: Iterable[str] = ()) -> Results:
    """Read a table of accuracies, all in percent or all fractions; `units` says which, or they are detected.

    `own` names test sets of the user's own; one with a column of its number of images need not be named.
    """
    text = read_text(path, "the table of results")
    columns, *lines = [cells for cells, _ in _read_lines(text, path) if cells] or [[]]
    if not lines:
        raise InputError(f"{path} has no rows; give a header and one row a model")
    for number, cells in enumerate(lines, start=1):
        if len(cells) != len(columns):
            raise InputError(f"{path}, row {number} has {len(cells)} cells and the header {len(columns)}; mend the row")
    rows = [dict(zip(columns, cells, strict=True)) for cells in lines]
    named = {shift.on_own_classes(each) for each in own for shift in SHIFTS}
    named |= {column.removesuffix("_n") for column in columns if column.endswith("_n")}
    own = tuple(column for column in columns if column in named and column not in IMAGES)
    _check_names(columns, [row.get("model", "") for row in rows], own, path)
    results = [_read_row(row, (*IMAGES, *own), path) for row in rows]
    largest = max((value for each in results for value in each.accuracies.values()), default=0.0)
    if units == "fraction" and largest > 1:
        raise InputError(f"{path} has an accuracy of {largest:g}, which is not a fraction; say `units='percent'`")
    for each in results if units is None and largest > 1 else ():
        top = max(each.accuracies.values(), default=0.0)
        imagenet = each.accuracies.get(IMAGENET, 0.0)
        small = [column for column, value in each.accuracies.items() if 0 < value <= 1]
        # A weak model has a few percent at most, and a good one has that on ImageNet-A.
        odd = [column for column in small if top <= 1 or column != "imagenet-a"]
        if odd and (top <= 1 or (imagenet if imagenet > 1 else top) > _SURELY_ABOVE_ONE_PERCENT):
            value = each.accuracies[odd[0]]
            raise InputError(
                f"{path} seems to mix percent and fractions: {quoted(each.model)} has {value:g} in {odd[0]}, "
                f"while the largest accuracy is {largest:g}; "
                "use one unit, or say `units='percent'` if this is right"
            )
    units = units or ("percent" if largest > 1 else "fraction")
    if units == "fraction":
        for at, each in enumerate(results):
            percent = {column: 100 * value for column, value in each.accuracies.items()}
            results[at] = replace(each, accuracies=percent)
    return Results(tuple(results), tuple(columns), units, own)


@cache
def read_testbed() -> Results:
    """Return the 338 models of the imagenet-testbed (Taori et al. 2020)."""
    return read_results(TESTBED, "percent")


@cache
def read_published() -> Results:
    """Return published zero-shot results of CLIP, ALIGN and BASIC."""
    return read_results(PUBLISHED, "percent")


def _read_lines(text: str, path: Path) -> list[tuple[list[str], str]]:
    """Return the cells of each row, none of an empty one, and the row as it was written."""
    lines = list(io.StringIO(text, newline=""))
    reader, start, found = csv.reader(lines, strict=True), 0, []
    try:
        for line in reader:
            cells = [cell.strip() for cell in line]
            found.append((cells if any(cells) else [], "".join(lines[start : reader.line_num])))
            start = reader.line_num
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV file: {error}") from None
    return found


def _check_names(columns: Sequence[str], models: Sequence[str], own: Iterable[str], path: Path) -> None:
    accuracies, shifts = (*IMAGES, *own), [shift.column for shift in SHIFTS]
    known = {*TEXT_COLUMNS, *accuracies, *(f"{column}_n" for column in accuracies)}
    for what, texts in (("column", columns), ("model", models)):
        for text, count in Counter(filter(None, texts)).items():
            if count > 1:
                raise InputError(f"{path} has the {what} {quoted(text)} twice; keep one or rename one")
    for column in columns:
        if column not in known:
            raise InputError(
                f"{path} has an unknown column {quoted(column)}; "
                "remove it, or name it as one of the `id_sets` if it is a test set; "
                f"there are {', '.join((*TEXT_COLUMNS, *IMAGES))}, "
                "and an accuracy's column with _n for the number of images"
            )
    if not {"model", IMAGENET} <= set(columns) or not set(shifts) & set(columns):
        raise InputError(f"{path} needs the columns model, {IMAGENET} and one of {', '.join(shifts)}; add them")
    if "" in models:
        raise InputError(f"{path}, row {models.index('') + 1} names no model; fill the column 'model'")


def _read_row(row: Mapping[str, str], columns: Iterable[str], path: Path) -> Result:
    accuracies, sizes = dict[str, float](), dict[str, int]()
    start = f"{path}: {quoted(row['model'])} has"
    for column in columns:
        cell, size = row.get(column, ""), row.get(f"{column}_n", "")
        if cell.lower() not in _ABSENT:
            with suppress(ValueError):
                accuracies[column] = float(cell)
            if not 0 <= accuracies.get(column, math.nan) <= 100:
                raise InputError(
                    f"{start} {quoted(cell)} in {column}; an accuracy is a number "
                    "from 0 to 100 percent, or from 0 to 1, and an empty cell where it is missing"
                )
        if size.lower() not in _ABSENT:
            if not re.fullmatch("0*[1-9][0-9]{0,8}", size):
                raise InputError(f"{start} {quoted(size)} in {column}_n; give a number of images")
            sizes[column] = int(size)
    texts = {name: row.get(name, "") for name in ("family", "training", "run")}
    return Result(row["model"], accuracies, **texts, images=sizes, cells=row)


def check_results(
    path: Path, test_sets: Mapping[str, Path], inputs: Iterable[Path] = (), out: Path | None = None
) -> None:
    """Refuse, before anything is computed, a table that cannot take the row, and a row that lacks a value."""
    from imagenet_captions.evaluation.results import answers_path
    from imagenet_captions.storage.outputs import check_distinct, check_place

    shifts = [shift.column for shift in SHIFTS]
    if IMAGENET not in test_sets or not any(column in test_sets for column in shifts):
        raise InputError(
            f"`results` {path} needs ImageNet and a shift; "
            f"give `test_sets` imagenet=PATH and one of {', '.join(shifts)}"
        )
    for name in test_sets:
        if name in TEXT_COLUMNS or name.endswith("_n"):
            raise InputError(f"`test_sets` {quoted(name)} cannot be a column of `results` {path}; rename the test set")
    check_place(path, inputs)
    check_distinct([path] if out is None else [path, out, answers_path(out)])
    if path.exists():
        read_results(path)


def add_row(path: Path, model: str, accuracies: Mapping[str, tuple[float, int]]) -> None:
    """Write a model's accuracies, as fractions with their numbers of images, into a table.

    A new table holds fractions; one that is there keeps its unit and its other rows and columns, and a row of the same
    model is replaced, so that a measurement that is run again stands there once. Several evaluations may write to one
    table: each waits for the one before it.
    """
    from imagenet_captions.storage.outputs import holding

    with holding([path], _LONGEST_WAIT):
        if path.exists():
            table, lines = read_results(path), _read_lines(path.read_bytes().decode(), path)
        else:
            table, lines = Results((), ("model",), "fraction"), [(["model"], "model\n")]
        row = {"model": model}
        for column, (top1, images) in accuracies.items():
            row[column] = f"{100 * top1:.4f}" if table.units == "percent" else f"{top1:.6f}"
            row[f"{column}_n"] = str(images)
        order = dict.fromkeys([*IMAGES, *accuracies])
        added = [column for column in (*order, *(f"{each}_n" for each in order)) if column in row]
        added = [column for column in added if column not in table.columns]
        at, first = next((at, line) for at, (cells, line) in enumerate(lines) if cells)
        end = first[len(first.rstrip("\r\n")) :]
        cells = [row.get(column, "") for column in (*table.columns, *added)]
        own, text = csv_text([cells], end), ""
        for number, (cells, line) in enumerate(lines):
            content = line.rstrip("\r\n") if cells else ""
            if number == at:
                text += content + ("," + csv_text([added], end) if added else end)
            elif cells and cells[table.columns.index("model")] == model:
                text, own = text + own, ""
            else:
                text += content + "," * len(added) * bool(cells) + (line[len(content) :] or end)
        write_text(path, text + own)
