"""URL lists as they are passed around: archives, damage, and lines with every kind of dirt."""

from __future__ import annotations

import gzip
import io
import random
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_captions.crawler.matching.id_keys import image_ids
from imagenet_captions.crawler.matching.url_lines import BLANK, NO_ID, read_lines
from imagenet_captions.crawler.matching.url_lists import Stretch, read_blocks, read_pieces
from imagenet_captions.errors import InputError

TEXT = b"".join(b"n01440764_%d\thttp://farm1.static.flickr.com/1/%d_ab.jpg\n" % (n, n + 1) for n in range(5000))
JUNK = {"__MACOSX/._urls.txt": b"\0\5\x16\7", "._urls.txt": b"\0\5\x16\7", ".DS_Store": b"\0\0\0\1Bud1"}


def tar(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        folder = tarfile.TarInfo("lists")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("lists/", b"")
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def read(path: Path, size: int = 10_000) -> bytes:
    return b"".join(read_blocks(path, "the URL list", size))


HALVES = {"lists/a.txt": TEXT[:100_000], "lists/b.txt": TEXT[100_000:]}
HALVES = {name: content[: content.rfind(b"\n")] for name, content in HALVES.items()}  # no line end at the end
CONTAINERS = {
    "plain": TEXT,
    "gz": gzip.compress(TEXT),
    "gz of two parts": gzip.compress(TEXT[:777]) + gzip.compress(TEXT[777:]),
    "tar": tar({**JUNK, "fall11_urls.txt": TEXT}),
    "tgz": gzip.compress(tar({**JUNK, "./fall11_urls.txt": TEXT})),
    "zip": zipped({**JUNK, "fall11_urls.txt": TEXT}),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_every_container_has_the_same_text(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "list.bin"  # what it is, its bytes tell
    path.write_bytes(CONTAINERS[kind])
    assert read(path) == TEXT


@pytest.mark.parametrize("pack", [tar, lambda members: gzip.compress(tar(members)), zipped])
def test_several_texts_are_read_one_after_the_other(tmp_path: Path, pack: Callable[[dict[str, bytes]], bytes]) -> None:
    path = tmp_path / "lists"
    path.write_bytes(pack(HALVES))
    assert read(path) == b"".join(content + b"\n" for content in HALVES.values())


@pytest.mark.parametrize("kind", ["gz", "tar", "tgz", "zip"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_container_cut_short_is_an_error(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / "urls"
    path.write_bytes(CONTAINERS[kind][: int(len(CONTAINERS[kind]) * share)])
    with pytest.raises(InputError, match="damaged or cut short"):
        read(path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_tar_cut_short_between_two_texts_is_an_error(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "urls"
    whole = tar(HALVES)
    second = whole.index(b"lists/b.txt")
    path.write_bytes(pack(whole[:second]))
    with pytest.raises(InputError, match="damaged or cut short"):
        read(path)
    path.write_bytes(pack(whole[:second] + b"\1" * 512 + whole[second + 512 :]))
    with pytest.raises(InputError, match="damaged or cut short"):
        read(path)


@pytest.mark.parametrize("behind", [zipped({"more.txt": TEXT}), TEXT[:100]])
def test_a_zip_with_something_behind_it_is_an_error(tmp_path: Path, behind: bytes) -> None:
    path = tmp_path / "urls.zip"
    path.write_bytes(CONTAINERS["zip"] + behind)
    with pytest.raises(InputError, match="it has other content before or after the zip"):
        read(path)


@pytest.mark.parametrize("kind", ["gz", "tgz", "zip"])
def test_a_flipped_byte_is_an_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "urls"
    content = bytearray(CONTAINERS[kind])
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged or cut short"):
        read(path)


def test_a_wrong_checksum_at_the_end_of_a_tgz_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "urls.tgz"
    content = bytearray(CONTAINERS["tgz"])
    content[-5] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged or cut short"):
        read(path)


def test_an_encrypted_zip_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "urls.zip"
    content = bytearray(zipped({"urls.txt": TEXT}))
    for sign, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for found in re.finditer(re.escape(sign), bytes(content)):
            content[found.start() + flags] |= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="encrypted"):
        read(path)


def test_a_missing_list_and_a_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read(tmp_path / "urls.txt")
    with pytest.raises(InputError, match="is a folder"):
        read(tmp_path)


@pytest.mark.parametrize("size", [64, 100, 4096, 1 << 20])
def test_blocks_are_whole_lines_of_any_size(tmp_path: Path, size: int) -> None:
    path = tmp_path / "urls.txt"
    path.write_bytes(TEXT)
    blocks = list(read_blocks(path, "the URL list", size))
    assert b"".join(blocks) == TEXT
    assert all(block.endswith(b"\n") for block in blocks)


@pytest.mark.parametrize("text", [TEXT, TEXT + b"n01440764_1\ta line without an end", TEXT.replace(b"\n", b"\n\n")])
@pytest.mark.parametrize("length", [100, 4096, 1 << 24])
def test_stretches_are_whole_lines_that_each_reads_for_himself(tmp_path: Path, length: int, text: bytes) -> None:
    path = tmp_path / "urls.txt"
    path.write_bytes(text)
    pieces = list(read_pieces(path, "the URL list", length))
    blocks = [block for piece in pieces if isinstance(piece, Stretch) for block in piece.blocks(300)]
    assert b"".join(blocks) == read(path)
    assert all(block.endswith(b"\n") for block in blocks)
    assert len(pieces) > 1 or length > len(text)


def test_an_archive_comes_in_blocks(tmp_path: Path) -> None:
    path = tmp_path / "urls.txt.gz"
    path.write_bytes(gzip.compress(TEXT))
    pieces = [piece for piece in read_pieces(path, "the URL list") if isinstance(piece, bytes)]
    assert b"".join(pieces) == TEXT


def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "urls.txt"
    path.write_bytes(b"n01440764_1\thttp://" + b"a" * 1_000_000 + b"\nn01440764_2\tb\n")
    blocks = list(read_blocks(path, "the URL list", 1000))
    assert max(map(len, blocks)) < 10_000
    text = b"".join(blocks)
    assert text.startswith(b"n01440764_1\thttp://aaa")
    assert text.endswith(b"aaa\nn01440764_2\tb\n")
    assert text.count(b"\n") == 2


# (line, id, address); the first column as in fall11_urls.txt, the dirt as seen in the wild or in other lists.
LINES = [
    (
        b"n00004475_6590\thttp://farm4.static.flickr.com/3175/27_ab.jpg",
        "n00004475_6590",
        "http://farm4.static.flickr.com/3175/27_ab.jpg",
    ),
    (b"n00004475_6590 http://a.org/x.jpg", "n00004475_6590", "http://a.org/x.jpg"),
    (b"n00004475_6590   http://a.org/x.jpg", "n00004475_6590", "http://a.org/x.jpg"),
    (b"n00004475_6590 \t http://a.org/x.jpg", "n00004475_6590", "http://a.org/x.jpg"),
    (b"n00004475_6590\thttp://a.org/x.jpg\r", "n00004475_6590", "http://a.org/x.jpg"),
    (b"n00004475_6590\thttp://a.org/a b\tc.jpg ", "n00004475_6590", "http://a.org/a b\tc.jpg"),
    (b"n00004475_6590\thttp://a.org/a\rb.jpg", "n00004475_6590", "http://a.org/a\rb.jpg"),
    (b"n00004475_6590\thttp://www.b\xe9b\xe9.fr/\xe9.jpg", "n00004475_6590", "http://www.bébé.fr/é.jpg"),
    ("n00004475_6590\thttp://www.bébé.fr/é.jpg".encode(), "n00004475_6590", "http://www.bébé.fr/é.jpg"),
    (b"n00004475_6590\thttp://a.org/\0.jpg", "n00004475_6590", "http://a.org/\0.jpg"),
    (b"n00004475_6590\t", "n00004475_6590", ""),
    (b"n00004475_6590", "n00004475_6590", ""),
    (b"n00004475_6590\r", "n00004475_6590", ""),
    (b"n00004475_6590\t\r", "n00004475_6590", ""),
    (b" n00004475_6590\thttp://a.org/", "n00004475_6590", "http://a.org/"),
    (b"\xef\xbb\xbfn00004475_6590\thttp://a.org/", "n00004475_6590", "http://a.org/"),
    (b"n00004475_6590.JPEG\thttp://a.org/", "n00004475_6590", "http://a.org/"),
    (b"n00004475_0\tx", "n00004475_0", "x"),
    (b"n00004475_007\tx", "n00004475_007", "x"),
    (b"n00004475_1234567\tx", "n00004475_1234567", "x"),
    (b"n00004475_12345678\tx", "n00004475_12345678", "x"),
    (b"n00004475_123456789\tx", "n00004475_123456789", "x"),
    (b"n99999999_999999999\tx", "n99999999_999999999", "x"),
]
UNREADABLE = [
    b"http://a.org/x.jpg",
    b"n00004475_1234567890\tx",
    b"n0000447_1\tx",
    b"n000044750_1\tx",
    b"N00004475_1\tx",
    b"n00004475\tx",
    b"n00004475_\tx",
    b"n00004475-1\tx",
    b"n00004475_1a\tx",
    b"n0000447:_1\tx",
    b"n0000447/_1\tx",
    b"n00004475_1:\tx",
    b"n00004475_/1\tx",
    b"n00004475_1,http://a.org/",
    b"n0000447\xb2_1\tx",
    "n00004475_①\tx".encode(),
    b"../../n00004475_1\tx",
    b"http://a.org/n00004475_1.jpg x",
    b"\0" * 40,
    b"n00004475_1\0\tx",
    b"\xff\xfen\x000\x000\x00",
    b"n" + b"0" * 100_000,
]


@pytest.mark.parametrize(("line", "image_id", "url"), LINES)
def test_dirty_lines_keep_id_and_address(line: bytes, image_id: str, url: str) -> None:
    lines = read_lines(b"junk\n" + line + b"\n" + line + b"\n\n")
    assert image_ids(lines.keys[1:3]).to_pylist() == [image_id, image_id]
    assert lines.urls(lines.keys >= 0).to_pylist() == [url, url]


@pytest.mark.parametrize("line", UNREADABLE)
def test_lines_without_an_id_are_told_apart(line: bytes) -> None:
    lines = read_lines(b"n01440764_1\ta\n" + line + b"\n \t\r\nn01440764_2\tb\n\n")
    assert (lines.keys >= 0).tolist() == [True, False, False, True, False]
    assert lines.keys[[1, 2, 4]].tolist() == [NO_ID, BLANK, BLANK]
    assert lines.text(1) == line[:200]
    assert lines.urls(lines.keys >= 0).to_pylist() == ["a", "b"]


def test_ten_megabytes_in_a_line_change_nothing_for_the_others() -> None:
    lines = read_lines(b"n01440764_1\t" + b"a" * 10_000_000 + b"\n" + b"x" * 10_000_000 + b"\nn01440764_2\tb\n")
    assert (lines.keys >= 0).tolist() == [True, False, True]
    assert [len(url) for url in lines.urls(lines.keys >= 0).to_pylist()] == [10_000_000, 1]


def slowly(line: bytes) -> tuple[str, str] | None:
    """The plain reading of a line, against which the columns are checked."""
    found = re.fullmatch(rb"(n[0-9]{8}_[0-9]{1,9})(?:[ \t\r](.*))?", line, re.DOTALL)
    return (found[1].decode(), (found[2] or b"").strip(b" \t\r\v\f").decode("latin-1")) if found else None


@given(st.lists(st.text("n0129_\t aé\r", max_size=24).map(str.encode) | st.sampled_from([x[0] for x in LINES[:12]])))
def test_columns_read_what_a_plain_reading_does(texts: list[bytes]) -> None:
    texts = [text for text in texts if text.isascii() and not text.startswith((b" ", b"\t", b"\r"))]
    lines = read_lines(b"".join(text + b"\n" for text in [b"n01440764_1 x", *texts]))
    expected = [slowly(text) for text in [b"n01440764_1 x", *texts]]
    assert [key >= 0 for key in lines.keys] == [line is not None for line in expected]
    found = zip(
        image_ids(lines.keys[lines.keys >= 0]).to_pylist(), lines.urls(lines.keys >= 0).to_pylist(), strict=True
    )
    assert list(found) == [line for line in expected if line]


def test_ids_of_every_length_are_read_as_they_stand() -> None:
    rng = random.Random(0)
    ids = [f"n{rng.randrange(10**8):08d}_{rng.randrange(10**digits)}" for digits in range(1, 10) for _ in range(300)]
    lines = read_lines("".join(f"{image_id}\tx\n" for image_id in ids).encode())
    assert image_ids(lines.keys).to_pylist() == ids
    lines.keys.sort()
    assert image_ids(lines.keys).to_pylist() == sorted(ids)
