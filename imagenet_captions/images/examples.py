"""Labeled images for training and evaluation, in any layout: encoded images with labels and texts, by row."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.captions import mentions
from imagenet_captions.dataset.shards import Shards
from imagenet_captions.engines.local import LOCAL, in_batches
from imagenet_captions.errors import InputError, quoted, shortened
from imagenet_captions.imagenet import classes as imagenet
from imagenet_captions.imagenet.image_ids import IMAGE_ENDING, IMAGE_SUFFIXES, WNID, image_id, is_wnid, wnid_of
from imagenet_captions.imagenet.spellings import plurals
from imagenet_captions.images.files import Kind, image_files, layout_of, nearest_wnid, wnid_in
from imagenet_captions.images.reading import ColumnImages, FileImages, Integers, OpenFiles, table_of
from imagenet_captions.images.tables import (
    SeparatedTable,
    UnreadablePages,
    field_of,
    find_image_column,
    image_file,
    images_in_place,
    is_bytes,
    paths_only,
)
from imagenet_captions.images.tars import Member, TarReader, json_object, read_samples
from imagenet_captions.storage.outputs import is_dataset
from imagenet_captions.storage.parquet import read_metadata, read_schema, read_table, through_cache
from imagenet_captions.storage.places import Place
from imagenet_captions.storage.progress import track

Content = TypeVar("Content", covariant=True)

# What columns are called; of each kind the first that a table has counts.
_IDS = ("image_id", "__key__", "key")
_FILES = ("filepath", "image_path", "file_name", "filename", "image", "path")
_LABELS, _CLASSES = ("label", "labels", "cls", "target"), ("wnid", "class_name", "class")
_TEXTS, _CAPTIONS = ("title", "description", "tags", "caption"), ("caption", "txt", "text")
_DOMAIN = "domain"

LARGEST_IN_MEMORY = 1 << 30  # bytes of images
_MOST_CLASSES = 1_000_000
_BATCH, _TEXTS_AT_ONCE = 1 << 16, 10_000
_SHARDS_AT_ONCE = 8  # the time goes into waiting for a disk
_LONGEST_LABEL = 20
_SPLITS = re.compile(r"(train(?:ing)?|test|val(?:id(?:ation)?)?|dev)(?:[-_.].*)?", re.IGNORECASE)
# A canonical id below any folders; ILSVRC/imagenet-1k repeats the class behind it.
_IMAGENET_NAME = rf"^(?:.*[/\\])?({WNID}_[0-9]{{1,9}})(?:_{WNID})?{IMAGE_ENDING}?$"


class Class(NamedTuple):
    """The class of a label: `key` is a wnid or a folder's name, `name` is for people and captions."""

    key: str
    name: str


@dataclass(frozen=True)
class Texts:
    """The texts of one image; a missing one is empty."""

    title: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    caption: str = ""


class Reader(Protocol[Content]):
    """Reads the images, or the texts, of a source by row."""

    def read(self, row: int) -> Content: ...


@dataclass(frozen=True)
class Examples:
    """Images by row, each with its label and texts. Worker processes get a copy and open the files themselves.

    `classes` is None if no row has a label; `labels` are indices into `classes`, -1 for an unknown label. `left_out`
    counts the rows of the source that have no image. `rows` are the rows of `ids`, `images`, `stored_texts` and
    `stored_domains` that belong to the examples, None for all.
    """

    source: Place
    classes: tuple[Class, ...] | None
    labels: Integers
    ids: pa.Array | pa.ChunkedArray
    images: Reader[bytes]
    stored_texts: Reader[Texts] | None = None
    left_out: int = 0
    stored_domains: Sequence[str] | None = None
    rows: Integers | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def image_id(self, index: int) -> str:
        """Return the image's id: ImageNet's if its name has one, else its path or key."""
        return str(self.ids[self._row(index)].as_py())

    def image(self, index: int) -> bytes:
        """Return the image as it is stored, not decoded."""
        return self.images.read(self._row(index))

    def texts(self, index: int) -> Texts:
        """Return the image's texts."""
        return Texts() if self.stored_texts is None else self.stored_texts.read(self._row(index))

    @property
    def domains(self) -> list[str] | None:
        """The domain of each image, "" for none; None for a source without a column `domain`."""
        stored = self.stored_domains
        return None if stored is None else [stored[self._row(index)] for index in range(len(self))]

    def _row(self, index: int) -> int:
        return index if self.rows is None else int(self.rows[index])


