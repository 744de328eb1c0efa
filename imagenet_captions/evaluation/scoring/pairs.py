"""The images of a dataset with their captions, and the rows that lack one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.captions.compose import compose_captions
from imagenet_captions.dataset.manifest import shard_files
from imagenet_captions.errors import InputError
from imagenet_captions.images.examples import Examples, open_examples
from imagenet_captions.outcomes import Outcome, outcome_rows
from imagenet_captions.storage.parquet import read_files

_TEMPLATE_COLUMNS = ("image_id", "title", "tags", "description")


@dataclass(frozen=True)
class Pairs:
    """Images and their captions by row; `rows` are those with a caption, and `dropped` are OUTCOMES of all others."""

    images: Examples
    captions: Sequence[str]
    rows: Sequence[int]
    dropped: pa.Table


def open_pairs(dataset: Path, template: CaptionTemplate | None) -> Pairs:
    """Open a dataset's images with its captions, or with those that a template makes of its texts.

    Raises InputError for a dataset without images, and if no image has a caption.
    """
    images = open_examples(dataset)
    table = pa.concat_tables(_captioned(batch, template) for batch in _texts(dataset, template))
    ids = pa.array([images.image_id(row) for row in range(len(images))], pa.string())
    has_image = pc.is_in(table["image_id"], value_set=ids)
    pairs, without_image = table.filter(has_image), table.filter(pc.invert(has_image))
    empty = pc.equal(pc.utf8_trim_whitespace(pairs["caption"]), "")
    rows = np.flatnonzero(~empty.to_numpy()).tolist()
    if not rows:
        raise InputError(f"no image of {dataset} has a caption; give another `caption`")
    dropped = [_dropped(without_image, Outcome.NO_IMAGE), _dropped(pairs.filter(empty), Outcome.NO_TEXT)]
    return Pairs(images, pairs["caption"].to_pylist(), rows, pa.concat_tables(dropped))


def _texts(dataset: Path, template: CaptionTemplate | None) -> list[pa.RecordBatch]:
    columns = ("image_id", "caption") if template is None else _TEMPLATE_COLUMNS
    return list(read_files(shard_files(dataset), columns=["wnid", *columns]))


def _captioned(batch: pa.RecordBatch, template: CaptionTemplate | None) -> pa.Table:
    captions = batch["caption"] if template is None else compose_captions(template, _columns(batch))
    return pa.table({"image_id": batch["image_id"], "wnid": batch["wnid"], "caption": captions})


def _columns(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    return {name: batch[name] for name in _TEMPLATE_COLUMNS}


def _dropped(rows: pa.Table, outcome: Outcome) -> pa.Table:
    return outcome_rows(outcome, len(rows), image_id=rows["image_id"], wnid=rows["wnid"])
