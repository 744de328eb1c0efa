"""The command `label-by-text`: label the rows of a table by the classes that they name, and score the labels."""

from __future__ import annotations

import csv
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.captions import mentions
from imagenet_captions.engines.local import in_batches
from imagenet_captions.errors import InputError, quoted
from imagenet_captions.imagenet import classes
from imagenet_captions.images.tables import SeparatedTable
from imagenet_captions.images.tars import Sample, TarReader, json_object, read_samples
from imagenet_captions.labelling.settings import LabelSettings, Mode
from imagenet_captions.outcomes import share
from imagenet_captions.sources import yfcc
from imagenet_captions.storage.files import require_there, write_json
from imagenet_captions.storage.outputs import producing
from imagenet_captions.storage.parquet import open_parquet_writer, read_files, read_metadata, read_schema
from imagenet_captions.storage.places import Place, expand_pattern
from imagenet_captions.storage.progress import progress, track
from imagenet_captions.storage.texts import read_blocks, unpacked

REPORT_FORMAT = "imagenet-captions label report"
_BATCH_ROWS = 10_000
_NAMED = "__named__"  # all labels that a row names
_TRUTH = "__truth__"  # the label that the row is known to have; null if it is not known
_FIELDS = ("title", "description", "tags", "txt")
_ALONE = ("caption", "text", "txt", "captions")
_CLASSES = tuple(map(classes.by_wnid, classes.wnids()))
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_BETWEEN = "|"  # values of a list in one field of a CSV file; no wnid and no class's name has it
_LINE_ENDS = str.maketrans(dict.fromkeys("\r\n\t\0", " "))


@dataclass(frozen=True)
class LabelReport:
    """The counts of a labeled table; precision and recall are over the rows whose class is known, None for none.

    Precision is the share of right labels among those given, recall the share of rows that got their right label. A
    row that names two classes gets no label in the modes `single` and `strict`, so it counts against recall alone.
    """

    settings: Mapping[str, Any]
    rows: int
    labelled: int
    named_none: int
    named_one: int
    named_several: int
    known_class: int
    right: int
    wrong: int
    precision: float | None
    recall: float | None
    skipped: Mapping[str, int]  # entries that are not rows, by reason

    def __str__(self) -> str:
        """Return the report as the command prints it."""
        lines = [f"text: {', '.join(self.settings['text'])}"]
        for name in ("rows", "labelled", "named_none", "named_one", "named_several"):
            count = getattr(self, name)
            part = f"{share(count, self.rows):>8}" if self.rows else ""
            lines.append(f"{name.replace('_', ' '):<15}{count:>12,}{part}")
        lines += [f"skipped: {reason}: {count:,}" for reason, count in self.skipped.items()]
        if self.known_class:
            known = (("precision", self.precision), ("recall", self.recall))
            shares = ", ".join(f"{name} {'none' if value is None else f'{value:.4f}'}" for name, value in known)
            lines.append(f"against the true class of {self.known_class:,} rows: {shares}")
        return "\n".join(lines)


def label_by_text(table: Place, out: Place, settings: LabelSettings, overwrite: bool = False) -> LabelReport:
    """Write the rows of a table that name a class to `out`, each with the label that it names.

    Beside `out` stand OUT.report.json, with the counts and with precision and recall where the table has the true
    class, and OUT.report.tsv with the same for each class. The result is the same with any number of workers, and
    with either engine. `overwrite` replaces files that exist.
    """
    ending = out.suffix.lower()
    if ending not in {".parquet", *_SEPARATORS}:
        raise InputError(f"`out` {out} should end in .parquet, .csv or .tsv, which says how to write it")
    beside = [report_path(out, ".json"), report_path(out, ".tsv")]
    with producing([out], [table], overwrite, beside) as (summary, per_class, product):
        source = open_table(table)
        texts = _text_columns(source.schema, tuple(settings.texts))
        schema = _labelled_schema(source.schema, settings.mode)
        score = _Score(settings.mode)
        label = partial(
            label_batch,
            texts=texts,
            truth=_truth_column(source.schema),
            case_sensitive=settings.case_sensitive,
            strict=settings.mode is Mode.STRICT,
        )
        with _open_writer(product, ending, schema) as write:
            for batch in settings.engine.map_batches(label, source.batches(_BATCH_ROWS), settings.workers):
                score.add(batch)
                rows = _labelled(batch, settings.mode, schema)
                if len(rows):
                    write(rows)
        how = {"mode": settings.mode.value, "text": list(texts), "case_sensitive": settings.case_sensitive}
        report = LabelReport(how, **score.summary(), skipped=dict(sorted(source.skipped.items())))
        write_json(summary, {"format": REPORT_FORMAT, **asdict(report)})
        with per_class.open("w", encoding="utf-8", newline="") as opened:
            scores = list(score.per_class())
            writer = csv.DictWriter(opened, list(scores[0]), delimiter="\t", lineterminator="\n")
            writer.writeheader()
            writer.writerows(scores)
    return report


