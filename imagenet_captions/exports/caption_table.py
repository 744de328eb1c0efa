"""A table of image files and captions, from any program, as the samples of a WebDataset."""

from __future__ import annotations

import json
import logging
import math
import os
import posixpath
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from imagenet_captions.engines.local import in_batches
from imagenet_captions.errors import InputError, shortened, unknown_name
from imagenet_captions.exports.rows import Export, Samples, require_rows, warn_of_blindness
from imagenet_captions.exports.settings import WEBDATASET, ExportSettings
from imagenet_captions.imagenet.image_ids import image_id
from imagenet_captions.images.examples.classes_of import by_key, by_number, class_of
from imagenet_captions.images.examples.files import CAPTION_COLUMNS, CLASS_COLUMNS, IMAGE_COLUMNS, LABEL_COLUMNS
from imagenet_captions.images.examples.stored import ids_of
from imagenet_captions.images.readers.samples import json_object
from imagenet_captions.images.readers.separated import SeparatedTable
from imagenet_captions.images.sources import ByteRange
from imagenet_captions.storage.files import require_file
from imagenet_captions.storage.parquet import read_files, read_schema
from imagenet_captions.storage.places import Place, expand_pattern, is_remote, is_url
from imagenet_captions.storage.progress import open_watched

log = logging.getLogger(__name__)

_SEPARATED, _JSON_LINES, _PARQUET = (".csv", ".tsv", ".txt"), (".jsonl", ".ndjson"), (".parquet",)
_COLUMNS = {"path": IMAGE_COLUMNS, "caption": CAPTION_COLUMNS, "label": LABEL_COLUMNS, "class": CLASS_COLUMNS}
_DENIED_BY = ("photo_id", "owner", "photo_page", "url")
_ROW = pa.schema([*((name, pa.string()) for name in ("image_id", *_COLUMNS, *_DENIED_BY)), ("json", pa.binary())])
_ROWS_AT_ONCE = 1_000
_PLAIN = re.compile("[A-Za-z0-9_-]{1,80}")  # a key: in ASCII, and without a dot, at which WebDataset cuts names


def is_table(path: Place) -> bool:
    """Return whether a place is a table, by its ending, and not the folder of a dataset."""
    return path.name.lower().endswith((*_SEPARATED, *_JSON_LINES, *_PARQUET)) and not path.is_dir()


def check_settings(settings: ExportSettings, source: Place) -> None:
    """Raise InputError for settings that do not suit a table, or that only suit one."""
    if not is_table(source):
        if settings.to == WEBDATASET and settings.columns is not None:
            raise InputError(
                f"`columns` means nothing for `to={WEBDATASET!r}` of a dataset, whose columns are known; leave it out"
            )
    elif settings.to != WEBDATASET:
        raise InputError(f"`to={settings.to!r}` needs a dataset, and {source} is a table; only {WEBDATASET} takes one")
    elif settings.caption is not None:
        raise InputError(
            f"`caption` makes captions of a dataset's texts, and {source} is a table; name its captions with `columns`"
        )


def read_samples(job: Export) -> Samples:
    """Return the rows of a table that have a caption, with the files of their images.

    A key is the file's name without its ending, if all of these differ and are plain; else all keys are row numbers.
    """
    table = _read(job)
    bases = [posixpath.basename(path) for path in table["path"].to_pylist()]
    keys = ids_of(pa.array(bases, pa.string())).to_pylist()
    if len(set(keys)) < len(keys) or not all(map(_PLAIN.fullmatch, keys)):
        keys = [f"{row:09d}" for row in range(len(keys))]
    labels, class_names = _labels(job, table)
    table = table.append_column("key", pa.array(keys, pa.string())).append_column("number", labels)
    warn_of_blindness(job.settings.deny, table)
    table, denied = job.settings.deny.drop(table)
    job.count("denied", len(denied))
    captioned = pa.array([bool(text) for text in table["caption"].to_pylist()], pa.bool_())
    job.count("empty", len(table) - captioned.true_count)
    table = require_rows(job, table.filter(captioned))
    rows = {"image_id": table["key"], "caption": table["caption"], "label": table["number"], "json": table["json"]}
    return Samples(pa.table(rows), _ranges(job, table["path"].to_pylist()), class_names)


def _read(job: Export) -> pa.Table:
    batches: list[pa.RecordBatch] = []
    for file in expand_pattern(job.source) or [require_file(job.source, "the table")]:
        names: dict[str, str] = {}
        for rows in in_batches(_rows(file), _ROWS_AT_ONCE):
            names = names or _columns(job, list(dict.fromkeys(name for row in rows for name in row)))
            if not batches:
                log.info("%s: %s", job.source, ", ".join(f"{part} from {name}" for part, name in names.items()))
            batches.append(pa.RecordBatch.from_pylist([_texts(row, names) for row in rows], _ROW))
    table = pa.Table.from_batches(batches, _ROW)
    job.counts["rows"] = len(table)
    if not len(table):
        raise InputError(f"{job.source} holds no rows; give a table with a row an image")
    return table


