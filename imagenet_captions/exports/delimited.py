"""CSV and TSV that pandas, with its defaults, reads back as the text that was written.

What has to be seen to (pandas 2 and 3, `read_csv(path, sep=sep)`): a quote at the start of a field opens a quoted one;
a bare carriage return ends a row; some words are taken for missing values, quoted or not; and a column, or a stretch
of 262,144 rows at whose end nothing but numbers remains, becomes numbers: "0042" comes back as 42.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.errors import InputError

# What pandas takes for missing; "" is dropped before it comes here.
_MISSING = (
    *("NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "<NA>", "NULL", "null", "None"),
    *("NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)
# More than pandas takes for a number or a truth value, never less. For RE2.
_NUMBER = (
    r"(?i)^\s*(?:[-+]?(?:[0-9]+\.?[0-9]*(?:e[-+]?[0-9]*)?|\.[0-9]*(?:e[-+]?[0-9]*)?|inf(?:inity)?|nan)|true|false)\s*$"
)
_LONGEST_RUN = 1000  # far below the rows that pandas guesses the type from at once
_SPACES = r" *[\t\n\v\f\r][ \t\n\v\f\r]*"
_NO_BREAK_SPACE = "\u00a0"
_ROWS_AT_ONCE = 65536


@dataclass(frozen=True)
class Protected:
    """A column whose texts come back as texts, and how many of them got white space at their end for that."""

    column: pa.ChunkedArray
    marked: int


def protect(column: pa.ChunkedArray) -> Protected:
    """Fold white space, and keep pandas from taking texts for missing values or numbers.

    A text such as "NA" gets a blank behind it. Texts that look like numbers stay as they are among others; where only
    such ones stand together at the end, or a thousand of them in a row, one gets a no-break space, which is enough
    (a blank is not: pandas reads through it).
    """
    folded = pc.utf8_trim(pc.replace_substring_regex(column, _SPACES, " "), " ")
    missing = pc.is_in(folded, value_set=pa.array(_MISSING, pa.string()))
    numbers = _told_as_numbers(pc.and_not(pc.match_substring_regex(folded, _NUMBER), missing).to_numpy())
    end = pc.if_else(missing, " ", pc.if_else(pa.chunked_array([pa.array(numbers)]), _NO_BREAK_SPACE, ""))
    marked = int(pc.sum(missing).as_py() or 0) + int(np.count_nonzero(numbers))
    return Protected(pc.binary_join_element_wise(folded, end, "") if marked else folded, marked)


def _told_as_numbers(like_numbers: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which of the texts that look like numbers have to be marked."""
    places = np.arange(len(like_numbers))
    before = np.maximum.accumulate(np.where(like_numbers, -1, places))
    told: npt.NDArray[np.bool_] = like_numbers & ((places - before) % _LONGEST_RUN == 0)
    if len(told):
        told[-1] = like_numbers[-1]
    return told


def write_delimited(path: Path, columns: Mapping[str, pa.ChunkedArray], separator: str) -> None:
    """Write columns of text, with quotes only where they are needed."""
    table = pa.table(dict(columns))
    with path.open("wb") as opened:
        opened.write((separator.join(columns) + "\n").encode())
        for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
            fields = [_quoted(column, separator) for column in batch.columns]
            lines = pc.binary_join_element_wise(*fields, separator) if len(fields) > 1 else fields[0]
            opened.write(_bytes_of(pc.binary_join_element_wise(lines, "", "\n")))


def verify_delimited(path: Path, columns: Mapping[str, pa.ChunkedArray], separator: str) -> None:
    """Read the file as its users do and compare; InputError if anything comes back otherwise."""
    import pandas as pd

    read = pd.read_csv(path, sep=separator)
    for name, wanted in columns.items():
        found = pa.array(read[name]) if name in read else pa.nulls(0)
        found = found if isinstance(found, pa.ChunkedArray) else pa.chunked_array([found])
        if pa.types.is_large_string(found.type):
            found = found.cast(pa.string())
        if not found.equals(wanted):
            raise InputError(
                f"pandas {pd.__version__} does not read the column {name} back as it was written, so nothing was "
                "exported; use another version of pandas, and please report this"
            )


def _quoted(column: pa.Array, separator: str) -> pa.Array:
    mask = pc.match_substring_regex(column, f'["\\r\\n{separator}]')
    if not pc.any(mask).as_py():
        return column
    doubled = pc.replace_substring(column.filter(mask), '"', '""')
    return pc.replace_with_mask(column, mask, pc.binary_join_element_wise('"', doubled, '"', ""))


def _bytes_of(lines: pa.Array) -> memoryview:
    """The texts of an array, one behind the other, as they lie in memory."""
    ends = np.frombuffer(lines.buffers()[1], np.int32)[lines.offset : lines.offset + len(lines) + 1]
    return memoryview(lines.buffers()[2])[int(ends[0]) : int(ends[-1])]
