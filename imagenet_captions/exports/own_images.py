"""The images that a dataset itself holds, where they can be read one by one in any order."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.dataset.parquet_pages import UnreadablePages, values_in
from imagenet_captions.errors import InputError
from imagenet_captions.images.sources import ByteRange
from imagenet_captions.storage.parquet import parquet_file
from imagenet_captions.storage.places import is_remote
from imagenet_captions.storage.remote import RemotePath

_COLUMN = "image.bytes"


def byte_ranges_in_shards(shards: Sequence[Path]) -> dict[str, ByteRange]:
    """Where in a dataset's shards the bytes of each image lie, by image id.

    A shuffled order would otherwise decode a row group of hundreds of images for each one, or copy all of them first.
    Raises InputError for shards that this package did not write.
    """
    ranges: dict[str, ByteRange] = {}
    for shard in shards:
        try:
            if is_remote(shard):
                ranges |= _ranges_in(shard, partial(_values_in_object, shard))
                continue
            with shard.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                ranges |= _ranges_in(shard, partial(values_in, mapped))
        except (UnreadablePages, IndexError, KeyError):
            raise InputError(
                f"the images in {shard} are damaged, which `imagenet-captions verify {shard.parent.parent}` tells, or "
                "not stored as this version stores them; package the dataset again, or give `images`"
            ) from None
    return ranges


def _values_in_object(shard: RemotePath, start: int, size: int, nullable: bool) -> Iterator[tuple[int, int]]:
    """The same for a shard behind a URL: the lengths lie between the images, so the chunk is read for them."""
    chunk = shard.fetch(start, start + size)
    return ((start + offset, length) for offset, length in values_in(chunk, 0, size, nullable))


def _ranges_in(shard: Path, values_of: Callable[[int, int, bool], Iterator[tuple[int, int]]]) -> dict[str, ByteRange]:
    found: dict[str, ByteRange] = {}
    with parquet_file(shard) as opened:
        metadata = opened.metadata
        (column,) = [at for at in range(metadata.num_columns) if metadata.schema.column(at).path == _COLUMN]
        nullable = metadata.schema.column(column).max_definition_level > 0
        for number in range(metadata.num_row_groups):
            chunk = metadata.row_group(number).column(column)
            if chunk.compression != "UNCOMPRESSED" or chunk.has_dictionary_page:
                raise UnreadablePages
            ids = _with_image(opened.read_row_group(number, columns=["image_id", "image.path"]))
            values = list(values_of(chunk.data_page_offset, chunk.total_compressed_size, nullable))
            if len(ids) != len(values):
                raise UnreadablePages
            name = str(shard)
            found |= {image_id: ByteRange(name, *value) for image_id, value in zip(ids, values, strict=True)}
    return found


def _with_image(rows: pa.Table) -> list[str]:
    """The ids of the rows that have an image: those that have its name."""
    ids: list[str] = rows.filter(pc.struct_field(rows["image"], "path").is_valid())["image_id"].to_pylist()
    return ids