def _rows(file: Place) -> Iterator[dict[str, Any]]:
    """Yield the rows; those of Parquet without columns of bytes, such as images."""
    if file.name.lower().endswith(_PARQUET):
        names = [field.name for field in read_schema(file) if "binary" not in str(field.type)]
        for batch in read_files([file], _ROWS_AT_ONCE, names):
            yield from batch.to_pylist()
    elif file.name.lower().endswith(_JSON_LINES):
        with open_watched(file, f"read {file.name}") as opened:
            for number, line in enumerate(opened, start=1):
                if (row := json_object(line)) is not None:
                    yield row
                elif line.strip():
                    raise InputError(f"line {number:,} of {file} is not a JSON object; write one object a line")
    else:
        table = SeparatedTable(file, fill=True)
        for batch in table.batches(_ROWS_AT_ONCE):
            yield from batch.to_pylist()
        table.require_all()


def _columns(job: Export, found: Sequence[str]) -> dict[str, str]:
    """Return the table's columns of paths and captions, and of labels and classes if it has them."""
    names = {part: name for part, known in _COLUMNS.items() if (name := next((n for n in known if n in found), None))}
    for part, name in zip(_COLUMNS, job.settings.columns or (), strict=False):
        if name not in found:
            raise unknown_name(f"column of {job.source}", name, found)
        names[part] = name
    for part, what in (("path", "image paths"), ("caption", "captions")):
        if part not in names:
            raise InputError(
                f"{job.source} has no column of {what} ({', '.join(_COLUMNS[part])}), but "
                f"{shortened(', '.join(found), 200)}; name those of paths and captions with `columns`"
            )
    return names


def _texts(row: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of a row that are needed as texts, and all as JSON."""
    texts = {part: _text(row.get(name)) for part, name in names.items()}
    denied_by = {name: _text(row[name]) for name in _DENIED_BY if row.get(name) is not None}
    said = json.dumps(_plain(row), ensure_ascii=False).encode("utf-8", "replace")
    return {**texts, **denied_by, "image_id": image_id(texts["path"]), "json": said}


def _text(value: Any) -> str:
    """Return a value as text: "" for none, and a line for each of several."""
    if isinstance(value, list):
        return "\n".join(filter(None, map(_text, value)))
    return "" if value is None else str(value).strip()


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it, with null for NaN."""
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | None) else str(value)


def _labels(job: Export, table: pa.Table) -> tuple[pa.Array, list[str]]:
    """Return the label of each row, null for none, and the names of the classes, "" for an unknown one.

    Numbers stay as they are. Other labels, or else the names of classes, are numbered in their sorted order.
    """
    labels, keys = (list(map(_label, table[name].to_pylist())) for name in ("label", "class"))
    if any(labels) and all(re.fullmatch("[0-9]{0,9}", text) for text in labels):
        classes, numbers = by_number(pa.array([int(text) if text else None for text in labels], pa.int64()), None)
        known = {number: class_of(key).name for number, key in zip(numbers.tolist(), keys, strict=True) if key}
        names = [known.get(number, "") for number in range(len(classes or ()))]
    else:
        classes, numbers = by_key(pa.array(labels if any(labels) else keys, pa.string()))
        names = [class_.name for class_ in classes or ()]
    if job.settings.clip_benchmark is not None and not (names and all(names)):
        raise InputError(
            f"`clip_benchmark` needs a name for every class, and {job.source} lacks {names.count('') or 'all'} of "
            "them; give it a column class_name or wnid, and labels that count the classes from 0 or none"
        )
    return pa.array(numbers, pa.int64(), mask=numbers < 0), names


def _label(text: str | None) -> str:
    """Return a label, "" for none: -1, or NaN, beside which pandas writes 7 as 7.0."""
    text = re.sub(r"^(-?[0-9]+)\.0$", r"\1", text or "")
    return "" if text in ("-1", "nan") else text


def _ranges(job: Export, paths: Sequence[str]) -> list[ByteRange | None]:
    """Return the file of each image, None if it is missing; relative paths start at `images` or the table's folder."""
    root = job.settings.images or (expand_pattern(job.source) or [job.source])[0].parent
    if job.settings.images is not None and not root.is_dir():
        raise InputError(f"{job.source} names files, and `images` {root} is not a folder of them; unpack it first")
    there = {name: ByteRange(str(file), 0, size) for file, name, size, _ in root.below()} if is_remote(root) else None
    ranges = [_file(root, path, there) for path in paths]
    job.count("no_image", ranges.count(None))
    if ranges.count(None) == len(ranges):
        first = next(filter(None, paths), "")
        advice = f"check the paths, which start at {root}, or give another folder with `images`"
        if is_url(first):
            advice = "download them, and give their folder with `images` and their file names in the table"
        raise InputError(
            f"none of the {len(paths):,} images that {job.source} names is there, such as {shortened(first)}; {advice}"
        )
    return ranges


def _file(root: Place, path: str, there: Mapping[str, ByteRange] | None) -> ByteRange | None:
    if there is not None and not path.startswith("/"):
        return there.get(posixpath.normpath(path.removeprefix(f"{root}/")))
    full = os.path.join(str(root), path)  # noqa: PTH118
    try:
        found = os.stat(full)  # noqa: PTH116
    except (OSError, ValueError):  # ValueError for a zero byte
        return None
    return ByteRange(full, 0, found.st_size) if stat.S_ISREG(found.st_mode) else None
