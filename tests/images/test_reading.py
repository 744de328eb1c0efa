"""The reader of images by byte range: what it returns, and what it says of broken ones."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.images.files import ByteRange
from imagenet_captions.images.reading import OpenFiles
from tests.packager.made import image

PICTURES = [image(f"n01440764_{number}") + bytes(700 * number) for number in range(12)]


@pytest.mark.parametrize("calls", [1, 12])
def test_images_are_the_bytes_of_their_ranges_and_broken_ones_are_named(tmp_path: Path, calls: int) -> None:
    file = tmp_path / "pictures"
    file.write_bytes(b"".join(PICTURES))
    starts = [sum(map(len, PICTURES[:number])) for number in range(len(PICTURES))]
    ranges = [ByteRange(str(file), start, len(data)) for start, data in zip(starts, PICTURES, strict=True)]
    short, empty = ranges[0]._replace(size=ranges[0].size - 10), ranges[0]._replace(size=0)
    gone = ByteRange(str(tmp_path / "gone"), 0, 3)
    with closing(OpenFiles()) as files:
        read = [files.read_images([*ranges[call:], None, short, empty, gone]) for call in range(calls)]
        with pytest.raises(InputError, match="changed while it was read"):
            files.read_images([ranges[-1]._replace(size=ranges[-1].size + 1)])
    for call, (images, faults) in enumerate(read):
        assert images.to_pylist()[:-1] == [*PICTURES[call:], None, PICTURES[0][:-10], b""]
        at = len(PICTURES) - call
        wrong = ("cut off before its end", "zero bytes", "cannot be read: No such file or directory")
        assert faults == {at + 1 + number: fault for number, fault in enumerate(wrong)}
