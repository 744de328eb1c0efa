"""The command `label-by-text`: label the rows of a table by the classes that they name, and score the labels."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.captions import mentions
from imagenet_captions.dataset.sampling import seeded_order
from imagenet_captions.engines.local import in_batches
from imagenet_captions.errors import InputError, quoted
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.image_ids import image_id as read_image_id
from imagenet_captions.images.tables import SeparatedTable
from imagenet_captions.images.tars import TarReader, json_object, read_samples
from imagenet_captions.labelling.settings import LabelSettings, Mode
from imagenet_captions.outcomes import share
from imagenet_captions.sources import yfcc
from imagenet_captions.storage.files import read_lines, require_there, write_json
from imagenet_captions.storage.outputs import producing
from imagenet_captions.storage.parquet import (
    open_parquet_writer,
    read_files,
    read_metadata,
    read_schema,
    take_each,
)
from imagenet_captions.storage.places import Place, expand_pattern
from imagenet_captions.storage.progress import progress, track
from imagenet_captions.storage.texts import read_blocks

REPORT_FORMAT = "imagenet-captions label report"
Counts = npt.NDArray[np.int64]

_BATCH_ROWS = 10_000
_CLASSES = tuple(map(classes.by_wnid, classes.wnids()))
_WNIDS = pa.array([each.wnid for each in _CLASSES], pa.string())
_NAMES = pa.array([each.name for each in _CLASSES], pa.string())
_NAMED = "__named__"  # all labels that a row names
_TRUTH = "__truth__"  # the label that the row is known to have; null if it is not known
_ROW = "__row__"  # the number of the row in the table
_IDS = ("image_id", "__key__", "key", "photo_id", "id")
_HELD, _IMAGES_AT_ONCE = 100_000, 64  # rows
# Columns to look for names in: all of the first, else one of the second.
_FIELDS = ("title", "description", "tags", "txt")
_ALONE = ("caption", "text", "txt", "captions")
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_BETWEEN = "|"  # values of a list in one field of a CSV file; no wnid and no class's name has it
_LINE_ENDS = str.maketrans(dict.fromkeys("\r\n\t\0", " "))

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
_PHOTOS = pa.schema(
    [
        *((name, pa.string()) for name in ("photo_id", "owner", "owner_name", "date_taken", "title", "description")),
        ("tags", pa.list_(pa.string())),
        *((name, pa.string()) for name in ("photo_page", "download_url", "license_name")),
    ]
)


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
        lines = [f"text: {', '.join(self.settings['text'])}"]
        rows, known = self.found["rows"], self.found["known_class"]
        for name in ("rows", "labelled", "named_none", "named_one", "named_several"):
            count = self.found[name]
            part = f"{share(count, rows):>8}" if rows else ""
            lines.append(f"{name.replace('_', ' '):<15}{count:>12,}{part}")
        lines += [f"skipped: {reason}: {count:,}" for reason, count in self.skipped.items()]
        if test_set := self.found.get("test_set"):
            told = "the test set has {rows:,} rows of {classes:,} classes, {short_classes:,} of them with fewer"
            noise = "" if test_set["label_noise"] is None else "; label noise {label_noise:.4f} of {known_class:,} rows"
            lines.append(f"{told}{noise}".format_map(test_set))
        if known:
            scores = [(name, self.found[name]) for name in ("precision", "recall")]
            shares = (f"{name} none" if value is None else f"{name} {value:.4f}" for name, value in scores)
            lines.append(f"against the true class of {known:,} rows: {', '.join(shares)}")
        return "\n".join(lines)


def label_by_text(table: Place, out: Place, settings: LabelSettings, overwrite: bool = False) -> LabelReport:
    """Write the rows of a table that name a class to `out`, each with the label that it names.

    Beside `out` stand OUT.report.json, with the counts and with precision and recall where the table has the true
    class, and OUT.report.tsv with the same for each class. The result is the same with any number of workers, and
    with either engine. `overwrite` replaces files that exist. With `per_class` the result is a test set: the same
    number of rows of each class, with their images and the names of all classes.
    """
    ending, multi = out.suffix.lower(), settings.mode is Mode.MULTI
    if ending not in {".parquet", *_SEPARATORS}:
        raise InputError(f"`out` {out} should end in .parquet, .csv or .tsv, which says how to write it")
    beside = [out.with_suffix(".report.json"), out.with_suffix(".report.tsv")]
    with producing([out], [table, settings.without], overwrite, beside) as (summary, per_class, product):
        source = open_table(table)
        texts = _text_columns(source.schema, settings.texts)
        schema = _labelled_schema(source.schema, multi)
        truth = next((name for name in ("wnid", "label") if name in source.schema.names), None)
        matching = {"case_sensitive": settings.case_sensitive, "strict": settings.mode is Mode.STRICT}
        find = partial(label_batch, texts=texts, truth=truth, **matching)
        named, totals = np.zeros(3, np.int64), np.zeros((4, len(_CLASSES)), np.int64)
        test_set = None
        if settings.per_class is not None:
            test_set = _TestSet(settings.per_class, settings.seed, source, schema, ending == ".parquet")
            schema = test_set.schema
        with _open_writer(product, ending, schema) as write:
            for batch in settings.engine.map_batches(find, _numbered(source, settings.without), settings.workers):
                for total, more in zip((named, totals), _counted(batch, multi), strict=True):
                    total += more
                if test_set is not None:
                    test_set.add(batch)
                elif len(rows := _labelled(batch, multi, schema)):
                    write(rows)
            if test_set is not None:
                test_set.write(write)
        none, one, several = named.tolist()
        found = {"rows": none + one + several, "labelled": one + several if multi else one}
        found |= {"named_none": none, "named_one": one, "named_several": several}
        how = {"mode": settings.mode.value, "text": list(texts), "case_sensitive": settings.case_sensitive}
        scores = _scores(*totals[1:].sum(axis=1).tolist())
        chosen = {} if test_set is None else {"test_set": test_set.summary()}
        report = LabelReport(how, found | scores | chosen, dict(sorted(source.skipped.items())))
        write_json(summary, {"format": REPORT_FORMAT, **report.as_dict()})
        with per_class.open("w", encoding="utf-8", newline="") as opened:
            header = ["label", "wnid", "class_name", "given", *scores]
            writer = csv.DictWriter(opened, header, delimiter="\t", lineterminator="\n")
            writer.writeheader()
            for each, (given, *counts) in zip(_CLASSES, totals.T.tolist(), strict=True):
                who = {"label": each.index, "wnid": each.wnid, "class_name": each.name}
                writer.writerow({**who, "given": given, **_scores(*counts)})
    return report


def _text_columns(schema: pa.Schema, wanted: Sequence[str]) -> tuple[str, ...]:
    kinds = {each.name: each.type.value_type if pa.types.is_list(each.type) else each.type for each in schema}
    readable = [name for name, kind in kinds.items() if pa.types.is_string(kind)]
    has = ", ".join(quoted(name, 40) for name in readable[:12]) or "there is none"
    alone = [name for name in _ALONE if name in readable][:1]
    found = tuple(wanted) or tuple([name for name in _FIELDS if name in readable] or alone)
    if others := [name for name in found if name not in readable]:
        raise InputError(f"`text` {quoted(others[0])} is not a column with text; columns with text: {has}")
    if not found:
        raise InputError(f"no column with text is called title, caption or text; name one with `text`: {has}")
    return found


def _labelled_schema(schema: pa.Schema, multi: bool) -> pa.Schema:
    """An input column that has the name of an added one holds the true class, and becomes `true_…`."""
    added = [pa.field("label", pa.int64()), pa.field("wnid", pa.string()), pa.field("class_name", pa.string())]
    if multi:
        names = ("labels", "wnids", "class_names")
        added = [pa.field(name, pa.list_(each.type)) for name, each in zip(names, added, strict=True)]
    taken = {field.name for field in added}
    every = [*(each.with_name(f"true_{each.name}") if each.name in taken else each for each in schema), *added]
    if repeated := [name for name, count in Counter(each.name for each in every).items() if count > 1]:
        raise InputError(
            f"the table has a column {quoted(repeated[0])} already, as if it had been labeled; drop it first"
        )
    return pa.schema(every)


def label_batch(
    batch: pa.RecordBatch, texts: tuple[str, ...], truth: str | None, case_sensitive: bool, strict: bool
) -> pa.RecordBatch:
    """Add to every row the labels that its texts name, and its true label. It runs in other processes."""
    matcher = mentions.matcher(case_sensitive, strict)
    named = matcher.find(mentions.join_fields([batch[name] for name in texts]))
    true = pa.nulls(len(batch), pa.int16()) if truth is None else _true_labels(batch[truth])
    schema = batch.schema.append(pa.field(_NAMED, named.type)).append(pa.field(_TRUTH, pa.int16()))
    return pa.RecordBatch.from_arrays([*batch.columns, named, true], schema=schema)


def _numbered(source: CaptionTable, without: Place | None) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a table with the numbers of their rows, without the rows that a list of ids names."""
    listed, name = None, source.id_column
    if without is not None:
        if name is None:
            raise InputError(f"`without` needs a column of ids, called {', '.join(_IDS)}; the table has none")
        listed = _ids(read_lines(without, "the list of ids"))
        if not len(listed):
            raise InputError(f"{without} holds no id; give one a line")
    start = 0
    for batch in source.batches:
        rows = batch.append_column(_ROW, pa.array(np.arange(start, start + len(batch))))
        start += len(batch)
        if listed is not None:
            ids = _ids(batch[name].cast(pa.string()).to_pylist())
            rows = rows.filter(pc.invert(pc.is_in(ids, value_set=listed)))
            source.skipped["in the list of ids"] += len(batch) - len(rows)
        yield rows


