"""The dataset's Arrow schema, with the metadata that tells `datasets` what each column is."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from imagenet_captions import classes

IMAGE = pa.field("image", pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())]))


def dataset_schema(row: pa.Schema, images: bool) -> pa.Schema:
    """The schema in which rows of `records.ROW` or `records.RAW_ROW` are written, with an image column or without.

    `datasets` believes the metadata only for a column whose Arrow field is exactly the one it would make itself:
    nullable, and with a type that Parquet gives back. So every column is nullable (else the label would load as a
    plain number), and times are in milliseconds (Parquet has no seconds).
    """
    fields = [pa.field(field.name, _stored(field.type)) for field in row]
    if images:
        fields.append(IMAGE)
    features = {field.name: _feature(field) for field in fields}
    # Written by hand in the oldest form that every version reads: `{"_type": "List"}` fails before datasets 4.
    return pa.schema(fields, metadata={b"huggingface": json.dumps({"info": {"features": features}}).encode()})


def _stored(kind: pa.DataType) -> pa.DataType:
    return pa.timestamp("ms", kind.tz) if pa.types.is_timestamp(kind) else kind


def _feature(field: pa.Field) -> Any:
    if field.name == "label":
        # Names are never keys: "missile" and "sunglasses" are the curated names of two classes each.
        return {"names": list(classes.wnids()), "_type": "ClassLabel"}
    if field.name == "image":
        return {"_type": "Image"}
    if pa.types.is_list(field.type):
        return [{"dtype": str(field.type.value_type), "_type": "Value"}]
    return {"dtype": str(field.type), "_type": "Value"}
