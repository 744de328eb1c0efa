"""Label the rows of a table by the classes that their texts name, and score the labels."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.captions import mentions
from imagenet_captions.errors import InputError, quoted
from imagenet_captions.imagenet import classes
from imagenet_captions.labelling.settings import LabelSettings, Mode
from imagenet_captions.labelling.table import open_table
from imagenet_captions.outcomes import share
from imagenet_captions.storage.files import write_json
from imagenet_captions.storage.outputs import producing
from imagenet_captions.storage.parquet import open_parquet_writer
from imagenet_captions.storage.places import Place

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


_COUNT = len(classes.wnids())
Counts = npt.NDArray[np.int64]


def _zeros() -> Counts:
    return np.zeros(_COUNT, np.int64)


@dataclass
class Score:
    """Counts of rows by the number of classes that they name, and of right and wrong labels per class.

    A label that a row gets is right if it is the row's true one. Precision is the share of right labels among those
    given to rows whose class is known, recall the share of these rows that got the right label. A row that names two
    classes gets no label in the modes `single` and `strict`, so it counts against recall and not against precision.
    """

    mode: Mode
    none: int = 0
    single: int = 0
    several: int = 0
    known: int = 0  # rows whose class is known
    given: Counts = field(default_factory=_zeros)  # labels given, per class, to any row
    right: Counts = field(default_factory=_zeros)
    wrong: Counts = field(default_factory=_zeros)  # given to rows of another class
    true: Counts = field(default_factory=_zeros)  # rows of the class

    def add(self, batch: pa.RecordBatch) -> None:
        """Count the rows of a `label_batch`."""
        counts = pc.list_value_length(batch[NAMED]).to_numpy(zero_copy_only=False)
        self.none += int((counts == 0).sum())
        self.single += int((counts == 1).sum())
        self.several += int((counts > 1).sum())
        truth = pc.fill_null(batch[TRUTH], -1).to_numpy(zero_copy_only=False).astype(np.int64)
        self.known += int((truth >= 0).sum())
        self.true += np.bincount(truth[truth >= 0], minlength=_COUNT)
        labelled = counts > 0 if self.mode is Mode.MULTI else counts == 1
        labels = batch[NAMED].flatten().to_numpy().astype(np.int64)
        labels = labels[np.repeat(labelled, counts)]
        own = np.repeat(truth[labelled], counts[labelled])
        self.given += np.bincount(labels, minlength=_COUNT)
        self.right += np.bincount(labels[labels == own], minlength=_COUNT)
        self.wrong += np.bincount(labels[(own >= 0) & (labels != own)], minlength=_COUNT)

    @property
    def labelled(self) -> int:
        """Return the number of rows that get a label."""
        return self.single + (self.several if self.mode is Mode.MULTI else 0)

    def summary(self) -> dict[str, Any]:
        """Return counts, and precision and recall over the rows whose class is known, null for none."""
        rows = {"rows": self.none + self.single + self.several, "labelled": self.labelled}
        rows |= {"named_none": self.none, "named_one": self.single, "named_several": self.several}
        right, wrong = int(self.right.sum()), int(self.wrong.sum())
        return {
            **rows,
            "known_class": self.known,
            "right": right,
            "wrong": wrong,
            "precision": rounded_share(right, right + wrong),
            "recall": rounded_share(right, self.known),
        }

    def per_class(self) -> Iterator[dict[str, Any]]:
        """Yield a row for each of the 1000 classes."""
        for wnid in classes.wnids():
            each = classes.by_wnid(wnid)
            true, right, wrong = (int(counts[each.index]) for counts in (self.true, self.right, self.wrong))
            yield {
                "label": each.index,
                "wnid": wnid,
                "class_name": each.name,
                "given": int(self.given[each.index]),
                "known_class": true,
                "right": right,
                "wrong": wrong,
                "precision": rounded_share(right, right + wrong),
                "recall": rounded_share(right, true),
            }


def rounded_share(part: int, whole: int) -> float | None:
    """A share to six places, or None of nothing.

    >>> rounded_share(1, 3), rounded_share(0, 0)
    (0.333333, None)
    """
    return round(part / whole, 6) if whole else None


_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_BETWEEN = "|"  # values of a list in one field of a CSV file; no wnid and no class's name has it
_LINE_ENDS = str.maketrans(dict.fromkeys("\r\n\t\0", " "))


class Writer(Protocol):
    """Takes batches of one schema."""

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Write its rows."""
        ...


def check_name(out: Place) -> None:
    """Raise InputError for a name without one of the known endings."""
    if out.suffix.lower() not in {".parquet", *_SEPARATORS}:
        raise InputError(f"`out` {out} should end in .parquet, .csv or .tsv, which says how to write it")