def select(examples: Examples, rows: Sequence[int] | Integers) -> Examples:
    """Return the examples of these rows, in this order; classes and their numbers stay the same."""
    chosen = np.asarray(rows, np.int64)
    of_source = chosen if examples.rows is None else examples.rows[chosen]
    return replace(examples, labels=examples.labels[chosen], rows=of_source)


def only_ids(examples: Examples, ids: Collection[str]) -> Examples:
    """Return the examples with these image ids, in their own order.

    Raises InputError for ids without an image, as in a list made from another set, so that no run trains on fewer.
    """
    wanted = frozenset(ids)
    rows = [row for row in range(len(examples)) if examples.image_id(row) in wanted]
    missing = wanted.difference(map(examples.image_id, rows))
    if missing:
        raise InputError(
            f"{len(missing):,} of {len(wanted):,} ids are not in {examples.source}, such as {quoted(min(missing))}; "
            "give a list of ids that was made from it"
        )
    return select(examples, rows)


def require_classes(examples: Examples) -> tuple[Class, ...]:
    """Return the classes; raises InputError if an image has no label."""
    unknown = int(np.count_nonzero(examples.labels < 0))
    if examples.classes is None or unknown == len(examples):
        raise InputError(
            f"{examples.source} has no labels; give a set with a column label or class_name, .cls members, "
            "or folders named for the classes"
        )
    if unknown:
        raise InputError(f"{unknown:,} images of {examples.source} have no label; leave them out, with `ids` for one")
    return examples.classes


def classes_without_images(examples: Examples) -> tuple[Class, ...]:
    """Return the classes without images."""
    present = set(examples.labels.tolist())
    return tuple(class_ for label, class_ in enumerate(examples.classes or ()) if label not in present)


Labelled = tuple[tuple[Class, ...] | None, Integers]


def class_of(key: str) -> Class:
    """Return the class with this key; a wnid of ImageNet gets its name there."""
    known = imagenet.find(key)
    return Class(key, key if known is None else known.name)


def named_classes(names: Sequence[str]) -> tuple[Class, ...]:
    """Return the classes for a list of names: ImageNet's, if these are the names of the 1000 in their order."""

    def means(name: str, wnid: str) -> bool:
        class_ = imagenet.by_wnid(wnid)
        first = name.split(",")[0].strip().lower()  # ILSVRC/imagenet-1k has names such as "tench, Tinca tinca"
        return first in map(str.lower, (class_.name, *class_.lemmas))

    if len(names) == len(imagenet.wnids()) and all(map(means, names, imagenet.wnids())):
        names = imagenet.wnids()
    return tuple(map(class_of, names))


def _by_key(keys: pa.Array | pa.ChunkedArray, extra: Iterable[str] = ()) -> Labelled:
    """Return labels for rows that name their class (null or "" for none), and the classes, sorted as names or numbers.

    Sorted wnids have ImageNet's labels if all 1000 are there. `extra` are classes that no row names.
    """
    every = sorted({*filter(None, keys.unique().to_pylist()), *extra})
    if every and all(key.isascii() and key.isdigit() for key in every):
        every.sort(key=int)
    places = pc.index_in(keys, value_set=pa.array(every, pa.string()))
    return tuple(map(class_of, every)) or None, np.asarray(pc.fill_null(places, -1), np.int64)


def _by_number(numbers: pa.Array | pa.ChunkedArray, names: Sequence[str] | None) -> Labelled:
    labels = np.asarray(pc.fill_null(numbers.cast(pa.int64()), -1), np.int64)
    highest = int(labels.max(initial=-1))
    if highest < 0:
        return None, labels
    if highest >= (len(names) if names else _MOST_CLASSES):
        raise InputError(f"the label {highest} belongs to no class; labels count the classes from 0")
    return named_classes(names or [str(number) for number in range(highest + 1)]), labels


