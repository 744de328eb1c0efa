"""The pure core of labeling: adds to each row of a batch the classes that its texts name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.captions import mentions
from imagenet_captions.errors import InputError, quoted
from imagenet_captions.imagenet import classes
from imagenet_captions.labelling.settings import Mode

NAMED = "__named__"  # all labels that a row names
TRUTH = "__truth__"  # the label that the row is known to have; null if it is not known
ADDED = ("label", "wnid", "class_name")
_FIELDS = ("title", "description", "tags")
_ALONE = ("caption", "text", "txt", "captions")


@dataclass(frozen=True)
class Labelling:
    """How to label the rows of one table."""

    mode: Mode
    texts: tuple[str, ...]
    case_sensitive: bool
    truth: str | None  # the column with the class that a row is known to have


def text_columns(schema: pa.Schema, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns to search for names: those given, else title, description and tags, else the caption."""
    readable = [field.name for field in schema if _is_text(field.type)]
    for name in wanted:
        if name not in schema.names:
            raise InputError(f"`text` {quoted(name)} is not a column of the table; it has {_listed(schema.names)}")
        if name not in readable:
            raise InputError(f"`text` {quoted(name)} holds no text; columns with text are {_listed(readable)}")
    if wanted:
        return wanted
    fields = tuple(name for name in (*_FIELDS, "txt") if name in readable)
    if fields:
        return fields
    if alone := next((name for name in _ALONE if name in readable), None):
        return (alone,)
    raise InputError(f"no column is called title, caption or text; name one with `text`: "
                     f"{_listed(readable)}")  # fmt: skip


def truth_column(schema: pa.Schema) -> str | None:
    """Return the column with the true class of a row, if there is one."""
    for name in ("wnid", "label"):
        if name in schema.names:
            kind = schema.field(name).type
            if pa.types.is_string(kind) or pa.types.is_integer(kind):
                return name
    return None


def label_batch(batch: pa.RecordBatch, labelling: Labelling) -> pa.RecordBatch:
    """Add to every row the labels that it names, and its true label."""
    for name in labelling.texts:
        _check(batch[name], name)
    matcher = mentions.matcher(labelling.case_sensitive, labelling.mode is Mode.STRICT)
    named = matcher.find(mentions.join_fields([batch[name] for name in labelling.texts]))
    schema = batch.schema.append(pa.field(NAMED, named.type)).append(pa.field(TRUTH, pa.int16()))
    return pa.RecordBatch.from_arrays([*batch.columns, named, _truth(batch, labelling.truth)], schema=schema)


def labelled(batch: pa.RecordBatch, mode: Mode) -> pa.RecordBatch:
    """Return the rows of a `label_batch` that get a label in this mode, with the label's columns added.

    An input column of the same name holds the true class and is renamed `true_…`.
    """
    counts = pc.list_value_length(batch[NAMED])
    keep = pc.greater(counts, 0) if mode is Mode.MULTI else pc.equal(counts, 1)
    rows = batch.filter(keep)
    named = rows[NAMED]
    known = [classes.by_wnid(wnid) for wnid in classes.wnids()]
    labels = named.flatten().cast(pa.int64())
    wnids = pa.array([each.wnid for each in known], pa.string()).take(labels)
    names = pa.array([each.name for each in known], pa.string()).take(labels)
    columns = [column for name, column in zip(rows.schema.names, rows.columns, strict=True) if name not in _WORKING]
    if mode is Mode.MULTI:
        ends = np.cumsum([0, *pc.list_value_length(named).to_pylist()]).astype(np.int32)
        added = [pa.ListArray.from_arrays(pa.array(ends), each) for each in (labels, wnids, names)]
    else:
        added = [labels, wnids, names]
    return pa.RecordBatch.from_arrays([*columns, *added], schema=labelled_schema(batch.schema, mode))


def labelled_schema(schema: pa.Schema, mode: Mode) -> pa.Schema:
    """Return the schema of the labeled table for a table of this schema."""
    many = mode is Mode.MULTI
    types = (pa.int64(), pa.string(), pa.string())
    added = [
        pa.field(name, pa.list_(kind) if many else kind) for name, kind in zip(_added_names(mode), types, strict=True)
    ]
    taken = set(_added_names(mode))
    kept = [
        field.with_name(f"true_{field.name}") if field.name in taken else field
        for field in schema
        if field.name not in _WORKING
    ]
    names = [field.name for field in [*kept, *added]]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"the table has a column {quoted(repeated)} already, as if it had been labeled; drop it first")
    return pa.schema([*kept, *added])


_WORKING = frozenset({NAMED, TRUTH})


def _added_names(mode: Mode) -> tuple[str, str, str]:
    return ("labels", "wnids", "class_names") if mode is Mode.MULTI else ADDED


def _truth(batch: pa.RecordBatch, column: str | None) -> pa.Array:
    if column is None:
        return pa.nulls(len(batch), pa.int16())
    values = batch[column]
    if pa.types.is_integer(values.type):
        inside = pc.and_(pc.greater_equal(values, 0), pc.less(values, len(classes.wnids())))
        return pc.if_else(inside, values, None).cast(pa.int16())
    encoded = values.cast(pa.string()).dictionary_encode()
    labels = [_label_of(value) for value in encoded.dictionary.to_pylist()]
    return pa.array(labels, pa.int16()).take(encoded.indices)


def _label_of(value: str) -> int | None:
    """Return the label for a wnid, or for a number written as text in a CSV file."""
    if value.isascii() and value.isdigit() and len(value) <= 3:
        return int(value)
    return classes.index_of(value)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or (pa.types.is_list(kind) and pa.types.is_string(kind.value_type)))


def _check(column: pa.Array, name: str) -> None:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        raise InputError(f"the column {quoted(name)} holds text that is not UTF-8; write it again as UTF-8") from None


def _listed(names: list[str]) -> str:
    shown = ", ".join(quoted(name, 40) for name in names[:12])
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown or "none"