def report_path(out: Place, ending: str) -> Place:
    """Return the path of the report on a labeled table.

    >>> report_path(Path("work/yfcc.parquet"), ".json").as_posix()
    'work/yfcc.report.json'
    """
    return out.with_suffix(f".report{ending}")


def _text_columns(schema: pa.Schema, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns to search for names: those given, else title, description and tags, else the caption."""
    readable = [field.name for field in schema if _is_text(field.type)]
    for name in wanted:
        if name not in schema.names:
            raise InputError(f"`text` {quoted(name)} is not a column of the table; it has {_listed(schema.names)}")
        if name not in readable:
            raise InputError(f"`text` {quoted(name)} holds no text; columns with text are {_listed(readable)}")
    alone = [name for name in _ALONE if name in readable][:1]
    found = wanted or tuple([name for name in _FIELDS if name in readable] or alone)
    if not found:
        raise InputError(f"no column is called title, caption or text; name one with `text`: {_listed(readable)}")
    return found


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or (pa.types.is_list(kind) and pa.types.is_string(kind.value_type)))


def _listed(names: list[str]) -> str:
    shown = ", ".join(quoted(name, 40) for name in names[:12])
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown or "none"


def _truth_column(schema: pa.Schema) -> str | None:
    """Return the column with the true class of a row, if there is one."""
    for name in ("wnid", "label"):
        if name in schema.names:
            kind = schema.field(name).type
            if pa.types.is_string(kind) or pa.types.is_integer(kind):
                return name
    return None


def label_batch(
    batch: pa.RecordBatch, texts: tuple[str, ...], truth: str | None, case_sensitive: bool, strict: bool
) -> pa.RecordBatch:
    """Add to every row the labels that its texts name, and its true label. It runs in other processes."""
    for name in texts:
        try:
            batch[name].validate(full=True)
        except pa.ArrowInvalid:
            raise InputError(
                f"the column {quoted(name)} holds text that is not UTF-8; write it again as UTF-8"
            ) from None
    matcher = mentions.matcher(case_sensitive, strict)
    named = matcher.find(mentions.join_fields([batch[name] for name in texts]))
    true = pa.nulls(len(batch), pa.int16()) if truth is None else _true_labels(batch[truth])
    schema = batch.schema.append(pa.field(_NAMED, named.type)).append(pa.field(_TRUTH, pa.int16()))
    return pa.RecordBatch.from_arrays([*batch.columns, named, true], schema=schema)


def _true_labels(values: pa.Array) -> pa.Array:
    """Return the labels for numbers, for wnids, and for numbers written as text in a CSV file."""
    if pa.types.is_integer(values.type):
        inside = pc.and_(pc.greater_equal(values, 0), pc.less(values, len(_CLASSES)))
        return pc.if_else(inside, values, None).cast(pa.int16())
    encoded = values.cast(pa.string()).dictionary_encode()
    labels = [
        int(value) if value.isascii() and value.isdigit() and len(value) <= 3 else classes.index_of(value)
        for value in encoded.dictionary.to_pylist()
    ]
    return pa.array(labels, pa.int16()).take(encoded.indices)


def _labelled_schema(schema: pa.Schema, mode: Mode) -> pa.Schema:
    """Return the schema of the labeled table.

    An input column that has the name of an added one holds the true class, and becomes `true_…`.
    """
    added = [pa.field("label", pa.int64()), pa.field("wnid", pa.string()), pa.field("class_name", pa.string())]
    if mode is Mode.MULTI:
        plural = ("labels", "wnids", "class_names")
        added = [pa.field(name, pa.list_(field.type)) for name, field in zip(plural, added, strict=True)]
    taken = {field.name for field in added}
    kept = [field.with_name(f"true_{field.name}") if field.name in taken else field for field in schema]
    names = [field.name for field in [*kept, *added]]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"the table has a column {quoted(repeated)} already, as if it had been labeled; drop it first")
    return pa.schema([*kept, *added])


def _labelled(batch: pa.RecordBatch, mode: Mode, schema: pa.Schema) -> pa.RecordBatch:
    """Return the rows of a `label_batch` that get a label in this mode, with the label's columns added."""
    counts = pc.list_value_length(batch[_NAMED])
    rows = batch.filter(pc.greater(counts, 0) if mode is Mode.MULTI else pc.equal(counts, 1))
    named = rows[_NAMED]
    labels = named.flatten().cast(pa.int64())
    wnids = pa.array([each.wnid for each in _CLASSES], pa.string()).take(labels)
    names = pa.array([each.name for each in _CLASSES], pa.string()).take(labels)
    added = [labels, wnids, names]
    if mode is Mode.MULTI:
        ends = np.cumsum([0, *pc.list_value_length(named).to_pylist()]).astype(np.int32)
        added = [pa.ListArray.from_arrays(pa.array(ends), each) for each in added]
    return pa.RecordBatch.from_arrays([*rows.drop_columns([_NAMED, _TRUTH]).columns, *added], schema=schema)


class _Score:
    """Counts of rows by the number of classes that they name, and of right and wrong labels per class."""

    def __init__(self, mode: Mode) -> None:
        self._multi = mode is Mode.MULTI
        self._named = np.zeros(3, np.int64)  # rows that name no class, one, several
        self._given, self._true, self._right, self._wrong = np.zeros((4, len(_CLASSES)), np.int64)

    def add(self, batch: pa.RecordBatch) -> None:
        """Count the rows of a `label_batch`."""
        counts = pc.list_value_length(batch[_NAMED]).to_numpy(zero_copy_only=False)
        truth = pc.fill_null(batch[_TRUTH], -1).to_numpy(zero_copy_only=False).astype(np.int64)
        labelled = counts > 0 if self._multi else counts == 1
        labels = batch[_NAMED].flatten().to_numpy().astype(np.int64)[np.repeat(labelled, counts)]
        own = np.repeat(truth[labelled], counts[labelled])
        self._named += np.bincount(np.minimum(counts, 2), minlength=3)
        for total, found in (
            (self._true, truth[truth >= 0]),
            (self._given, labels),
            (self._right, labels[labels == own]),
            (self._wrong, labels[(own >= 0) & (labels != own)]),
        ):
            total += np.bincount(found, minlength=len(_CLASSES))

    def summary(self) -> dict[str, Any]:
        """Return the counts and scores of all rows."""
        none, one, several = map(int, self._named)
        return {
            "rows": none + one + several,
            "labelled": one + several if self._multi else one,
            "named_none": none,
            "named_one": one,
            "named_several": several,
            **_scores(*(int(counts.sum()) for counts in (self._true, self._right, self._wrong))),
        }

    def per_class(self) -> Iterator[dict[str, Any]]:
        """Yield a row for each of the 1000 classes."""
        columns = (counts.tolist() for counts in (self._given, self._true, self._right, self._wrong))
        for each, given, *counts in zip(_CLASSES, *columns, strict=True):
            who = {"label": each.index, "wnid": each.wnid, "class_name": each.name}
            yield {**who, "given": given, **_scores(*counts)}


def _scores(known: int, right: int, wrong: int) -> dict[str, Any]:
    precision, recall = (round(right / whole, 6) if whole else None for whole in (right + wrong, known))
    return {"known_class": known, "right": right, "wrong": wrong, "precision": precision, "recall": recall}


@contextmanager
def _open_writer(path: Path, ending: str, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """Open a new Parquet, CSV or TSV file; yields a function that writes a batch."""
    if ending == ".parquet":
        with open_parquet_writer(path, schema) as writer:
            yield writer.write_batch
        return
    with path.open("w", encoding="utf-8", newline="") as opened:
        rows = csv.writer(opened, delimiter=_SEPARATORS[ending], lineterminator="\n")
        rows.writerow(schema.names)
        yield lambda batch: rows.writerows(
            zip(*(map(_field, column.to_pylist()) for column in batch.columns), strict=True)
        )


def _field(value: Any) -> str:
    """Return a value as one field, with blanks for line ends and tabs, where many readers break a quoted field."""
    if isinstance(value, list):
        return _BETWEEN.join(map(_field, value))
    return "" if value is None else str(value).translate(_LINE_ENDS)


_IMAGE = "image"


class CaptionTable(Protocol):
    """Rows of texts with any other columns."""

    schema: pa.Schema
    skipped: Counter[str]  # entries that are not rows, by reason; complete once `batches` is used up

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield batches of the schema with at most so many rows, in the order of the table."""
        ...


def open_table(path: Place) -> CaptionTable:
    """Open a Parquet file, a CSV or TSV file, WebDataset tars, or YFCC100M's metadata.

    A folder stands for all Parquet files or all tars in it, in the order of their names; in one of our datasets, for
    those in `data/`.
    """
    files = expand_pattern(path) or [require_there(path, "the table")]
    name = path.name.lower()
    if path.is_dir():
        inside = path / "data" if (path / "data").is_dir() else path
        files = sorted(inside.glob("*.parquet")) or sorted(inside.glob("*.tar"))
        if not files:
            raise InputError(f"{inside} has no .parquet and no .tar file; give the folder that holds them")
        name = files[0].name
    if name.endswith(".parquet"):
        return ParquetTable(files)
    if name.endswith(".tar"):
        return TarTable(files)
    if _is_yfcc(path):
        return YfccTable(path)
    if name.endswith((".csv", ".tsv", ".txt")):
        return SeparatedTable(path)
    raise InputError(
        f"{path} is not a table that can be read; give .parquet, .csv, .tsv, WebDataset .tar files or a folder of "
        "them, or YFCC100M's metadata"
    )


class ParquetTable:
    """Parquet files of one schema, without a column `image`; a labeled table is joined with images by its key."""

    def __init__(self, paths: list[Place]) -> None:
        self._paths = paths
        self.skipped: Counter[str] = Counter()
        self.schema = _schema(paths[0])
        for path in paths[1:]:
            if not _schema(path).equals(self.schema):
                raise InputError(f"{path} has other columns than {paths[0]}; label them one by one")

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield batches of all files."""
        total = sum(read_metadata(path).num_rows for path in self._paths)
        with progress("label", total, "rows") as bar:
            for batch in read_files(self._paths, rows, self.schema.names):
                columns = [batch[field.name].cast(field.type) for field in self.schema]
                yield pa.RecordBatch.from_arrays(columns, schema=self.schema)
                bar.update(len(batch))


def _schema(path: Place) -> pa.Schema:
    return pa.schema([field.with_type(_plain(field.type)) for field in read_schema(path) if field.name != _IMAGE])


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return the type with every text as `string`."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_large_list(kind) or pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    return pa.string() if pa.types.is_large_string(kind) else kind


_TEXTS = ("title", "description", "caption")
_MEMBERS = frozenset({"txt", "json", "cls"})
_LARGEST_MEMBER = 16 << 20


class TarTable:
    """One row a sample: its key and tar, its .txt, the known fields of its .json, its .cls.

    The labeled result is a table by `__key__`, since tars with new .cls members would repeat all images.
    """

    schema = pa.schema(
        [
            pa.field("__key__", pa.string()),
            pa.field("__tar__", pa.string()),
            pa.field("txt", pa.string()),
            *[pa.field(name, pa.string()) for name in _TEXTS],
            pa.field("tags", pa.list_(pa.string())),
            pa.field("wnid", pa.string()),
            pa.field("label", pa.int64()),
        ]
    )

    def __init__(self, paths: list[Place]) -> None:
        self._paths = paths
        self.skipped: Counter[str] = Counter()

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield batches of the samples of all tars, in order; a sample without any text is skipped and counted."""
        samples = chain.from_iterable(map(self._samples, track(self._paths, "read", len(self._paths), "tars")))
        for batch in in_batches(samples, rows):
            yield pa.RecordBatch.from_pylist(batch, schema=self.schema)

    def _samples(self, path: Place) -> Iterator[dict[str, Any]]:
        with TarReader(path) as tar:
            for sample in read_samples(tar, _MEMBERS, _LARGEST_MEMBER):
                said = json_object(sample.contents.get("json", b"{}"))
                if said is None:
                    self.skipped["a .json that is not a JSON object"] += 1
                elif (row := _row(sample, said)) is None:
                    self.skipped["a sample without text"] += 1
                else:
                    yield {"__key__": sample.key, "__tar__": path.name, **row}


def _row(sample: Sample, said: dict[str, Any]) -> dict[str, Any] | None:
    texts = {name: said[name] for name in _TEXTS if isinstance(said.get(name), str)}
    if "txt" in sample.contents:
        texts["txt"] = sample.contents["txt"].decode("utf-8", "replace")
    tags, wnid, label, own = said.get("tags"), said.get("wnid"), said.get("label"), sample.label()
    if not texts and not tags:
        return None
    return {
        **texts,
        "tags": [str(tag) for tag in tags] if isinstance(tags, list) else None,
        "wnid": wnid if isinstance(wnid, str) else None,
        "label": label if own is None and type(label) is int else own,
    }


_COLUMNS = (
    "photo_id", "owner", "owner_name", "date_taken", "title", "description", "tags", "photo_page", "download_url",
    "license_name",
)  # fmt: skip
_FIELD_COUNTS = frozenset(layout.fields for layout in yfcc.LAYOUTS)
_ENCODED = ("owner_name", "title", "description")


class YfccTable:
    """The photos of the file, with decoded texts; videos are skipped and counted."""

    schema = pa.schema([pa.field(name, pa.list_(pa.string()) if name == "tags" else pa.string()) for name in _COLUMNS])

    def __init__(self, path: Place) -> None:
        self._path = path
        self.skipped: Counter[str] = Counter()

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield batches; a line of another number of fields is skipped and counted."""
        for batch in in_batches(self._rows(), rows):
            yield pa.RecordBatch.from_pylist(batch, schema=self.schema)

    def _rows(self) -> Iterator[dict[str, str | list[str]]]:
        lines = (line for block in read_blocks(self._path, "the table") for line in block.split(b"\n")[:-1])
        for line in lines:
            fields = line.rstrip(b"\r").decode("utf-8", "replace").split("\t")
            if len(fields) not in _FIELD_COUNTS:
                self.skipped["not a line of 25 or 23 fields"] += 1
            elif (row := yfcc.named(fields))["marker"] == yfcc.VIDEO:
                self.skipped["a video"] += 1
            else:
                encoded = {name: yfcc.decoded(row[name]) for name in _ENCODED}
                yield {name: row[name] for name in _COLUMNS} | encoded | {"tags": yfcc.decoded_tags(row["tags"])}


def _is_yfcc(path: Place) -> bool:
    """Whether a file's first line has the number of fields of YFCC100M, and a photo's number in its place."""
    with path.open("rb") as plain, closing(unpacked(plain)) as opened:
        try:
            fields = opened.readline(1 << 20).split(b"\t")
        except (OSError, EOFError, zlib.error):  # begins as if it were packed
            return False
    return any(len(fields) == layout.fields and fields[layout.photo_id].isdigit() for layout in yfcc.LAYOUTS)
