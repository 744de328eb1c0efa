"""Files in tars lie where the reader says, damaged and hostile tars are refused; and the samples of WebDataset."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.images.examples import open_examples
from imagenet_captions.images.tars import TarReader, json_object, read_samples
from tests.packager.made import image, tar_of

NAMES = ["a.jpg", "deep/" * 40 + "b.jpg", "ü/c.jpg", "x" * 300 + ".txt", "dir/d.json", "p" * 120 + "/" + "n" * 90]


def made(form: int) -> bytes:
    """A tar with every kind of member; folders and links with a size in their headers, as some old programs wrote."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for number, name in enumerate(NAMES):
            info = tarfile.TarInfo(name)
            info.size = 700 * number
            tar.addfile(info, io.BytesIO(bytes([number]) * info.size))
            for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
                other = tarfile.TarInfo(f"other {number}{kind.decode()}")
                other.type, other.linkname = kind, "l" * 150
                other.size = 5000 if kind in (tarfile.DIRTYPE, tarfile.SYMTYPE) else 0
                tar.addfile(other)
    return out.getvalue()


def files_of(path: Path) -> list[tuple[str, bytes]]:
    with TarReader(path) as tar:
        return [(member.name, tar.read(member.offset, member.size)) for _, member in tar.members()]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
def test_members_are_those_of_tarfile(tmp_path: Path, form: int) -> None:
    (tmp_path / "x.tar").write_bytes(made(form))
    with tarfile.open(tmp_path / "x.tar") as tar:
        expected = [(each.name, tar.extractfile(each).read()) for each in tar if each.isreg()]  # type: ignore[union-attr]
    assert files_of(tmp_path / "x.tar") == expected
    assert len(expected) == len(NAMES)


def test_a_tar_that_is_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = made(tarfile.GNU_FORMAT)
    end = len(whole.rstrip(b"\0")) // 512 + 1
    for length in [*range(0, 512 * end, 512), 100, 512 * end - 1]:
        (tmp_path / "x.tar").write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cut off or damaged"):
            files_of(tmp_path / "x.tar")
    (tmp_path / "x.tar").write_bytes(whole[: 512 * (end + 1)])
    assert files_of(tmp_path / "x.tar")


def with_header(kind: bytes, size: bytes, content: bytes = b"") -> bytes:
    """A header of this kind with these bytes as its size, and the sum that belongs to it; then one whole file."""
    header = bytearray(tarfile.TarInfo("a.jpg").tobuf(tarfile.GNU_FORMAT))
    header[156:157], header[124:136] = kind, size.ljust(12, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + content + bytes(-len(content) % 512) + tar_of({"b.jpg": b"b"})


@pytest.mark.parametrize(
    "data",
    [
        with_header(b"0", b"-0000001000"),  # back to this header, for ever
        with_header(b"0", b"\xff" * 12),
        with_header(b"0", b"77777777777"),
        with_header(b"L", b"77777777"),  # a name of 16 MB
        with_header(b"x", b"26", b"5020 size=" + b"9" * 5009 + b"\n"),
    ],
)
def test_hostile_sizes_are_damage(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(data)
    with pytest.raises(InputError, match="cut off or damaged"):
        files_of(tmp_path / "x.tar")


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
    ("content", "label"), [(b" 7\n", 7), (b"0" * 17, 0), (b"9" * 18, -1), (b"-1", -1), (b"", -1), ("²".encode(), -1)]
)
def test_labels(tmp_path: Path, content: bytes, label: int) -> None:
    (tmp_path / "x.tar").write_bytes(tar_of({"0.jpg": image("x"), "0.cls": content}))
    assert open_examples(tmp_path / "x.tar").labels.tolist() == [label]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": ["caf\xe9", "\\udc80"]}', {"a": ["caf\ufffd", "?"]}),
        (b'{"a": ' + b"9" * 5000 + b"}", {"a": None}),
        (b'["a"]', None),
    ],
)
def test_objects_of_json(content: bytes, said: object) -> None:
    assert json_object(content) == said


def test_a_walk_keeps_no_member(tmp_path: Path) -> None:
    """Python's `tarfile` would keep all of them, a gigabyte for ImageNet."""
    (tmp_path / "x.tar").write_bytes(tar_of({f"{number}.jpg": b"" for number in range(2000)}))
    with TarReader(tmp_path / "x.tar") as tar:
        members = tar.members()
        next(members)
        tracemalloc.start()
        count = sum(1 for _ in members)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert count == 1999
    assert peak < 200_000
