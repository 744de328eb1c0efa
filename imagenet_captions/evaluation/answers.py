"""A model's answer for every test image: written beside metrics.json, read to compare models image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.evaluation.accuracy import Labels
from imagenet_captions.schema import with_provenance
from imagenet_captions.storage.files import replacing
from imagenet_captions.storage.parquet import ParquetFile, write_table

# An image that cannot be decoded has no prediction, and counts neither as right nor as wrong in metrics.json.
ANSWERS = pa.schema(
    [
        pa.field("test_set", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),  # the key of its class: a wnid, a folder's name
        pa.field("prediction", pa.string()),  # the class with the highest score
        pa.field("correct", pa.bool_(), nullable=False),
    ]
)


def answers_path(metrics: Path) -> Path:
    """Return the path of the answers that belong to a file of metrics.

    >>> answers_path(Path("runs/a/metrics.json")).as_posix()
    'runs/a/metrics.answers.parquet'
    """
    return metrics.parent / f"{metrics.stem}.answers.parquet"


def answer_rows(
    test_set: str,
    ids: Sequence[str],
    keys: Sequence[str],
    labels: Labels,
    predictions: Labels,
    correct: npt.NDArray[np.bool_],
) -> pa.Table:
    """Return ANSWERS rows; labels and predictions are indices into `keys`, and -1 stands for no prediction."""
    names = pa.array(keys, pa.string())
    columns = {
        "test_set": pa.repeat(test_set, len(ids)),
        "image_id": pa.array(ids, pa.string()),
        "label": names.take(pa.array(labels)),
        "prediction": names.take(pa.array(predictions, mask=predictions < 0)),
        "correct": pa.array(correct, pa.bool_()),
    }
    return pa.table(columns, schema=ANSWERS)


def write_answers(path: Path, tables: Sequence[pa.Table], about: Mapping[str, Any]) -> None:
    """Write the answers on all test sets, in order; `about` goes into the file's metadata."""
    schema = with_provenance(ANSWERS, about)
    with replacing(path) as partial:
        write_table(pa.concat_tables(tables).cast(schema), partial)


def read_answers(path: Path) -> dict[str, pa.Table]:
    """Return the rows of each test set, in the order in which they were written."""
    with ParquetFile(path) as opened:
        table = opened.read(ANSWERS.names)
    sets = table["test_set"].unique().to_pylist()
    return {name: table.filter(pc.equal(table["test_set"], name)) for name in sets}
