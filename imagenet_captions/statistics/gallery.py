"""The gallery of the HTML report: a sample of rows, spread over the classes, with small pictures."""

from __future__ import annotations

import base64
import heapq
import io
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, ImageOps

from imagenet_captions.dataset.manifest import shard_files
from imagenet_captions.dataset.sampling import sampling_key
from imagenet_captions.flickr.photos import LICENSES, License
from imagenet_captions.imagenet.image_ids import wnid_of
from imagenet_captions.images.sources import ImageIndex
from imagenet_captions.statistics.collect import read_tables
from imagenet_captions.statistics.thumbnails import Thumbnails
from imagenet_captions.storage.parquet import parquet_file
from imagenet_captions.storage.places import Place
from imagenet_captions.storage.progress import progress

_COLUMNS = tuple(
    "image_id wnid class_name title description tags language photo_id owner_name license photo_page".split()
)
_SIDE, _QUALITY = 320, 72  # of a small picture: about 12 KB
_MOST_PIXELS = 60_000_000  # ImageNet's largest has 18 million
_LONGEST_TEXT = 2000  # of a description in the page
_ROWS_AT_ONCE = 32  # images in memory at a time
_PAGE = re.compile(r"https?://(?:www\.)?flickr\.com/[A-Za-z0-9@/_.%-]+")


@dataclass(frozen=True)
class Picture:
    """A small JPEG, as a data URL."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Card:
    """One row in the gallery."""

    image_id: str
    wnid: str
    class_name: str
    title: str
    description: str
    tags: tuple[str, ...]
    language: str | None
    owner: str | None
    license: License | None
    page: str | None  # the photo's page on Flickr
    picture: Picture | None
    left_out: str = ""  # why an image that is there is not shown

    @property
    def alt(self) -> str:
        """Return the text shown in place of the picture."""
        return f"{self.class_name}: {self.title[:120]}" if self.title else f"Photo of class {self.class_name}"


def gallery(dataset: Place, images: ImageIndex | None, count: int, thumbnails: Thumbnails) -> list[Card]:
    """Choose rows by a hash of their ids, spread over the classes; only rows with an image, if any has one.

    `thumbnails` decides which of them show their photo; the others show the reason.
    """
    files = shard_files(dataset)
    pictured = choose(_with_image(files, images), count)
    chosen = pictured or choose(_ids(files), count)
    rows = _rows(files, chosen)
    left_out = {image_id: thumbnails.refuses(row["license"]) for image_id, row in rows.items() if pictured}
    shown = {image_id: row for image_id, row in rows.items() if left_out.get(image_id) == ""}
    pictures = _pictures(files, shown, images)
    return [_card(rows[each], pictures.get(each), left_out.get(each, "")) for each in chosen if each in rows]


def choose(image_ids: Iterable[str], count: int) -> list[str]:
    """Choose from ids: one of every class, then a second one, and so on.

    A hash of the id decides the order within a class and within a round, so the choice is the same everywhere.

    >>> choose(["n01440764_1", "n01440764_2", "n01443537_7"], 2)
    ['n01440764_1', 'n01443537_7']
    """
    ranked: list[tuple[int, bytes, str]] = []
    for _, ids in groupby(sorted(image_ids), wnid_of):
        first = heapq.nsmallest(count, ((sampling_key(image_id, 0), image_id) for image_id in ids))
        ranked = heapq.nsmallest(count, [*ranked, *((rank, *entry) for rank, entry in enumerate(first))])
    return [image_id for _, _, image_id in ranked]


def picture(data: bytes) -> Picture | None:
    """Return a small picture, or None for an image that cannot be decoded or is too large."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit follows
            opened = Image.open(io.BytesIO(data))
        if opened.width * opened.height > _MOST_PIXELS:
            return None
        opened.draft("RGB", (2 * _SIDE, 2 * _SIDE))
        small = ImageOps.exif_transpose(opened).convert("RGB")
        small.thumbnail((_SIDE, _SIDE))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    out = io.BytesIO()
    small.save(out, "JPEG", quality=_QUALITY, optimize=True)
    return Picture("data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode(), *small.size)


def _ids(files: Sequence[Place]) -> Iterator[str]:
    for table in read_tables(files, ["image_id"]):
        yield from table["image_id"].to_pylist()


def _with_image(files: Sequence[Place], images: ImageIndex | None) -> Iterator[str]:
    for table in read_tables(files, ["image_id", *(["photo_id"] if images else ["image.path"])]):
        if images is not None:
            held = pc.or_(*(pc.is_in(table[name], images.keys) for name in ("image_id", "photo_id")))
            yield from table["image_id"].filter(held).to_pylist()
        elif "image" in table.column_names:
            yield from table["image_id"].filter(pc.is_valid(table["image"])).to_pylist()


def _rows(files: Sequence[Place], chosen: Sequence[str]) -> dict[str, dict[str, Any]]:
    wanted, rows = pa.array(chosen, pa.string()), {}
    for table in read_tables(files, _COLUMNS):
        for row in table.filter(pc.is_in(table["image_id"], wanted)).to_pylist():
            rows[row["image_id"]] = row
    return rows


def _pictures(files: Sequence[Place], rows: dict[str, dict[str, Any]], images: ImageIndex | None) -> dict[str, Picture]:
    if images is None:
        held = _in_dataset(files, rows.keys())
    else:
        keys = {key: image_id for image_id, row in rows.items() for key in (row["photo_id"], image_id) if key}
        held = ((keys[key], data) for key, data in images.read(keys))
    made: dict[str, Picture] = {}
    with progress("pictures", len(rows), "images") as bar:
        for image_id, data in held:
            if image_id not in made and (small := picture(data)) is not None:
                made[image_id] = small
                bar.update()
    return made


def _in_dataset(files: Sequence[Place], image_ids: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the images of these rows; a row group is read up to the last wanted row."""
    wanted = pa.array(list(image_ids), pa.string())
    for file in files:
        with parquet_file(file) as opened:
            if "image" not in opened.schema_arrow.names:
                return
            for group in range(opened.num_row_groups):
                ids = opened.read_row_group(group, columns=["image_id"])["image_id"]
                left = pc.sum(pc.is_in(ids, wanted)).as_py() or 0
                batches = opened.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=["image_id", "image.bytes"])
                while left:
                    batch = next(batches)
                    found = batch.filter(pc.is_in(batch["image_id"], wanted))
                    left -= len(found)
                    yield from (
                        (row["image_id"], row["image"]["bytes"])
                        for row in found.to_pylist()
                        if row["image"] is not None
                    )


def _card(row: dict[str, Any], small: Picture | None, left_out: str) -> Card:
    page, description = row["photo_page"], row["description"]
    return Card(
        image_id=row["image_id"],
        wnid=row["wnid"],
        class_name=row["class_name"],
        title=row["title"],
        description=description if len(description) <= _LONGEST_TEXT else description[: _LONGEST_TEXT - 1] + "…",
        tags=tuple(row["tags"]),
        language=row["language"] if row["language"] not in (None, "und") else None,
        owner=row["owner_name"],
        license=next((entry for entry in LICENSES if entry.id == row["license"]), None),
        page=page if page and _PAGE.fullmatch(page) else None,
        picture=small,
        left_out=left_out,
    )
