"""Byte ranges of the images inside a dataset, so that they can be read one by one in any order."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow.compute as pc

from imagenet_captions.errors import InputError
from imagenet_captions.images.readers.parquet_pages import UnreadablePages, byte_ranges
from imagenet_captions.images.sources import ByteRange
from imagenet_captions.storage.parquet import read_files
from imagenet_captions.storage.places import Place

_COLUMN = "image.bytes"


def byte_ranges_in_shards(shards: Sequence[Place]) -> dict[str, ByteRange]:
    """Return the byte range of each image in the shards of a dataset, by image id.

    In a shuffled order every image would otherwise cost the decoding of a row group with hundreds of them.
    Raises InputError for shards that this package did not write.
    """
    ranges: dict[str, ByteRange] = {}
    for shard in shards:
        try:
            ids, places = _ids_with_image(shard), list(byte_ranges(shard, _COLUMN))
            if len(ids) != len(places):
                raise UnreadablePages
        except (UnreadablePages, IndexError, KeyError):
            raise InputError(
                f"the images in {shard} are damaged, which `imagenet-captions verify {shard.parent.parent}` tells, or "
                "not stored as this version stores them; package the dataset again"
            ) from None
        name = str(shard)
        ranges |= {image_id: ByteRange(name, *place) for image_id, place in zip(ids, places, strict=True)}
    return ranges


def _ids_with_image(shard: Place) -> list[str]:
    """Return the ids of the rows that have an image, which are those with the name of one."""
    ids: list[str] = []
    for rows in read_files([shard], columns=["image_id", "image.path"]):
        ids += rows.filter(pc.struct_field(rows["image"], "path").is_valid())["image_id"].to_pylist()
    return ids
