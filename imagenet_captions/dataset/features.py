"""The Arrow schema of a dataset, with the metadata from which `datasets` learns the type of each column."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.class_sets import ClassSet

IMAGE = pa.field("image", pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())]))


def dataset_schema(row: pa.Schema, images: bool, among: ClassSet = ClassSet.ILSVRC2012) -> pa.Schema:
    """Return the schema of a dataset's files for rows of `schema.ROW` or `schema.RAW_ROW`, with or without images.

    `datasets` uses the metadata of a column only if its Arrow field is the one that `datasets` itself would write:
    nullable, and of a type that Parquet keeps. So every column is nullable (otherwise the label would load as a plain
    number), and times are in milliseconds (Parquet has no seconds).
    """
    fields = [pa.field(field.name, _stored(field.type)) for field in row]
    if images:
        fields.append(IMAGE)
    features = {field.name: _feature(field, among) for field in fields}
    # The oldest form, which every version reads: `{"_type": "List"}` fails before datasets 4.
    return pa.schema(fields, metadata={b"huggingface": json.dumps({"info": {"features": features}}).encode()})


def with_local_labels(schema: pa.Schema, wnids: Sequence[str]) -> pa.Schema:
    """Return the schema with `label` counted over these classes only, and the former label as `label_original`."""
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    if "label_original" not in schema.names:
        schema = schema.insert(schema.get_field_index("label") + 1, pa.field("label_original", pa.int64()))
        features["label_original"] = features["label"]
    features["label"] = {"names": sorted(wnids), "_type": "ClassLabel"}
    ordered = {name: features[name] for name in schema.names}
    return schema.with_metadata({b"huggingface": json.dumps({"info": {"features": ordered}}).encode()})


def without_images(schema: pa.Schema) -> pa.Schema:
    """Return the schema without the column of images."""
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    kept = pa.schema([field for field in schema if field.name != IMAGE.name])
    ordered = {name: features[name] for name in kept.names}
    return kept.with_metadata({b"huggingface": json.dumps({"info": {"features": ordered}}).encode()})


def local_labels(schema: pa.Schema) -> list[str] | None:
    """Return the classes given to `with_local_labels`; None for a dataset that has ImageNet's labels."""
    if "label_original" not in schema.names:
        return None
    names: list[str] = json.loads(schema.metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    return names


def _stored(kind: pa.DataType) -> pa.DataType:
    return pa.timestamp("ms", kind.tz) if pa.types.is_timestamp(kind) else kind


def _feature(field: pa.Field, among: ClassSet) -> Any:
    if field.name == "label":
        # Names are never keys: "missile" and "sunglasses" are the curated names of two classes each.
        return {"names": list(classes.wnids(among)), "_type": "ClassLabel"}
    if field.name == "image":
        return {"_type": "Image"}
    if pa.types.is_list(field.type):
        return [{"dtype": str(field.type.value_type), "_type": "Value"}]
    return {"dtype": str(field.type), "_type": "Value"}
