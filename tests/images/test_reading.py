"""The reader of images by byte range: what it returns, and how long that stays valid."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from imagenet_captions.images.reading import ImageReader
from imagenet_captions.images.sources import ByteRange
from tests.packager.made import image

PICTURES = [image(f"n01440764_{number}") + bytes(700 * number) for number in range(12)]


@pytest.fixture(name="ranges")
def _ranges(tmp_path: Path) -> list[ByteRange]:
    """The pictures behind one another in a file."""
    file = tmp_path / "pictures"
    file.write_bytes(b"".join(PICTURES))
    starts = [sum(map(len, PICTURES[:number])) for number in range(len(PICTURES))]
    return [ByteRange(str(file), start, len(data)) for start, data in zip(starts, PICTURES, strict=True)]


def test_images_stay_until_the_next_call_but_one_and_two_buffers_serve_all_calls(ranges: list[ByteRange]) -> None:
    with closing(ImageReader()) as reader:
        before, _ = reader.read(ranges)
        held, places = PICTURES, {before.buffers()[2].address}
        for start in range(10):
            now, faults = reader.read([*ranges[start:], None])
            assert before.to_pylist() == held
            assert faults == {}
            before, held = now, [*PICTURES[start:], None]
            places.add(now.buffers()[2].address)
    assert len(places) == 2


def test_views_are_the_images_and_name_the_broken_ones(ranges: list[ByteRange]) -> None:
    short = ByteRange(ranges[0].path, ranges[0].offset, ranges[0].size - 10)
    with closing(ImageReader()) as reader:
        views, faults = reader.views([*ranges, short, ByteRange(ranges[0].path, 0, 0)])
        assert [bytes(view) for view in views] == [*PICTURES, PICTURES[0][:-10], b""]
    assert faults == {12: "cut off before its end", 13: "zero bytes"}
