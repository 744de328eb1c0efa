"""Images in tars, read in place: ILSVRC2012_img_train.tar, its inner tars, WebDataset shards."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from imagenet_captions.errors import InputError
from imagenet_captions.imagenet.image_ids import image_id
from imagenet_captions.images.readers.folders import nearest_wnid, wnid_in
from imagenet_captions.images.readers.tars import Member, Sample, TarReader
from imagenet_captions.images.sources.source import ByteRange, Found, ImageQuery, no_names

_LARGEST_JSON = 1 << 20


class TarImages:
    """An `ImageSource` over tars; `path` is what the user gave, `tars` the files."""

    def __init__(self, path: Path, tars: Sequence[Path]) -> None:
        self.path = path
        self.tars = tars

    def find(self, wanted: ImageQuery, scratch: Path) -> Iterator[Found]:
        """Yield the wanted members, tar by tar, in their order."""
        example, joined = "", False
        for path in self.tars:
            outer = wnid_in(path.name)
            with TarReader(path) as tar:
                for sample in tar.samples({"json"}, _LARGEST_JSON):
                    around = wnid_in(sample.tar.rpartition("/")[2]) or outer if sample.tar else outer
                    for member in sample.images():
                        name = _name(sample, member)
                        key = image_id(name)
                        if key is None:
                            example = example or member.name
                            continue
                        joined = True
                        if key in wanted.keys:
                            byte_range = ByteRange(str(path), member.offset, member.size)
                            yield Found(key, nearest_wnid(name, around), byte_range)
        if not joined and example:
            raise no_names(self.path, example)
        if not joined:
            raise InputError(f"{self.path} holds no images; check the path")


def _name(sample: Sample, member: Member) -> str:
    """The name to join on: the member's own, else the one that its JSON gives (as in timm's shards)."""
    if image_id(member.name) is not None:
        return member.name
    try:
        content = json.loads(sample.contents.get("json", b""))
    except (ValueError, RecursionError):
        return member.name
    filename = content.get("filename") if isinstance(content, dict) else None
    return filename if isinstance(filename, str) else member.name
