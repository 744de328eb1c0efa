"""The command `label-by-text`: label the rows of a table by the classes that they name, and score the labels."""

from __future__ import annotations

import csv
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.captions import mentions
from imagenet_captions.engines.local import in_batches
from imagenet_captions.errors import InputError, quoted
from imagenet_captions.imagenet import classes
from imagenet_captions.images.tables import SeparatedTable
from imagenet_captions.images.tars import TarReader, json_object, read_samples
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
_CLASSES = tuple(map(classes.by_wnid, classes.wnids()))
_ADDED = {"label": pa.int64(), "wnid": pa.string(), "class_name": pa.string()}
_NAMED = "__named__"  # all labels that a row names
_TRUTH = "__truth__"  # the label that the row is known to have; null if it is not known
# Columns to look for names in: all of the first, else one of the second.
_FIELDS = ("title", "description", "tags", "txt")
_ALONE = ("caption", "text", "txt", "captions")
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_BETWEEN = "|"  # values of a list in one field of a CSV file; no wnid and no class's name has it
_LINE_ENDS = str.maketrans(dict.fromkeys("\r\n\t\0", " "))


@dataclass(frozen=True)
class LabelReport:
    """The counts and scores of a labeled table.

    Precision is the share of right labels among those given, recall the share of rows that got their right label; both
    are over the rows whose class is known, and None if there are none. A row that names two classes gets no label in
    the modes `single` and `strict`, so it counts against recall alone.
    """

    settings: Mapping[str, Any]
    found: Mapping[str, Any]
    skipped: Mapping[str, int]  # entries that are not rows, by reason

    def as_dict(self) -> dict[str, Any]:
        """Return everything in one level, as the JSON has it."""
        return {"settings": self.settings, **self.found, "skipped": self.skipped}

    def __str__(self) -> str:
        """Return the report as the command prints it."""
        lines = [f"text: {', '.join(self.settings['text'])}"]
        rows, known = self.found["rows"], self.found["known_class"]
        for name in ("rows", "labelled", "named_none", "named_one", "named_several"):
            count = self.found[name]
            part = f"{share(count, rows):>8}" if rows else ""
            lines.append(f"{name.replace('_', ' '):<15}{count:>12,}{part}")
        lines += [f"skipped: {reason}: {count:,}" for reason, count in self.skipped.items()]
        if known:
            shares = []
            for name in ("precision", "recall"):
                value = self.found[name]
                shares.append(f"{name} none" if value is None else f"{name} {value:.4f}")
            lines.append(f"against the true class of {known:,} rows: {', '.join(shares)}")
        return "\n".join(lines)


def label_by_text(table: Place, out: Place, settings: LabelSettings, overwrite: bool = False) -> LabelReport:
    """Write the rows of a table that name a class to `out`, each with the label that it names.

    Beside `out` stand OUT.report.json, with the counts and with precision and recall where the table has the true
    class, and OUT.report.tsv with the same for each class. The result is the same with any number of workers, and
    with either engine. `overwrite` replaces files that exist.
    """
    ending, mode = out.suffix.lower(), settings.mode
    if ending not in {".parquet", *_SEPARATORS}:
        raise InputError(f"`out` {out} should end in .parquet, .csv or .tsv, which says how to write it")
    beside = [report_path(out, ".json"), report_path(out, ".tsv")]
    with producing([out], [table], overwrite, beside) as (summary, per_class, product):
        source = open_table(table)
        texts = _text_columns(source.schema, settings.texts)
        schema = _labelled_schema(source.schema, mode)
        truth = next((name for name in ("wnid", "label") if name in source.schema.names), None)
        matching = {"case_sensitive": settings.case_sensitive, "strict": mode is Mode.STRICT}
        find = partial(label_batch, texts=texts, truth=truth, **matching)
        score = _Score(mode)
        with _open_writer(product, ending, schema) as write:
            for batch in settings.engine.map_batches(find, source.batches, settings.workers):
                score.add(batch)
                rows = _labelled(batch, mode, schema)
                if len(rows):
                    write(rows)
        how = {"mode": mode.value, "text": list(texts), "case_sensitive": settings.case_sensitive}
        report = LabelReport(how, score.summary(), dict(sorted(source.skipped.items())))
        write_json(summary, {"format": REPORT_FORMAT, **report.as_dict()})
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


# Columns.