def _ids(values: Iterable[str | None]) -> pa.Array:
    """Return image ids in one form, and other ids as they are."""
    return pa.array([value and (read_image_id(value) or value) for value in values], pa.string())


def _true_labels(values: pa.Array) -> pa.Array:
    """Return the labels for numbers, for wnids, and for numbers written as text in a CSV file; others are null."""
    if pa.types.is_integer(values.type):
        inside = pc.and_(pc.greater_equal(values, 0), pc.less(values, len(_CLASSES)))
        return pc.if_else(inside, values, None).cast(pa.int16())
    if not pa.types.is_string(values.type):
        return pa.nulls(len(values), pa.int16())
    encoded = values.dictionary_encode()
    labels = [
        int(value) if value.isascii() and value.isdigit() and len(value) <= 3 else classes.index_of(value)
        for value in encoded.dictionary.to_pylist()
    ]
    return pa.array(labels, pa.int16()).take(encoded.indices)


def _labelled(batch: pa.RecordBatch, multi: bool, schema: pa.Schema) -> pa.RecordBatch:
    counts = pc.list_value_length(batch[_NAMED])
    rows = batch.filter(pc.greater(counts, 0) if multi else pc.equal(counts, 1))
    named = rows[_NAMED]
    labels = named.flatten().cast(pa.int64())
    added = [labels, _WNIDS.take(labels), _NAMES.take(labels)]
    if multi:
        ends = pc.subtract(named.offsets, named.offsets[0])
        added = [pa.ListArray.from_arrays(ends, each) for each in added]
    kept = rows.drop_columns([_ROW, _NAMED, _TRUTH]).columns
    return pa.RecordBatch.from_arrays([*kept, *added], schema=schema)


