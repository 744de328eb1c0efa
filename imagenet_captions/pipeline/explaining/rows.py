"""Find one row in Parquet files, reading only the row groups that may have it. Used by `explain`.

`pyarrow.dataset` does the same. It imports pandas, and so does every comparison of a column with a value of Python;
that takes longer than all the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from imagenet_captions.imagenet.image_ids import wnid_of
from imagenet_captions.outcomes import Outcome
from imagenet_captions.storage.parquet import ParquetFile, parquet_file
from imagenet_captions.storage.places import Place

Row = dict[str, Any]


def of_image(image_id: str) -> dict[str, str]:
    """Return the values by which the row of an image is found."""
    return {"wnid": wnid_of(image_id), "image_id": image_id}


def find_row(files: Sequence[Place], values: Mapping[str, str]) -> Row | None:
    """Return the first row with these values; the last one alone must tell the row from all others."""
    name, value = list(values.items())[-1]
    for file in files:
        with parquet_file(file) as opened:
            for number in _groups(opened, values):
                # Other columns, such as the images, are read only from the row group that has the row.
                found = opened.read_row_group(number, [name])[name].to_pylist()
                if value in found:
                    row: Row = opened.read_row_group(number).slice(found.index(value), 1).to_pylist()[0]
                    return row
    return None


def outcomes_of(file: Place, image_id: str) -> list[Row]:
    """Return the outcomes of an id: its own first, then those of further entries, which have the id in the detail."""
    found = [row for row in _of_class(file, wnid_of(image_id)) if _is_about(row, image_id)]
    return sorted(found, key=lambda row: row["image_id"] is None)


def count_outside(file: Place, wnid: str) -> int:
    """Return how many ids of a class ended as unknown_class without being listed."""
    rows = [row for row in _of_class(file, wnid) if row["image_id"] is None]
    return sum(row["count"] for row in rows if row["outcome"] == Outcome.UNKNOWN_CLASS.value)


def _is_about(row: Row, image_id: str) -> bool:
    if row["image_id"] is not None:
        return bool(row["image_id"] == image_id)
    return (row["detail"] or "").partition(";")[0] == image_id


def _of_class(file: Place, wnid: str) -> Iterator[Row]:
    with parquet_file(file) as opened:
        for number in _groups(opened, {"wnid": wnid}):
            table = opened.read_row_group(number)
            wnids = table["wnid"].to_pylist()
            if wnid in wnids:  # outcomes are sorted by class
                start = wnids.index(wnid)
                yield from table.slice(start, wnids.count(wnid)).to_pylist()


def _groups(opened: ParquetFile, values: Mapping[str, str]) -> Iterator[int]:
    """Yield the row groups that may have the values, by their statistics."""
    metadata = opened.metadata
    columns = [metadata.schema.column(at).path for at in range(metadata.num_columns)]
    wanted = [(columns.index(name), value) for name, value in values.items()]
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        found = ((group.column(at).statistics, value) for at, value in wanted)
        if all(each is None or not each.has_min_max or each.min <= value <= each.max for each, value in found):
            yield number