@contextmanager
def open_writer(path: Path, ending: str, schema: pa.Schema) -> Iterator[Writer]:
    """Open a writer to a new file."""
    if ending == ".parquet":
        with open_parquet_writer(path, schema) as writer:
            yield writer
        return
    with path.open("w", encoding="utf-8", newline="") as opened:
        rows = csv.writer(opened, delimiter=_SEPARATORS[ending], lineterminator="\n")
        rows.writerow(schema.names)
        yield _Separated(rows)


class _Separated:
    def __init__(self, rows: Any) -> None:
        self._rows = rows

    def write_batch(self, batch: pa.RecordBatch) -> None:
        columns = [[_field(value) for value in column.to_pylist()] for column in batch.columns]
        self._rows.writerows(zip(*columns, strict=True))


def _field(value: Any) -> str:
    """Return a value as one field, with blanks for line ends and tabs, where many readers break a quoted field."""
    if isinstance(value, list):
        return _BETWEEN.join(map(_field, value))
    return "" if value is None else str(value).translate(_LINE_ENDS)


REPORT_FORMAT = "imagenet-captions label report"
_BATCH_ROWS = 10_000


@dataclass(frozen=True)
class LabelReport:
    """The counts of a labeled table."""

    score: Score
    texts: tuple[str, ...]
    skipped: Mapping[str, int]

    def as_dict(self, settings: LabelSettings) -> dict[str, Any]:
        """Return the report as JSON, without the single classes."""
        how = {"mode": settings.mode.value, "text": list(self.texts), "case_sensitive": settings.case_sensitive}
        return {
            "format": REPORT_FORMAT,
            "settings": how,
            **self.score.summary(),
            "skipped": dict(sorted(self.skipped.items())),
        }


def label_by_text(table: Place, out: Place, settings: LabelSettings, overwrite: bool = False) -> LabelReport:
    """Write the rows of a table that name a class to `out`, each with the label that it names.

    Beside `out` stand OUT.report.json, with the counts and with precision and recall where the table has the true
    class, and OUT.report.tsv with the same for each class. The result is the same with any number of workers, and
    with either engine. `overwrite` replaces files that exist.
    """
    check_name(out)
    beside = [report_path(out, ".json"), report_path(out, ".tsv")]
    with producing([out], [table], overwrite, beside) as new:
        return _label(table, new, out.suffix.lower(), settings)


def _label(table: Place, files: Sequence[Path], ending: str, settings: LabelSettings) -> LabelReport:
    summary, classes, product = files
    source = open_table(table)
    texts = text_columns(source.schema, tuple(settings.texts))
    labelling = Labelling(settings.mode, texts, settings.case_sensitive, truth_column(source.schema))
    schema = labelled_schema(source.schema, settings.mode)
    score = Score(settings.mode)
    label = partial(label_batch, labelling=labelling)
    found = settings.engine.map_batches(label, source.batches(_BATCH_ROWS), settings.workers)
    with open_writer(product, ending, schema) as writer:
        for batch in found:
            score.add(batch)
            rows = labelled(batch, settings.mode)
            if len(rows):
                writer.write_batch(rows)
    report = LabelReport(score, texts, source.skipped)
    write_json(summary, report.as_dict(settings))
    _write_classes(classes, score)
    return report


def report_path(out: Place, ending: str) -> Place:
    """Return the path of the report on a labeled table.

    >>> report_path(Path("work/yfcc.parquet"), ".json").as_posix()
    'work/yfcc.report.json'
    """
    return out.with_suffix(f".report{ending}")


def _write_classes(path: Path, score: Score) -> None:
    with path.open("w", encoding="utf-8", newline="") as opened:
        rows = list(score.per_class())
        writer = csv.DictWriter(opened, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def format_report(found: Mapping[str, Any]) -> str:
    """Return a report, as `LabelReport.as_dict` gives it, for a terminal."""
    rows = found["rows"]
    lines = [f"text: {', '.join(found['settings']['text'])}"]
    for name in ("rows", "labelled", "named_none", "named_one", "named_several"):
        part = f"{share(found[name], rows):>8}" if rows else ""
        lines.append(f"{name.replace('_', ' '):<15}{found[name]:>12,}{part}")
    lines += [f"skipped: {reason}: {count:,}" for reason, count in found["skipped"].items()]
    if found["known_class"]:
        shares = (
            f"{name} {'none' if found[name] is None else f'{found[name]:.4f}'}" for name in ("precision", "recall")
        )
        lines.append(f"against the true class of {found['known_class']:,} rows: {', '.join(shares)}")
    return "\n".join(lines)