def _counted(batch: pa.RecordBatch, multi: bool) -> tuple[Counts, Counts]:
    """Return the rows that name no class, one and several; and by class the labels given, true, right and wrong."""
    counts = pc.list_value_length(batch[_NAMED]).to_numpy(zero_copy_only=False)
    truth = pc.fill_null(batch[_TRUTH], -1).to_numpy(zero_copy_only=False)
    labelled = counts > 0 if multi else counts == 1
    labels = batch[_NAMED].flatten().to_numpy()[np.repeat(labelled, counts)]
    own = np.repeat(truth[labelled], counts[labelled])
    sorts = (labels, truth[truth >= 0], labels[labels == own], labels[(own >= 0) & (labels != own)])
    by_class = [np.bincount(each, minlength=len(_CLASSES)) for each in sorts]
    return np.bincount(np.minimum(counts, 2), minlength=3), np.array(by_class)


def _scores(known: int, right: int, wrong: int) -> dict[str, Any]:
    given = right + wrong
    return {
        "known_class": known,
        "right": right,
        "wrong": wrong,
        "precision": round(right / given, 6) if given else None,
        "recall": round(right / known, 6) if known else None,
    }


class _TestSet:
    """Rows with one label, as many of each class: those that come first in the order of a seed."""

    def __init__(self, per_class: int, seed: int, source: CaptionTable, schema: pa.Schema, in_parquet: bool) -> None:
        self._per_class, self._seed, self._source, self._plain = per_class, seed, source, schema
        self._parts: list[pa.Table] = []
        self._images = source.images if in_parquet else None
        features: dict[str, Any] = {"label": {"names": list(classes.wnids()), "_type": "ClassLabel"}}
        if self._images is not None:
            schema = schema.append(self._images)
            features["image"] = {"_type": "Image"}
        self.schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})

    def add(self, batch: pa.RecordBatch) -> None:
        """Take the rows of a `label_batch` that name one class."""
        one = pc.equal(pc.list_value_length(batch[_NAMED]), 1)
        self._parts.append(pa.Table.from_batches([batch.filter(one)]))
        if sum(map(len, self._parts)) > _HELD + self._per_class * len(_CLASSES):
            self._choose()

    def _choose(self) -> pa.Table:
        table = pa.concat_tables(self._parts)
        labels = np.asarray(pc.list_flatten(table[_NAMED]))
        ids = table[self._source.id_column or _ROW].cast(pa.string())
        order = seeded_order(ids.to_pylist(), self._seed)
        order = order[np.argsort(labels[order], kind="stable")]
        places = np.arange(len(order)) - np.searchsorted(labels[order], labels[order])
        self._parts = [table.take(pa.array(np.sort(order[places < self._per_class])))]
        return self._parts[0]

    def write(self, write: Callable[[pa.RecordBatch], None]) -> None:
        """Write the chosen rows in the order of the table, with their images."""
        if not any(map(len, self._parts)):
            raise InputError("no row names exactly one class, so there is no test set; give other captions")
        chosen = self._choose()
        sizes = [read_metadata(file).num_rows for file in self._source.files]
        starts = zip(accumulate(sizes, initial=0), self._source.files, strict=False)
        batches = chosen.to_batches(_IMAGES_AT_ONCE)
        images = take_each(starts, (batch[_ROW].to_numpy() for batch in batches), ["image"])
        for batch in batches:
            columns = _labelled(batch, False, self._plain).columns
            if self._images is not None:
                columns.append(next(images)["image"].combine_chunks())
            write(pa.RecordBatch.from_arrays(columns, schema=self.schema))

    def summary(self) -> dict[str, Any]:
        """Return the counts of the chosen rows, and the share of wrong labels among those whose class is known."""
        (chosen,) = self._parts
        labels, truth = np.asarray(pc.list_flatten(chosen[_NAMED])), pc.fill_null(chosen[_TRUTH], -1).to_numpy()
        counts, known = np.bincount(labels, minlength=len(_CLASSES)), truth >= 0
        return {
            "per_class": self._per_class,
            "seed": self._seed,
            "rows": len(labels),
            "classes": int(np.count_nonzero(counts)),
            "short_classes": int(np.count_nonzero((counts > 0) & (counts < self._per_class))),
            "known_class": int(np.count_nonzero(known)),
            "label_noise": round(float(np.mean(labels[known] != truth[known])), 6) if known.any() else None,
        }


