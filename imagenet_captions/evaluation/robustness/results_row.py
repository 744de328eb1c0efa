"""Write one model's accuracies as a row of RESULTS.csv, which `robustness` reads."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.evaluation.results import answers_path
from imagenet_captions.evaluation.robustness.results import TEXT_COLUMNS, Results, read_results
from imagenet_captions.evaluation.robustness.shifts import IMAGENET, SHIFTS, accuracy_columns
from imagenet_captions.storage.files import write_text
from imagenet_captions.storage.outputs import check_distinct, check_place, holding

_LONGEST_WAIT = 600.0  # seconds; a row is written in a moment


def check_results(
    path: Path, test_sets: Mapping[str, Path], inputs: Iterable[Path] = (), out: Path | None = None
) -> None:
    """Refuse, before anything is computed, a table that cannot take the row, and a row that lacks a value."""
    if IMAGENET not in test_sets or not any(shift.column in test_sets for shift in SHIFTS):
        raise InputError(
            f"`results` {path} needs ImageNet and a shift; give `test_sets` imagenet=PATH and one of "
            f"{', '.join(shift.column for shift in SHIFTS)}"
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
    with holding([path], _LONGEST_WAIT):
        _add_row(path, model, accuracies)


def _add_row(path: Path, model: str, accuracies: Mapping[str, tuple[float, int]]) -> None:
    table = read_results(path) if path.exists() else None
    row = {"model": model} | _cells(accuracies, table)
    columns = list(table.columns) if table else ["model"]
    added = [column for column in _order(accuracies) if column in row and column not in columns]
    lines = _read_lines(path) if table else [(columns, "model\n")]
    header, first = next((cells, line) for cells, line in lines if cells)
    end = first[len(first.rstrip("\r\n")) :]
    own, text = _line([row.get(column, "") for column in (*columns, *added)], end), ""
    for cells, line in lines:
        content = line.rstrip("\r\n") if cells else ""
        if cells == header:
            text += content + ("," + _line(added, end) if added else end)
        elif cells and cells[columns.index("model")] == model:
            text, own = text + own, ""
        else:
            text += content + "," * len(added) * bool(cells) + (line[len(content) :] or end)
    write_text(path, text + own)


def _read_lines(path: Path) -> list[tuple[list[str], str]]:
    """Return the cells of each row, none of an empty one, and the row as it was written."""
    lines = list(io.StringIO(path.read_bytes().decode(), newline=""))
    reader, start, found = csv.reader(lines), 0, []
    for line in reader:
        cells = [cell.strip() for cell in line]
        found.append((cells if any(cells) else [], "".join(lines[start : reader.line_num])))
        start = reader.line_num
    return found


def _line(cells: list[str], end: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator=end).writerow(cells)
    return text.getvalue()


def _cells(accuracies: Mapping[str, tuple[float, int]], table: Results | None) -> dict[str, str]:
    percent = table is not None and table.units == "percent"
    cells = {}
    for column, (top1, images) in accuracies.items():
        cells[column] = f"{100 * top1:.4f}" if percent else f"{top1:.6f}"
        cells[f"{column}_n"] = str(images)
    return cells


def _order(accuracies: Iterable[str]) -> list[str]:
    columns = dict.fromkeys([*accuracy_columns(), *accuracies])
    return [*columns, *(f"{column}_n" for column in columns)]
