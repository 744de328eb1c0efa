"""Write the micro sets as Parquet: training images with texts made for them, and the test images under each shift."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from imagenet_captions.ablations.micro.attributes import Pixels
from imagenet_captions.ablations.micro.captions import micro_texts
from imagenet_captions.ablations.micro.shift import SHIFTS
from imagenet_captions.dataset.writing import IMAGE
from imagenet_captions.errors import InputError, quoted, shortened
from imagenet_captions.images.tables import find_image_column, image_file, paths_only
from imagenet_captions.storage.files import replacing, require_file
from imagenet_captions.storage.parquet import open_parquet_writer, parquet_file, read_schema, read_table

_ROWS = 1000  # a row group; a set is a few of them
_SIDE = 256  # pixels; larger images are refused, since describing them is slow

LABELLED = pa.schema([IMAGE, ("image_id", pa.string()), ("label", pa.int64()), ("class_name", pa.string())])
TEXTS = [
    pa.field("title", pa.string()),
    pa.field("description", pa.string()),
    pa.field("tags", pa.list_(pa.string())),
    pa.field("caption", pa.string()),
]


def write_micro_dataset(source: Path, out: Path, seed: int = 0) -> int:
    """Copy the images of a Parquet file (image, label, class_name) with texts made for them; return their number.

    `image_id` is the image's file name without its ending, and decides the texts together with the seed. `caption` is
    the title, the tags and the description, as captions of the dataset are by default.
    """

    def described(row: dict[str, Any], pixels: Pixels) -> dict[str, Any]:
        texts = micro_texts(pixels, row["class_name"], row["image_id"], seed)
        parts = [texts.title, *texts.tags, texts.description]
        return {
            **row,
            "title": texts.title,
            "description": texts.description,
            "tags": list(texts.tags),
            "caption": " ".join(part for part in parts if part),
        }

    return _write(source, out, pa.schema([*LABELLED, *TEXTS]), described)


def write_micro_shifts(source: Path, folder: Path, seed: int = 0) -> dict[str, Path]:
    """Write a test set once for each shift, as FOLDER/micro-SHIFT.parquet; PNG keeps every pixel."""
    written = {}
    for name, shift in SHIFTS.items():

        def shifted(
            row: dict[str, Any], pixels: Pixels, shift: Callable[[Pixels, str, int], Pixels] = shift
        ) -> dict[str, Any]:
            return {**row, "image": {**row["image"], "bytes": png(shift(pixels, row["image_id"], seed))}}

        written[f"micro-{name}"] = folder / f"micro-{name}.parquet"
        _write(source, written[f"micro-{name}"], LABELLED, shifted)
    return written


def _write(
    source: Path, out: Path, schema: pa.Schema, change: Callable[[dict[str, Any], Pixels], dict[str, Any]]
) -> int:
    """Copy a labeled Parquet row by row through `change`."""
    schema = schema.with_metadata({"huggingface": features_note(schema, _class_names(source))})
    count = 0
    with replacing(out) as partial, open_parquet_writer(partial, schema) as writer:
        for rows in _batches(source):
            changed = [change(row, pixels_of(row["image"]["bytes"], row["image_id"])) for row in rows]
            writer.write_table(pa.Table.from_pylist(changed, schema))
            count += len(rows)
    return count


def _class_names(source: Path) -> list[str]:
    """Return the classes' names in the order of their labels, which count from 0."""
    schema = read_schema(require_file(source, "the micro set"))
    missing = {"image", "label", "class_name"} - set(schema.names)
    if not missing and find_image_column(schema, source) != "image":
        missing = {"image"}
    if missing:
        raise InputError(f"{source} has no column {sorted(missing)[0]}; give a Parquet with image, label, class_name")
    pairs = read_table(source, ["label", "class_name"]).group_by(["label", "class_name"]).aggregate([])
    names = sorted((pair["label"], pair["class_name"]) for pair in pairs.to_pylist() if None not in pair.values())
    if pairs.num_rows == 0 or [label for label, _ in names] != list(range(pairs.num_rows)):
        raise InputError(
            f"the labels of {source} do not count its classes from 0, or a class has two names; correct it"
        )
    return [name for _, name in names]


def _batches(source: Path) -> Iterator[list[dict[str, Any]]]:
    at = 0
    with parquet_file(source) as opened:
        for batch in opened.iter_batches(_ROWS, columns=["image", "label", "class_name"]):
            rows = batch.to_pylist()
            for row in rows:
                row["image"] = _image(source, row["image"] or {}, at)
                row["image_id"] = Path(row["image"]["path"] or f"{at:06d}").stem
                at += 1
            yield rows


def _image(source: Path, image: dict[str, Any], at: int) -> dict[str, Any]:
    path, data = image.get("path"), image.get("bytes")
    if not data and (file := image_file(source, path)) is not None:
        data = file.read_bytes()
    if not data:
        raise paths_only(source, path) if path else InputError(f"row {at} of {source} has no image; leave it out")
    return {"bytes": data, "path": path}


def pixels_of(data: bytes, image_id: str) -> Pixels:
    """Return the pixels of a small image in RGB; raises InputError for a large one, or for no image."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if max(picture.size) > _SIDE:
                raise InputError(
                    f"the image {quoted(image_id)} has {picture.size}; micro sets have {_SIDE} pixels a side at most"
                )
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"the image {quoted(image_id)} cannot be read ({shortened(error)}); leave it out") from None


def png(pixels: Pixels) -> bytes:
    """Return an image as a PNG file, which keeps every pixel."""
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def features_note(schema: pa.Schema, names: list[str]) -> str:
    """Return the features of the columns as `datasets` reads them."""
    kinds: dict[str, Any] = {name: {"dtype": "string", "_type": "Value"} for name in schema.names}
    kinds |= {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    if "tags" in kinds:
        kinds["tags"] = [{"dtype": "string", "_type": "Value"}]
    return json.dumps({"info": {"features": kinds}})