@contextmanager
def _open_writer(path: Path, ending: str, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], None]]:
    if ending == ".parquet":
        # Images as they are can be read where they stand.
        plain = {"compression": "NONE", "compression_level": None, "use_dictionary": False}
        with open_parquet_writer(path, schema, **(plain if "image" in schema.names else {})) as writer:
            yield writer.write_batch
        return
    with path.open("w", encoding="utf-8", newline="") as opened:
        rows = csv.writer(opened, delimiter=_SEPARATORS[ending], lineterminator="\n")
        rows.writerow(schema.names)
        yield lambda batch: rows.writerows(zip(*(map(_field, each.to_pylist()) for each in batch.columns), strict=True))


def _field(value: Any) -> str:
    """Return a value as one field, with blanks for line ends and tabs, where many readers break a quoted field."""
    if isinstance(value, list):
        return _BETWEEN.join(map(_field, value))
    return "" if value is None else str(value).translate(_LINE_ENDS)


class CaptionTable(NamedTuple):
    """Rows of texts with any other columns; `images` is the column of images in `files`."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    skipped: Counter[str]  # entries that are not rows, by reason; complete once `batches` is used up
    files: Sequence[Place] = ()
    images: pa.Field | None = None

    @property
    def id_column(self) -> str | None:
        """The column that names the rows."""
        return next((name for name in _IDS if name in self.schema.names), None)


def open_table(path: Place) -> CaptionTable:
    """Open a Parquet file, a CSV or TSV file, WebDataset tars, or YFCC100M's metadata.

    A folder stands for all Parquet files or all tars in it, in the order of their names; in one of our datasets, for
    those in `data/`.
    """
    files = expand_pattern(path) or [require_there(path, "the table")]
    name, skipped = path.name.lower(), Counter[str]()
    if path.is_dir():
        inside = path / "data" if (path / "data").is_dir() else path
        files = sorted(inside.glob("*.parquet")) or sorted(inside.glob("*.tar"))
        if not files:
            raise InputError(f"{inside} has no .parquet and no .tar file; give the folder that holds them")
        name = files[0].name
    if name.endswith(".parquet"):
        schema = _parquet_schema(files)
        stored = read_schema(files[0])
        images = stored.field("image") if "image" in stored.names else None
        return CaptionTable(schema, _parquet_batches(files, schema), skipped, files, images)
    if name.endswith(".tar"):
        return _table_of(_samples(files, skipped), _SAMPLES, skipped)
    blocks = read_blocks(path, "the table")
    first = next(blocks, b"")
    fields = first[: first.find(b"\n")].split(b"\t")
    if len(fields) in yfcc.PHOTO_ID_AT and fields[yfcc.PHOTO_ID_AT[len(fields)]].isdigit():
        return _table_of(_photos(chain([first], blocks), skipped), _PHOTOS, skipped)
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
    """Leave out a column `image`: a labeled table is joined with images by its key."""
    schemas = []
    for file in files:
        fields = [field for field in read_schema(file) if field.name != "image"]
        schemas.append(pa.schema([field.with_type(_plain(field.type)) for field in fields]))
        if not schemas[-1].equals(schemas[0]):
            raise InputError(f"{file} has other columns than {files[0]}; label them one by one")
    return schemas[0]


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_large_list(kind) or pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    return pa.string() if pa.types.is_large_string(kind) else kind


def _parquet_batches(files: Sequence[Place], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    with progress("label", sum(read_metadata(file).num_rows for file in files), "rows") as bar:
        for batch in read_files(files, _BATCH_ROWS, schema.names):
            columns = [batch[each.name].cast(each.type) for each in schema]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
            bar.update(len(batch))


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


def _photos(blocks: Iterable[bytes], skipped: Counter[str]) -> Iterator[dict[str, Any]]:
    for block in blocks:
        for line in block.split(b"\n")[:-1]:
            fields = line.rstrip(b"\r").decode("utf-8", "replace").split("\t")
            if len(fields) not in yfcc.PHOTO_ID_AT:
                skipped["not a line of 25 or 23 fields"] += 1
            elif (row := yfcc.named(fields))["marker"] == yfcc.VIDEO:
                skipped["a video"] += 1
            else:
                texts = {name: yfcc.decoded(row[name]) for name in ("owner_name", "title", "description")}
                yield {**row, **texts, "tags": yfcc.decoded_tags(row["tags"])}
