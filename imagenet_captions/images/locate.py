"""Join the rows of the captions with the images of a source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imagenet_captions.images.sources import ByteRange, ImageQuery, ImageSource
from imagenet_captions.storage.progress import track


@dataclass(frozen=True)
class CaptionRows:
    """The columns of the captions by which images are joined, in the order of the rows."""

    image_ids: Sequence[str]
    wnids: Sequence[str]
    photo_ids: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.image_ids)


@dataclass(frozen=True)
class Located:
    """The byte range of each row's image, and for rows without one the reason."""

    ranges: list[ByteRange | None]
    remarks: dict[int, str]

    @property
    def missing(self) -> list[int]:
        """Return the rows without an image."""
        return [row for row, part in enumerate(self.ranges) if part is None]


def locate(rows: CaptionRows, source: ImageSource, scratch: Path) -> Located:
    """Find every row's image by image id, else by Flickr photo id; the first one in the source's order counts.

    An image in a folder or inner tar of another class than the row's is not used: either the folder or the name is
    wrong.
    """
    keys = _rows_by_key(rows)
    ranges: list[ByteRange | None] = [None] * len(rows)
    astray: dict[int, str] = {}
    wanted = ImageQuery(keys, photo_ids=any(rows.photo_ids))
    for found in track(source.find(wanted, scratch), "find images", len(rows), "images"):
        for row in keys[found.key]:
            if found.folder is not None and found.folder != rows.wnids[row]:
                astray[row] = f"its image lies among those of {found.folder}, so it is not used"
            elif ranges[row] is None:
                ranges[row] = found.byte_range
    remarks = {row: remark for row, remark in astray.items() if ranges[row] is None}
    return Located(ranges, {row: remarks.get(row, "no image in the source") for row, p in enumerate(ranges) if not p})


def _rows_by_key(rows: CaptionRows) -> dict[str, list[int]]:
    keys: dict[str, list[int]] = {}
    for row, (image_id, photo_id) in enumerate(zip(rows.image_ids, rows.photo_ids, strict=True)):
        keys[image_id] = [row]
        if photo_id is not None:
            keys.setdefault(photo_id, []).append(row)
    return keys
