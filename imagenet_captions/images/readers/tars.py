"""The reader of plain tars: finds members by their headers, so that files are read in place and images passed over.

Packaging, training, test sets, id lists and labelling read tars with it. `tarfile` takes 18 us a member, 18 minutes for
15 million images with three more members each; this takes a quarter of it. The format:
https://www.gnu.org/software/tar/manual/html_node/Standard.html and POSIX.1-2001 for pax.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.images.readers.kinds import compressed, is_compressed
from imagenet_captions.storage.places import Place, is_remote

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_WINDOW = 1 << 15
_FILES, _OLD_FILE, _SPARSE = b"0\x007", b"\0", b"S"
_WITHOUT_DATA = b"123456"  # links, devices, folders and pipes, whatever size their headers give
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"xX", b"g"
_EXTENSIONS = _LONG_NAME + _LONG_LINK + _PAX + _PAX_GLOBAL
_LARGEST_HEADER = 1 << 20
_LONGEST_NUMBER = 19  # digits


class Member(NamedTuple):
    """A regular file in a tar: its name, and where its bytes lie in the outermost file."""

    name: str
    offset: int
    size: int


class TarReader:
    """An open tar. Small members beside a header come out of the same read as the header."""

    def __init__(self, path: Place) -> None:
        self.path = path
        self._size = path.stat().st_size
        # Behind a URL, a buffered file makes few and larger requests.
        self._opened = path.open("rb") if is_remote(path) else path.open("rb", buffering=0)
        self._start, self._window = 0, b""

    def __enter__(self) -> TarReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes from an offset on, fewer at the end of the file."""
        at = offset - self._start
        if at < 0 or at + size > len(self._window):
            self._opened.seek(offset)
            self._start, self._window = offset, self._opened.read(max(size, _WINDOW))
            at = 0
        return self._window[at : at + size]

    def members(self) -> Iterator[tuple[str | None, Member]]:
        """Yield the regular files in order, each with the name of the inner tar that it lies in, or None.

        ILSVRC2012_img_train.tar is a tar of one tar for each class. Raises InputError for a file that is not a tar, is
        compressed, cut off or damaged. A whole tar ends with a block of zeros, so a cut between members shows too.
        """
        for member in self._members(0, self._size, str(self.path)):
            if member.name.lower().endswith(".tar"):
                what = f"{quoted(member.name)} in {self.path}"
                for inner in self._members(member.offset, member.offset + member.size, what):
                    yield member.name, inner
            else:
                yield None, member

    def _members(self, start: int, stop: int, what: str) -> Iterator[Member]:
        at, name, size, sparse = start, "", -1, False
        while (header := self._header(at, stop, what)) != _ZEROS:
            kind, data, length = header[156:157], at + _BLOCK, _number(header[124:136])
            if kind in _EXTENSIONS:
                if not 0 <= length <= _LARGEST_HEADER:
                    raise self._damaged(at, what)
                if kind == _LONG_NAME:
                    name = _text(self.read(data, length))
                elif kind in _PAX:
                    records = _pax(self.read(data, length))
                    name, size = records.get("path", name), _decimal(records.get("size"))
                    sparse = any(record.startswith("GNU.sparse.") for record in records)
            else:
                length = 0 if kind in _WITHOUT_DATA else size if size >= 0 else length
                data = self._after_map(header, data) if kind == _SPARSE else data
                if length < 0 or data + length > stop:
                    raise self._damaged(at, what)
                name = name or _name(header)
                if kind in _FILES and not sparse and not (kind == _OLD_FILE and name.endswith("/")):
                    yield Member(name, data, length)
                name, size, sparse = "", -1, False
            at = data + (length + _BLOCK - 1) // _BLOCK * _BLOCK

    def _header(self, at: int, stop: int, what: str) -> bytes:
        """Return the block at `at`, checked by its sum: a header, or the zeros that end a tar."""
        header = self.read(at, _BLOCK) if at + _BLOCK <= stop else b""
        if len(header) < _BLOCK or (header != _ZEROS and not _adds_up(header)):
            raise self._damaged(at, what)
        return header

    def _after_map(self, header: bytes, data: int) -> int:
        """Return where the bytes of an old GNU sparse file begin, behind the blocks of its map."""
        more = header[482]
        while more and len(block := self.read(data, _BLOCK)) == _BLOCK:
            more, data = block[504], data + _BLOCK
        return data

    def _damaged(self, at: int, what: str) -> InputError:
        if is_compressed(self.read(0, _BLOCK)):
            return compressed(self.path)
        if at == 0:
            return InputError(f"{what} is not a tar, or is cut off or damaged at its start; give a whole, plain .tar")
        return InputError(f"the tar {what} is cut off or damaged at byte {at:,}; get it again")


def _adds_up(header: bytes) -> bool:
    """Whether a header has the sum of its bytes in it; some old tars add them up as signed."""
    own = header[148:156]
    total, expected = sum(header) - sum(own) + 8 * ord(" "), _number(own)
    if total == expected:
        return True
    others = header[:148] + header[156:]
    return total - 256 * sum(byte > 127 for byte in others) == expected


def _number(digits: bytes) -> int:
    """A number in a header, octal, or in base 256 for members of 8 GB and more; -1 if it is neither.

    >>> _number(b"00000001750\\0"), _number(b"\\x80" + bytes(9) + b"\\x03\\xe8"), _number(b"-0000001750")
    (1000, 1000, -1)
    """
    if digits[0] & 0x80:
        return int.from_bytes(digits[1:], "big")
    digits = digits.strip(b" \0") or b"0"
    if not digits.isdigit():  # some programs leave other bytes behind the zero that ends a number
        digits = digits.partition(b"\0")[0].strip() or b"0"
    try:
        return int(digits, 8) if digits.isdigit() else -1
    except ValueError:  # 8 or 9
        return -1


def _name(header: bytes) -> str:
    name = _text(header[:100])
    return f"{_text(header[345:500])}/{name}" if header[345] and header[257:263] == b"ustar\0" else name


def _text(value: bytes) -> str:
    text = value.partition(b"\0")[0]
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode()


def _pax(content: bytes) -> dict[str, str]:
    """Return the records "23 path=a/b.jpg" of an extended header.

    >>> _pax(b"16 path=a/b.jpg\\n12 size=123\\n")
    {'path': 'a/b.jpg', 'size': '123'}
    """
    found: dict[str, str] = {}
    while content:
        digits = content.partition(b" ")[0]
        length = _decimal(digits.decode("utf-8", "replace"))
        if length <= len(digits):
            break
        name, _, value = content[len(digits) + 1 : length - 1].partition(b"=")
        found[name.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        content = content[length:]
    return found


def _decimal(text: str | None) -> int:
    """A whole number; -1 for none, and for one too long to be a size."""
    return int(text) if text and len(text) <= _LONGEST_NUMBER and text.isascii() and text.isdigit() else -1
