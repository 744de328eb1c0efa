"""Texts as they are passed around: archives, damage, and lines without an end."""

from __future__ import annotations

import bz2
import gzip
import io
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.storage import texts
from imagenet_captions.storage.texts import as_text, lines_of, read_blocks

TEXT = b"".join(b"n01440764_%d\thttp://farm1.static.flickr.com/1/%d_ab.jpg\n" % (n, n + 1) for n in range(5000))


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


def read(path: Path) -> bytes:
    blocks = list(read_blocks(path, "the URL list"))
    assert all(block.endswith(b"\n") for block in blocks)
    return b"".join(blocks)


HALVES = {"lists/a.txt": TEXT[:100_000], "lists/b.txt": TEXT[100_000:]}
HALVES = {name: content[: content.rfind(b"\n")] for name, content in HALVES.items()}  # no line end at the end
CONTAINERS = {
    "plain": TEXT,
    "gz": gzip.compress(TEXT),
    "bz2": bz2.compress(TEXT),
    "bz2 of two parts": bz2.compress(TEXT[:777]) + bz2.compress(TEXT[777:]),
    "tar": tar({"fall11_urls.txt": TEXT}),
    "tgz": gzip.compress(tar({"./fall11_urls.txt": TEXT})),
    "zip": zipped({"fall11_urls.txt": TEXT}),
}


@pytest.mark.parametrize("size", [100, 1 << 20])
def test_every_container_has_the_same_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(texts, "BLOCK", size)
    path = tmp_path / "list.bin"  # what it is, its bytes tell
    for content in CONTAINERS.values():
        path.write_bytes(content)
        assert read(path) == TEXT
    of_macos = {"__MACOSX/lists/._a.txt": b"\0\1", "lists/._a.txt": b"\0\1", **HALVES}
    for content in (tar(HALVES), gzip.compress(tar(of_macos)), zipped(of_macos)):
        path.write_bytes(content)
        assert read(path) == b"".join(half + b"\n" for half in HALVES.values())


def flipped(content: bytes, at: int, bits: int = 0xFF) -> bytes:
    return content[:at] + bytes([content[at] ^ bits]) + content[at + 1 :]


def encrypted(content: bytes) -> bytes:
    for sign, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for found in re.finditer(re.escape(sign), content):
            content = flipped(content, found.start() + flags, 1)
    return content


PACKED = {kind: CONTAINERS[kind] for kind in ("gz", "bz2", "tar", "tgz", "zip")}
BETWEEN = tar(HALVES).index(b"lists/b.txt")  # where the second list of a tar begins
DAMAGED = {
    "tar cut between lists": tar(HALVES)[:BETWEEN],
    "tar with a damaged header": flipped(tar(HALVES), BETWEEN + 150),
    "carriage returns alone": TEXT.replace(b"\n", b"\r"),
    **{f"{kind} cut at {at}": packed[: int(len(packed) * at)] for kind, packed in PACKED.items() for at in (0.1, 0.95)},
    **{f"{kind} flipped": flipped(packed, len(packed) // 2) for kind, packed in PACKED.items() if kind != "tar"},
    "checksum at the end of a tgz": flipped(CONTAINERS["tgz"], -5 + len(CONTAINERS["tgz"])),
    "encrypted": encrypted(zipped({"urls.txt": TEXT})),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_one_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / "urls").write_bytes(DAMAGED[name])
    said = "damaged or cut short .*encrypted" if name == "encrypted" else "damaged or cut short"
    with pytest.raises(InputError, match=said):
        read(tmp_path / "urls")


def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "BLOCK", 1000)
    path = tmp_path / "urls.txt"
    path.write_bytes(b"n01440764_1\thttp://" + b"a" * 1_000_000 + b"\nn01440764_2\tb\n")
    text = read(path)
    assert len(text) < 10_000
    assert text.startswith(b"n01440764_1\thttp://aaa")
    assert text.endswith(b"aaa\nn01440764_2\tb\n")
    assert text.count(b"\n") == 2


def test_a_block_is_a_column_of_lines() -> None:
    lines = lines_of(b"a\n\nb\xe9\xc3\n \xc3\xa9\t\n")
    assert lines.to_pylist() == [b"a\n", b"\n", b"b\xe9\xc3\n", b" \xc3\xa9\t\n"]
    assert as_text(lines).to_pylist() == ["a", "", "b\u00e9\u00c3", "\u00e9"]