def _labels(columns: Mapping[str, Any], rows: int, names: Sequence[str] | None = None) -> Labelled:
    """Return the labels in the columns of a table: numbers, which `names` or a column beside them name, or names."""
    numbers, keys = _first(columns, _LABELS), _first(columns, _CLASSES)
    if numbers is None or not pa.types.is_integer(numbers.type):
        given = numbers if keys is None else keys
        if given is None:
            return None, np.full(rows, -1, np.int64)
        return _by_key(given.cast(pa.string()))
    classes, labels = _by_number(numbers, names)
    if names is None and classes is not None and keys is not None:
        found, first = np.unique(labels, return_index=True)
        beside = dict(zip(found.tolist(), keys.take(pa.array(first)).to_pylist(), strict=True))
        classes = tuple(class_of(beside.get(label) or str(label)) for label in range(len(classes)))
    return classes, labels


def _first(columns: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((columns[name] for name in names if name in columns), None)


def _ids_of(names: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return the ids in paths or keys: ImageNet's if a name has one, else the name without an image's ending."""
    ids = pc.replace_substring_regex(names, _IMAGENET_NAME, r"\1")
    return pc.replace_substring_regex(ids, f"{IMAGE_ENDING}$", "")


@dataclass(frozen=True)
class TextColumns:
    """Texts in Arrow columns."""

    columns: Mapping[str, Any]

    def read(self, row: int) -> Texts:
        return _texts_in({name: column[row].as_py() for name, column in self.columns.items()})


class SampleTexts:
    """The texts of samples, from .txt (the caption) and .json (title, description, tags, caption)."""

    def __init__(self, paths: pa.Array, files: npt.NDArray[np.int32], ranges: Integers) -> None:
        self._paths, self._files, self._ranges = paths, files, ranges
        self._open = OpenFiles()

    def read(self, row: int) -> Texts:
        texts, caption = _texts_in(self.said(row)), self._member(row, 0)
        return texts if caption is None else replace(texts, caption=caption.decode("utf-8", "replace").strip())

    def said(self, row: int) -> dict[str, Any]:
        """Return the content of the sample's .json; empty if it is missing or cannot be read."""
        return json_object(self._member(row, 2) or b"") or {}

    def _member(self, row: int, at: int) -> bytes | None:
        offset, size = self._ranges[row, at : at + 2].tolist()
        if size < 0:
            return None
        return self._open.read(self._paths[int(self._files[row])].as_py(), offset, size)


def _texts_in(said: Mapping[str, Any]) -> Texts:
    plain = {name: said[name] for name in ("title", "description", "caption") if isinstance(said.get(name), str)}
    tags = said.get("tags") or ()
    return Texts(**plain, tags=(tags,) if isinstance(tags, str) else tuple(map(str, tags)))


def open_examples(source: Place) -> Examples:
    """Open the images at `source`; the files themselves show the layout.

    The layouts are one of our dataset folders; Parquet (a file, or a folder of one split's files) with an image column;
    WebDataset shards (a .tar, a folder of them, or a pattern such as shards/{00000..00012}.tar); open_clip's CSV or
    TSV; a folder of images, in folders named for their classes or not.

    Raises InputError if it is none of these, or has no images.
    """
    if is_dataset(source):
        return _in_parquet(source, Shards(source).files())
    layout = layout_of(source)
    files = layout.files
    if layout.kind is Kind.FOLDER:
        return _in_folder(source)
    splits = sorted({split[1].lower() for file in files if (split := _SPLITS.fullmatch(file.name))})
    if source.is_dir() and len(splits) > 1:
        raise InputError(
            f"{source} holds the splits {' and '.join(splits)}; give one of them, "
            f"such as {splits[0]}-*{files[0].suffix}"
        )
    if layout.kind is Kind.PARQUET:
        return _in_parquet(source, files)
    if layout.kind is Kind.TAR:
        return _in_shards(source, files)
    if files[0].suffix.lower() in (".csv", ".tsv", ".txt") and len(files) == 1:
        return _in_separated(files[0])
    raise InputError(
        f"{files[0]} holds no images that can be read; give a dataset folder of ours, Parquet with an image column, "
        "WebDataset .tar shards, open_clip's .csv or .tsv, or a folder of images"
    )


def _in_folder(source: Place) -> Examples:
    """Return the images below a folder, in the order of their names.

    An image's class is the nearest folder around it whose name is a wnid, else the outermost folder. For an image
    outside folders it is the wnid in the file's name, if there is one. The classes are sorted, and include those of
    empty folders.
    """
    around = wnid_in(source.resolve().name)

    def row(path: str, name: str) -> dict[str, Any]:
        outermost, _, inside = name.partition("/")
        of_name = wnid_of(name) if is_wnid(wnid_of(name)) and name[9:10] == "_" else around
        key = nearest_wnid(name) or outermost if inside else of_name
        return {"path": os.fsencode(path), "name": name, "key": key}

    schema = pa.schema([("path", pa.binary()), ("name", pa.string()), ("key", pa.string())])
    rows = (row(file.path, file.name) for file in image_files(source))
    batches = [pa.RecordBatch.from_pylist(batch, schema) for batch in in_batches(rows, _BATCH)]
    table = pa.Table.from_batches(batches, schema)
    keys = table["key"].drop_null().unique().to_pylist()
    if len(keys) > 1 and all(map(_SPLITS.fullmatch, keys)):
        raise InputError(f"{source} holds the folders {' and '.join(sorted(keys))}; give one of them")
    folders = [each.name for each in source.iterdir() if each.is_dir()]
    outer = {name for name in folders if not name.startswith((".", "__MACOSX"))}
    known = not table["key"].null_count and outer.issuperset(keys)
    classes, labels = _by_key(table["key"], outer if known else ())
    return Examples(source, classes, labels, _ids_of(table["name"]), FileImages(table["path"]))


def _in_separated(source: Place) -> Examples:
    read = SeparatedTable(source)
    known = {*_FILES, *_TEXTS, *_CAPTIONS, *_LABELS, *_CLASSES}
    schema = pa.schema([field for field in read.schema if field.name in known])
    batches = (batch.select(schema.names) for batch in read.batches(_BATCH))
    table = pa.Table.from_batches(batches, schema).combine_chunks()
    read.require_all()
    if not len(table):
        raise InputError(f"{source} holds no rows; give a file with a header and a row an image")
    columns = {name: pc.utf8_trim_whitespace(table[name]) for name in schema.names}
    paths, caption = _first(columns, _FILES), _first(columns, ("title", *_CAPTIONS))
    if paths is None:
        raise InputError(f"{source} has no column of images; call one of its columns filepath, as open_clip does")
    first, folder = paths[0].as_py(), source.resolve().parent
    if not (folder / first).is_file() and Path(first).is_file():  # where open_clip looks for it
        folder = Path.cwd()
    full = pc.binary_join_element_wise(folder.as_posix().rstrip("/"), paths, "/")
    full = pc.if_else(pc.starts_with(paths, "/"), paths, full)
    if not (named := Path(full[0].as_py())).is_file():  # another missing one shows when it is read
        raise InputError(
            f"{source} names {shortened(named, 200)} in its first row, which is not a file; paths are relative to the "
            "file's folder or the working directory"
        )
    numbers = _first(columns, _LABELS) if _first(columns, _CLASSES) is None else None
    if numbers is not None and pc.all(pc.match_substring_regex(numbers, r"^(?:[0-9]{1,9})?$")).as_py():
        columns["label"] = pc.if_else(pc.equal(numbers, ""), None, numbers).cast(pa.int64())
    classes, labels = _labels(columns, len(full))
    texts = None if caption is None else TextColumns({"caption": caption})
    return Examples(source, classes, labels, _ids_of(paths), FileImages(full), texts)


def _in_shards(source: Place, tars: Sequence[Place]) -> Examples:
    """Return the samples of WebDataset shards that have an image; the others are left out and counted."""
    indexed = LOCAL.run(_index, tars, min(_SHARDS_AT_ONCE, len(tars)), threads=True)
    keys, labels, ranges, left_out = zip(*track(indexed, "index", len(tars), "shards"), strict=True)
    files = np.repeat(np.arange(len(tars), dtype=np.int32), list(map(len, labels)))
    if not len(files):
        raise InputError(
            f"{source} holds no sample with an image ({', '.join(sorted(IMAGE_SUFFIXES))}); check the path"
        )
    all_ranges, paths = np.concatenate(ranges), pa.array(map(str, tars), pa.string())
    texts = SampleTexts(paths, files, all_ranges[:, 2:])
    ids = _ids_of(pa.chunked_array(keys, pa.string()))
    classes, numbers = _sample_classes(tars[0].parent, np.concatenate(labels), ids, texts)
    images = FileImages(paths, files, all_ranges[:, :2].copy())
    return Examples(source, classes, numbers, ids, images, texts, sum(left_out))


def _index(path: Place) -> tuple[pa.Array, Integers, Integers, int]:
    """Return keys, labels, offset and size of image, .txt and .json of a shard's samples; how many have no image."""
    keys, labels, ranges, left_out = [], [], [], 0
    absent = Member("", 0, -1)
    with TarReader(path) as tar:
        for sample in read_samples(tar, {"cls"}, _LONGEST_LABEL):
            if not (images := sample.images()):
                left_out += 1
                continue
            label = sample.label()
            keys.append(sample.key)
            labels.append(-1 if label is None else label)
            text, said = (sample.members.get(name, absent) for name in ("txt", "json"))
            ranges.append((*images[0][1:], *text[1:], *said[1:]))
    places = np.array(ranges, np.int64).reshape(-1, 6)
    return pa.array(keys, pa.string()), np.array(labels, np.int64), places, left_out


def _sample_classes(folder: Place, numbers: Integers, ids: pa.ChunkedArray, texts: SampleTexts) -> Labelled:
    # CLIP_benchmark has classnames.txt one folder above the shards of a split.
    beside = [folder / "classnames.txt", folder / "classes.txt", folder.resolve().parent / "classnames.txt"]
    if listed := next((path for path in beside if path.is_file()), None):
        return _by_number(pa.array(numbers), listed.read_text(encoding="utf-8").splitlines())
    # Else they are ImageNet's if samples of several classes agree with those: many sets have a class 0.
    labelled = np.flatnonzero(numbers >= 0)
    _, first = np.unique(numbers[labelled], return_index=True)
    looked_at = labelled[first[:: max(1, len(first) // 8)]].tolist()
    for row in looked_at:
        said = texts.said(row)
        named = image_id(ids[row].as_py()) or image_id(str(said.get("filename")))
        if imagenet.index_of(wnid_of(named) if named else str(said.get("wnid"))) != numbers[row]:
            return _by_number(pa.array(numbers), None)
    return (named_classes(imagenet.wnids()) if looked_at else None), numbers


def _in_parquet(source: Place, files: Sequence[Place]) -> Examples:
    """Return the images of Parquet files with an image column; rows without an image are left out and counted."""
    schema = read_schema(files[0])
    if other := next((file for file in files if read_schema(file).names != schema.names), None):
        raise InputError(f"{other} has other columns than {files[0]}; give the files of one table")
    image = _image_column(source, schema)
    kept, paths, images = _stored_images(files, image)
    count, taken = len(paths), pa.array(kept)
    if not len(kept):
        paths = paths.drop_null()
        raise paths_only(source, paths[0].as_py()) if len(paths) else InputError(f"no row of {source} has an image")
    columns = _columns(files, schema, image)
    if len(kept) < count:
        columns, paths = {name: column.take(taken) for name, column in columns.items()}, paths.take(taken)
    classes, labels = _labels(columns, len(kept), _class_label(schema))
    ids = _first(columns, _IDS)
    if ids is None:
        ids = pa.array([f"{row:08d}" for row in kept.tolist()]) if paths.null_count else paths
    ids = _ids_of(ids.cast(pa.string()))
    texts = TextColumns({name: columns[name] for name in _TEXTS if name in columns})
    domains = columns.get(_DOMAIN)
    domains = None if domains is None else pc.fill_null(domains.cast(pa.string()), "").to_pylist()
    return Examples(source, classes, labels, ids, images, texts, count - len(kept), domains)


def _image_column(source: Place, schema: pa.Schema) -> str:
    if (column := find_image_column(schema)) is not None:
        return column
    for name in ("image", *sorted(suffix[1:] for suffix in IMAGE_SUFFIXES)):
        if name in schema.names and is_bytes(schema.field(name).type):
            return name
    if is_dataset(source):
        raise InputError(
            f"{source} holds texts without images; build or package it again with `images`, or filter without "
            "`without_images`"
        )
    has = ", ".join(schema.names)
    raise InputError(f"{source} has no column of images (bytes, or bytes and path); it has {has}")


def _columns(files: Sequence[Place], schema: pa.Schema, image: str) -> dict[str, pa.ChunkedArray]:
    known = {*_IDS, *_LABELS, *_CLASSES, *_TEXTS, *_CAPTIONS, _DOMAIN} - {image}
    flat = [each.name for each in schema if each.name == "tags" or not pa.types.is_nested(each.type)]
    wanted = [name for name in flat if name in known]
    table = pa.concat_tables([read_table(file, wanted).replace_schema_metadata() for file in files])
    columns = dict(zip(table.column_names, table.columns, strict=True))
    caption = _first(columns, _CAPTIONS)
    return columns if caption is None else {**columns, "caption": caption}


def _class_label(schema: pa.Schema) -> list[str] | None:
    """Return the names of a ClassLabel from the schema's metadata, which `datasets` writes."""
    column = next((name for name in _LABELS if name in schema.names), "")
    try:
        names = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return list(map(str, names)) if isinstance(names, list) else None


def _stored_images(files: Sequence[Place], image: str) -> tuple[Integers, pa.Array, Reader[bytes]]:
    """Return the rows that have an image, the names of all rows' images, and the reader of those that there are.

    They are read in place if the files store them uncompressed, which spares a copy of ImageNet's 51 GB; else from
    memory or the cache of `datasets`.
    """
    try:
        names, ranges = zip(*(images_in_place(file, image) for file in files), strict=True)
    except UnreadablePages:
        pass
    else:
        paths = pa.concat_arrays(names)
        owners = np.repeat(np.arange(len(files), dtype=np.int32), list(map(len, ranges)))
        images = FileImages(pa.array(map(str, files), pa.string()), owners, np.concatenate(ranges))
        return np.flatnonzero(paths.is_valid()), paths, images
    small = sum(file.stat().st_size for file in files) <= LARGEST_IN_MEMORY
    data: Any = (
        pa.concat_tables([read_table(file, [image]) for file in files]) if small else through_cache(files, [image])
    )
    column = table_of(data).column(0)
    paths = pa.nulls(len(column), pa.string())
    if pa.types.is_struct(column.type) and column.type.get_field_index("path") >= 0:
        paths = field_of(column, "path").cast(pa.string()).combine_chunks()
    # A row without bytes may name a file.
    has = field_of(column, "bytes").is_valid().to_numpy()
    tables = chain.from_iterable([file] * read_metadata(file).num_rows for file in files)
    rows = zip(has.tolist(), tables, paths.to_pylist(), strict=True)
    found = [None if stored or (at := image_file(file, path)) is None else str(at) for stored, file, path in rows]
    beside = pa.array(found, pa.string())
    kept = np.flatnonzero(has | np.asarray(beside.is_valid()))
    return kept, paths, ColumnImages(data, kept, beside.take(pa.array(kept)) if any(found) else None)


@dataclass(frozen=True)
class ClassCount:
    """A class of labeled data: the images that have its label, and the captions that name it."""

    class_: Class
    images: int
    mentions: int


def find_named(texts: Iterable[Texts], classes: Sequence[Class]) -> Iterator[list[int]]:
    """Yield for each row the classes that it names, as indices into `classes`.

    ImageNet's classes are found by all their names, as `label-by-text` finds them; other ones by their own name.

    >>> animals = [Class("cat", "cat"), Class("dog", "dog")]
    >>> list(find_named([Texts(title="My cats"), Texts(title="cat", tags=("dog",)), Texts(caption="a fish")], animals))
    [[0], [0, 1], []]
    """
    labels = {wnid: label for label, wnid in enumerate(imagenet.wnids())}
    known = {labels[each.key]: place for place, each in enumerate(classes) if each.key in labels}
    patterns = {
        place: re.compile(r"\b(?:" + "|".join(map(re.escape, (each.name, *plurals(each.name)))) + r")\b", re.IGNORECASE)
        for place, each in enumerate(classes)
        if each.key not in labels
    }
    for batch in in_batches(texts, _TEXTS_AT_ONCE):
        named: list[set[int]] = [set() for _ in batch]
        if known:
            fields = [
                pa.array([text.title or text.caption for text in batch], pa.string()),
                pa.array([text.description for text in batch], pa.string()),
                pa.array([list(text.tags) for text in batch], pa.list_(pa.string())),
            ]
            mentioned = mentions.matcher().find(mentions.join_fields(fields)).to_pylist()
            named = [{known[label] for label in found if label in known} for found in mentioned]
        for row, text in zip(named, batch if patterns else (), strict=False):
            joined = "\n".join((text.title, text.description, *text.tags, text.caption))
            row.update(place for place, pattern in patterns.items() if pattern.search(joined))
        yield from map(sorted, named)
