"""Writing CSV and TSV that pandas, with its defaults, reads back as the text that was written.

pandas 2 and 3 (`read_csv(path, sep=sep)`) change some texts. A quote at the start of a field opens a quoted field. A
bare carriage return ends a row. Some words are read as missing values, quoted or not. A column of numbers, or a block
of 262,144 rows that ends with numbers only, is read as numbers: "0042" comes back as 42.
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

# What pandas reads as missing, as it does an empty text.
_MISSING = (
    *("NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "<NA>", "NULL", "null", "None"),
    *("NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)
# Matches every text that pandas reads as a number or a truth value, and some more. For RE2.
_NUMBER = (
    r"(?i)^\s*(?:[-+]?(?:[0-9]+\.?[0-9]*(?:e[-+]?[0-9]*)?|\.[0-9]*(?:e[-+]?[0-9]*)?|inf(?:inity)?|nan)|true|false)\s*$"
)
_LONGEST_RUN = 1000  # far below the size of the blocks whose type pandas guesses
_SPACES = r" *[\t\n\v\f\r][ \t\n\v\f\r]*"
_NO_BREAK_SPACE = "\u00a0"
_ROWS_AT_ONCE = 65536


@dataclass(frozen=True)
class Protected:
    """A column that pandas reads back as text, and the number of texts that got white space at their end for it."""

    column: pa.ChunkedArray
    marked: int


def protect(column: pa.ChunkedArray) -> Protected:
    """Fold white space, and protect texts that pandas would read as missing values or numbers.

    A text such as "NA" gets a blank at its end. Texts that look like numbers are safe among other texts. In a run of
    them at the end of the column, or of a thousand of them, one gets a no-break space; pandas would ignore a blank.
    """
    folded = pc.utf8_trim(pc.replace_substring_regex(column, _SPACES, " "), " ")
    missing = pc.is_in(folded, value_set=pa.array(_MISSING, pa.string()))
    filled = pc.not_equal(folded, "").to_numpy()  # an empty text is missing for pandas, and parts no numbers
    like_numbers = pc.and_not(pc.match_substring_regex(folded, _NUMBER), missing).to_numpy()
    numbers = np.zeros(len(filled), np.bool_)
    numbers[filled] = _told_as_numbers(like_numbers[filled])
    end = pc.if_else(missing, " ", pc.if_else(pa.chunked_array([pa.array(numbers)]), _NO_BREAK_SPACE, ""))
    marked = int(pc.sum(missing).as_py() or 0) + int(np.count_nonzero(numbers))
    return Protected(pc.binary_join_element_wise(folded, end, "") if marked else folded, marked)


def _told_as_numbers(like_numbers: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return a mask of the texts that need a mark, among those that look like numbers."""
    places = np.arange(len(like_numbers))
    before = np.maximum.accumulate(np.where(like_numbers, -1, places))
    told: npt.NDArray[np.bool_] = like_numbers & ((places - before) % _LONGEST_RUN == 0)
    if len(told):
        told[-1] = like_numbers[-1]
    return told


def write_delimited(path: Path, columns: Mapping[str, pa.ChunkedArray], separator: str) -> None:
    """Write columns of text; a field is quoted only if it must be."""
    table = pa.table(dict(columns))
    with path.open("wb") as opened:
        opened.write((separator.join(columns) + "\n").encode())
        for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
            fields = [_quoted(column, separator) for column in batch.columns]
            lines = pc.binary_join_element_wise(*fields, separator) if len(fields) > 1 else fields[0]
            opened.write(_bytes_of(pc.binary_join_element_wise(lines, "", "\n")))


def verify_delimited(path: Path, columns: Mapping[str, pa.ChunkedArray], separator: str) -> None:
    """Read the file with pandas and compare. Raises InputError if any text differs."""
    import pandas as pd

    read = pd.read_csv(path, sep=separator)
    for name, wanted in columns.items():
        found = pa.array(read[name]) if name in read else pa.nulls(0)
        found = found if isinstance(found, pa.ChunkedArray) else pa.chunked_array([found])
        if not pa.types.is_string(found.type):  # large strings, whole numbers, or a column without any text
            found = found.cast(pa.string())
        if not found.equals(pc.if_else(pc.equal(wanted, ""), pa.scalar(None, pa.string()), wanted)):
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
    """Return the concatenated texts of an array, without a copy."""
    ends = np.frombuffer(lines.buffers()[1], np.int32)[lines.offset : lines.offset + len(lines) + 1]
    return memoryview(lines.buffers()[2])[int(ends[0]) : int(ends[-1])]