def _text_columns(schema: pa.Schema, wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the columns to search for names: those given, else title, description and tags, else the caption."""
    readable = [field.name for field in schema if _is_text(field.type)]
    has = ", ".join(quoted(name, 40) for name in readable[:12]) or "none"
    for name in wanted:
        if name not in readable:
            raise InputError(f"`text` {quoted(name)} is not a column with text; the table has {has}")
    alone = [name for name in _ALONE if name in readable][:1]
    found = tuple(wanted) or tuple([name for name in _FIELDS if name in readable] or alone)
    if not found:
        raise InputError(f"no column is called title, caption or text; name one with `text`: {has}")
    return found


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or (pa.types.is_list(kind) and pa.types.is_string(kind.value_type)))


def _labelled_schema(schema: pa.Schema, mode: Mode) -> pa.Schema:
    """Return the schema of the labeled table.

    An input column that has the name of an added one holds the true class, and becomes `true_…`.
    """
    added = [pa.field(name, kind) for name, kind in _ADDED.items()]
    if mode is Mode.MULTI:
        plural = ("labels", "wnids", "class_names")
        added = [pa.field(name, pa.list_(kind)) for name, kind in zip(plural, _ADDED.values(), strict=True)]
    taken = {field.name for field in added}
    kept = [field.with_name(f"true_{field.name}") if field.name in taken else field for field in schema]
    names = [field.name for field in [*kept, *added]]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"the table has a column {quoted(repeated)} already, as if it had been labeled; drop it first")
    return pa.schema([*kept, *added])


# Labels.


def label_batch(
    batch: pa.RecordBatch, texts: tuple[str, ...], truth: str | None, case_sensitive: bool, strict: bool
) -> pa.RecordBatch:
    """Add to every row the labels that its texts name, and its true label. It runs in other processes."""
    matcher = mentions.matcher(case_sensitive, strict)
    named = matcher.find(mentions.join_fields([batch[name] for name in texts]))
    true = pa.nulls(len(batch), pa.int16()) if truth is None else _true_labels(batch[truth])
    schema = batch.schema.append(pa.field(_NAMED, named.type)).append(pa.field(_TRUTH, pa.int16()))
    return pa.RecordBatch.from_arrays([*batch.columns, named, true], schema=schema)


def _true_labels(values: pa.Array) -> pa.Array:
    """Return the labels for numbers, for wnids, and for numbers written as text in a CSV file; others are null."""
    if not pa.types.is_integer(values.type) and not pa.types.is_string(values.type):
        return pa.nulls(len(values), pa.int16())
    if pa.types.is_integer(values.type):
        inside = pc.and_(pc.greater_equal(values, 0), pc.less(values, len(_CLASSES)))
        return pc.if_else(inside, values, None).cast(pa.int16())
    encoded = values.dictionary_encode()
    labels = [
        int(value) if value.isascii() and value.isdigit() and len(value) <= 3 else classes.index_of(value)
        for value in encoded.dictionary.to_pylist()
    ]
    return pa.array(labels, pa.int16()).take(encoded.indices)


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
    kept = rows.drop_columns([_NAMED, _TRUTH]).columns
    return pa.RecordBatch.from_arrays([*kept, *added], schema=schema)


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
        self._true += _by_class(truth[truth >= 0])
        self._given += _by_class(labels)
        self._right += _by_class(labels[labels == own])
        self._wrong += _by_class(labels[(own >= 0) & (labels != own)])

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


def _by_class(labels: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.bincount(labels, minlength=len(_CLASSES))


def _scores(known: int, right: int, wrong: int) -> dict[str, Any]:
    given = right + wrong
    return {
        "known_class": known,
        "right": right,
        "wrong": wrong,
        "precision": round(right / given, 6) if given else None,
        "recall": round(right / known, 6) if known else None,
    }


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

        def write(batch: pa.RecordBatch) -> None:
            columns = [map(_field, column.to_pylist()) for column in batch.columns]
            rows.writerows(zip(*columns, strict=True))

        yield write


def _field(value: Any) -> str:
    """Return a value as one field, with blanks for line ends and tabs, where many readers break a quoted field."""
    if isinstance(value, list):
        return _BETWEEN.join(map(_field, value))
    return "" if value is None else str(value).translate(_LINE_ENDS)


# Tables, in the forms in which people keep captions.


class CaptionTable(NamedTuple):
    """Rows of texts with any other columns."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    skipped: Counter[str]  # entries that are not rows, by reason; complete once `batches` is used up


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
    skipped: Counter[str] = Counter()
    if name.endswith(".parquet"):
        schema = _parquet_schema(files)
        return CaptionTable(schema, _parquet_batches(files, schema), skipped)
    if name.endswith(".tar"):
        return _table_of(_samples(files, skipped), _SAMPLES, skipped)
    if _is_yfcc(path):
        return _table_of(_photos(path, skipped), _PHOTOS, skipped)
    if name.endswith((".csv", ".tsv", ".txt")):
        separated = SeparatedTable(path)
        return CaptionTable(separated.schema, separated.batches(_BATCH_ROWS), separated.skipped)
    raise InputError(
        f"{path} is not a table that can be read; give .parquet, .csv, .tsv, WebDataset .tar files or a folder of "
        "them, or YFCC100M's metadata"
    )


def _table_of(rows: Iterable[dict[str, Any]], schema: pa.Schema, skipped: Counter[str]) -> CaptionTable:
    batches = (pa.RecordBatch.from_pylist(some, schema=schema) for some in in_batches(rows, _BATCH_ROWS))
    return CaptionTable(schema, batches, skipped)


def _parquet_schema(files: Sequence[Place]) -> pa.Schema:
    """Return the schema of all files, without a column `image`: a labeled table is joined with images by its key."""
    schemas = []
    for file in files:
        fields = [field for field in read_schema(file) if field.name != "image"]
        schemas.append(pa.schema([field.with_type(_plain(field.type)) for field in fields]))
        if not schemas[-1].equals(schemas[0]):
            raise InputError(f"{file} has other columns than {files[0]}; label them one by one")
    return schemas[0]


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return the type with every text as `string`."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_large_list(kind) or pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    return pa.string() if pa.types.is_large_string(kind) else kind


def _parquet_batches(files: Sequence[Place], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    total = sum(read_metadata(file).num_rows for file in files)
    with progress("label", total, "rows") as bar:
        for batch in read_files(files, _BATCH_ROWS, schema.names):
            columns = [batch[field.name].cast(field.type) for field in schema]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
            bar.update(len(batch))


_TEXTS = ("title", "description", "caption")
_MEMBERS = frozenset({"txt", "json", "cls"})
_LARGEST_MEMBER = 16 << 20
# A sample: its key and tar, its .txt, the known fields of its .json, its .cls. The labeled result is a table by
# `__key__`, since tars with new .cls members would repeat all images.
_SAMPLES = pa.schema(
    [
        *((name, pa.string()) for name in ("__key__", "__tar__", "txt", *_TEXTS)),
        ("tags", pa.list_(pa.string())),
        ("wnid", pa.string()),
        ("label", pa.int64()),
    ]
)


def _samples(files: Sequence[Place], skipped: Counter[str]) -> Iterator[dict[str, Any]]:
    for path in track(files, "read", len(files), "tars"):
        with TarReader(path) as tar:
            for sample in read_samples(tar, _MEMBERS, _LARGEST_MEMBER):
                said = json_object(sample.contents.get("json", b"{}"))
                if said is None:
                    skipped["a .json that is not a JSON object"] += 1
                    continue
                texts = {name: said[name] for name in _TEXTS if isinstance(said.get(name), str)}
                if "txt" in sample.contents:
                    texts["txt"] = sample.contents["txt"].decode("utf-8", "replace")
                tags, wnid = said.get("tags"), said.get("wnid")
                label, own = said.get("label"), sample.label()
                if not texts and not tags:
                    skipped["a sample without text"] += 1
                    continue
                yield {
                    "__key__": sample.key,
                    "__tar__": path.name,
                    **texts,
                    "tags": [str(tag) for tag in tags] if isinstance(tags, list) else None,
                    "wnid": wnid if isinstance(wnid, str) else None,
                    "label": label if own is None and type(label) is int else own,
                }


_ENCODED = ("owner_name", "title", "description")
_COLUMNS = (
    "photo_id", "owner", "owner_name", "date_taken", "title", "description", "tags", "photo_page", "download_url",
    "license_name",
)  # fmt: skip
_PHOTOS = pa.schema([(name, pa.list_(pa.string()) if name == "tags" else pa.string()) for name in _COLUMNS])


def _photos(path: Place, skipped: Counter[str]) -> Iterator[dict[str, Any]]:
    lengths = {layout.fields for layout in yfcc.LAYOUTS}
    for block in read_blocks(path, "the table"):
        for line in block.split(b"\n")[:-1]:
            fields = line.rstrip(b"\r").decode("utf-8", "replace").split("\t")
            if len(fields) not in lengths:
                skipped["not a line of 25 or 23 fields"] += 1
            elif (row := yfcc.named(fields))["marker"] == yfcc.VIDEO:
                skipped["a video"] += 1
            else:
                photo: dict[str, Any] = {name: row[name] for name in _COLUMNS}
                for name in _ENCODED:
                    photo[name] = yfcc.decoded(row[name])
                photo["tags"] = yfcc.decoded_tags(row["tags"])
                yield photo


def _is_yfcc(path: Place) -> bool:
    """Whether a file's first line has the number of fields of YFCC100M, and a photo's number in its place."""
    with path.open("rb") as plain, closing(unpacked(plain)) as opened:
        try:
            fields = opened.readline(1 << 20).split(b"\t")
        except (OSError, EOFError, zlib.error):  # begins as if it were packed
            return False
    return any(len(fields) == layout.fields and fields[layout.photo_id].isdigit() for layout in yfcc.LAYOUTS)
