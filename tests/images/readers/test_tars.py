"""The reader of tars finds what tarfile finds, and refuses what is cut off, damaged or hostile."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.images.readers.tars import TarReader
from tests.packager.made import tar_of

NAMES = ["a.jpg", "deep/" * 40 + "b.jpg", "ü/c.jpg", "x" * 300 + ".txt", "dir/d.json", "p" * 120 + "/" + "n" * 90]
FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def made(form: int) -> bytes:
    """A tar with every kind of member; folders and links with a size in their headers, as some old programs wrote."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for number, name in enumerate(NAMES):
            if form == tarfile.USTAR_FORMAT and len(name) > 255:
                continue
            info = tarfile.TarInfo(name)
            info.size = 700 * number
            tar.addfile(info, io.BytesIO(bytes([number]) * info.size))
            for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
                other = tarfile.TarInfo(f"other {number}{kind.decode()}")
                other.type, other.linkname = kind, "l" * (150 if form != tarfile.USTAR_FORMAT else 50)
                other.size = 5000 if kind in (tarfile.DIRTYPE, tarfile.SYMTYPE) else 0
                tar.addfile(other)
    return out.getvalue()


def files_of(path: Path) -> list[tuple[str, bytes]]:
    with TarReader(path) as tar:
        return [(member.name, tar.read(member.offset, member.size)) for _, member in tar.members()]


@pytest.mark.parametrize("form", FORMATS, ids=["ustar", "gnu", "pax"])
def test_members_are_those_of_tarfile(tmp_path: Path, form: int) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(made(form))
    with tarfile.open(path) as tar:
        expected = [(each.name, tar.extractfile(each).read()) for each in tar if each.isreg()]  # type: ignore[union-attr]
    assert len(expected) >= 5
    assert files_of(path) == expected


@pytest.mark.parametrize("form", FORMATS, ids=["ustar", "gnu", "pax"])
def test_a_tar_that_is_cut_anywhere_is_refused(tmp_path: Path, form: int) -> None:
    whole = made(form)
    end = len(whole.rstrip(b"\0")) // 512 + 1
    for length in [*range(0, 512 * end, 512), 100, 512 * end - 1]:
        (tmp_path / "x.tar").write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cut off or damaged") as refused:
            files_of(tmp_path / "x.tar")
        assert "\n" not in str(refused.value)
    (tmp_path / "x.tar").write_bytes(whole[: 512 * (end + 1)])
    assert files_of(tmp_path / "x.tar")


def with_header(kind: bytes, size: bytes, content: bytes = b"", mark: int = 0) -> bytes:
    """A header of this kind with these bytes as its size, and the sum that belongs to it; then one whole file."""
    header = bytearray(tarfile.TarInfo("a.jpg").tobuf(tarfile.GNU_FORMAT))
    header[156:157], header[124:136], header[482] = kind, size.ljust(12, b"\0"), mark
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + content + bytes(-len(content) % 512) + tar_of({"b.jpg": b"b"})


@pytest.mark.parametrize(
    "data",
    [
        with_header(b"0", b"-0000001000"),  # back to this header, for ever
        with_header(b"0", b"-1"),
        with_header(b"0", b"99"),
        with_header(b"0", b"x"),
        with_header(b"0", b"\xff" * 12),
        with_header(b"0", b"77777777777"),
        with_header(b"L", b"77777777"),  # a name of 16 MB
        with_header(b"x", b"-1"),
    ],
)
def test_hostile_sizes_are_damage(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(data)
    with pytest.raises(InputError, match="cut off or damaged"):
        files_of(tmp_path / "x.tar")


@pytest.mark.parametrize(
    "records",
    [
        "11 size=²\n".encode(),
        b"5020 size=" + b"9" * 5009 + b"\n",
        b"9" * 5000 + b" path=x\n",
        b"0 path=x\n",
        b"-5 path=x\n",
        b"path=x",
        b"\xff\xfe 12",
    ],
)
def test_hostile_records_of_pax_say_nothing(tmp_path: Path, records: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(with_header(b"x", b"%o" % len(records), records))
    assert files_of(tmp_path / "x.tar") == [("b.jpg", b"b")]


def test_sparse_files_are_passed_over(tmp_path: Path) -> None:
    """Their bytes do not lie in one piece; GNU tar writes them in a form of its own, or in pax."""
    old = with_header(b"S", b"1000", bytes(504) + b"\1" + bytes(7) + bytes(512) + b"d" * 512, mark=1)
    in_pax = with_header(b"x", b"26", b"22 GNU.sparse.major=1\n")
    for data, expected in ((old, [("b.jpg", b"b")]), (in_pax, [])):
        (tmp_path / "x.tar").write_bytes(data)
        assert files_of(tmp_path / "x.tar") == expected


def test_sums_of_signed_bytes(tmp_path: Path) -> None:
    data = bytearray(tar_of({"caf\xe9.jpg": b"x"}))
    signed = sum(byte - 256 if byte > 127 else byte for byte in data[:148] + b" " * 8 + data[156:512])
    data[148:156] = b"%06o\0 " % signed
    (tmp_path / "x.tar").write_bytes(data)
    assert files_of(tmp_path / "x.tar") == [("café.jpg", b"x")]


def test_files_in_inner_tars_lie_in_the_outermost_file(tmp_path: Path) -> None:
    inner = {f"n0144076{number}.tar": tar_of({f"{number}.jpg": bytes([number]) * 1000}) for number in range(3)}
    (tmp_path / "x.tar").write_bytes(tar_of({"first.txt": b"1", **inner, "empty.tar": tar_of({}), "last.txt": b"2"}))
    assert files_of(tmp_path / "x.tar") == [
        ("first.txt", b"1"),
        *[(f"{number}.jpg", bytes([number]) * 1000) for number in range(3)],
        ("last.txt", b"2"),
    ]
    with TarReader(tmp_path / "x.tar") as tar:
        assert [name for name, _ in tar.members()] == [None, *inner, None]


def test_an_inner_tar_does_not_reach_beyond_its_end(tmp_path: Path) -> None:
    inner = tar_of({"a.jpg": b"a" * 600})
    for cut in (inner[:512], inner[:1024], inner[:1536]):
        (tmp_path / "x.tar").write_bytes(tar_of({"n01440764.tar": cut, "n01440765.tar": inner}))
        with pytest.raises(InputError, match=r"'n01440764\.tar' in .* is cut off or damaged at byte"):
            files_of(tmp_path / "x.tar")


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: b"PK\3\4" + data, lambda data: b"BZh" + data])
def test_compressed_tars_are_refused(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / "x.tar").write_bytes(pack(tar_of({"a.jpg": b"x"})))
    with pytest.raises(InputError, match=r"is compressed, .*; unpack it"):
        files_of(tmp_path / "x.tar")
