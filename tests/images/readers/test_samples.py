"""Members of a tar as samples of WebDataset."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagenet_captions.images.examples import open_examples
from imagenet_captions.images.readers.samples import Sample, json_object, read_samples
from imagenet_captions.images.readers.tars import TarReader
from tests.packager.made import image, tar_of


def test_samples_of_webdataset(tmp_path: Path) -> None:
    members = {
        "a/0.cls": b"7",
        "a/0.JPG": b"0",
        "a/._0.jpg": b"of macOS",
        "a/0.seg.png": b"no ending of an image",
        "a/0.png": b"another",
        "README": b"",
        "b/0.txt": b"words",
        "b/0.json": b"too long to be read",
    }
    (tmp_path / "x.tar").write_bytes(tar_of(members))
    with TarReader(tmp_path / "x.tar") as tar:
        first, second = read_samples(tar, {"cls", "txt", "json"}, 5)
    assert (first.key, list(first.members), first.contents) == ("a/0", ["cls", "jpg", "seg.png", "png"], {"cls": b"7"})
    assert [each.name for each in first.images()] == ["a/0.JPG", "a/0.png"]
    assert (second.key, list(second.members), second.contents) == ("b/0", ["txt", "json"], {"txt": b"words"})


@pytest.mark.parametrize(
    ("content", "label"),
    [(b" 7\n", 7), (b"0" * 17, 0), (b"9" * 18, None), (b"-1", None), (b"", None), ("²".encode(), None)],
)
def test_labels(tmp_path: Path, content: bytes, label: int | None) -> None:
    assert Sample("0", contents={"cls": content}).label() == label
    (tmp_path / "x.tar").write_bytes(tar_of({"0.jpg": image("x"), "0.cls": content}))
    assert open_examples(tmp_path / "x.tar").labels.tolist() == [-1 if label is None else label]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": ["caf\xe9", "\\udc80"]}', {"a": ["caf\ufffd", "?"]}),
        (b'{"a": ' + b"9" * 5000 + b"}", {"a": None}),
        (b"[" * 100_000, None),
        (b'["a"]', None),
        (b"", None),
    ],
)
def test_objects_of_json(content: bytes, said: object) -> None:
    assert json_object(content) == said
