"""Read ImageNet's URL lists as blocks of whole lines, plain or from an archive, in bounded memory. Used by `gather`.

The first bytes tell the kind of a file, not its name: `fall11_urls.tgz`, a `.gz` of the bare list and a zip all go by
the name "the ImageNet URLs".
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any, BinaryIO

from imagenet_captions.errors import InputError, shortened
from imagenet_captions.images.readers.kinds import is_tar
from imagenet_captions.storage.files import open_zip, require_file
from imagenet_captions.storage.places import Place, is_only_here
from imagenet_captions.storage.progress import open_watched, progress

_Readable = IO[bytes] | gzip.GzipFile

BLOCK = 1 << 20  # bytes that fit into the caches of a core
STRETCH = 4 * BLOCK  # bytes that are worth a task of their own

_GZIP = b"\x1f\x8b"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
# Errors of damaged archives; zipfile raises RuntimeError for an encrypted one.
_DAMAGE = (OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile, NotImplementedError, RuntimeError)


def read_blocks(path: Place, what: str, size: int = BLOCK) -> Iterator[bytes]:
    """Yield the text of a list as blocks of whole lines, each block ending with a line feed; errors call it `what`.

    A block has about `size` bytes, more where a line is longer. Of a line longer than two blocks only the start
    and the end are kept, so that a file without line ends cannot fill the memory. Raises InputError for a file that is
    missing, damaged or cut short.
    """
    require_file(path, what)
    with _damage_as_input_error(path, what):
        for stream in _texts(path):
            yield from _whole_lines(stream, size)


@dataclass(frozen=True)
class Stretch:
    """A range of whole lines in a plain list, to be read by the worker that gets it."""

    path: Place
    start: int
    stop: int
    what: str

    def blocks(self, size: int = BLOCK) -> Iterator[bytes]:
        """Yield the text as `read_blocks` does."""
        with _damage_as_input_error(self.path, self.what), self.path.open("rb") as opened:
            opened.seek(self.start)
            yield from _whole_lines(_Limited(opened, self.stop - self.start), size)


def read_pieces(path: Place, what: str, length: int = STRETCH) -> Iterator[Stretch | bytes]:
    """Yield a plain list as stretches of about `length` bytes, and an archive, which is unpacked in order, as blocks.

    The pieces have the lines that `read_blocks` yields. Only the process that reads the lines of a stretch reads its
    bytes.
    """
    require_file(path, what)
    with _damage_as_input_error(path, what), path.open("rb") as opened:
        if not _is_packed(opened.read(512)) and not is_only_here(path):
            yield from _stretches(path, what, opened, length)
            return
    yield from read_blocks(path, what)


def _stretches(path: Place, what: str, opened: IO[bytes], length: int) -> Iterator[Stretch]:
    start, size = 0, opened.seek(0, io.SEEK_END)
    with progress(f"read {path.name}", size, "B") as bar:
        while start < size:
            stop = _line_end(opened, start + length, size)
            yield Stretch(path, start, stop, what)
            bar.update(stop - start)
            start = stop


def _line_end(opened: IO[bytes], at: int, size: int) -> int:
    """Return the end of the line with the byte before `at`."""
    if at < size:
        at = opened.seek(at - 1)
        while data := opened.read(1 << 16):
            end = data.find(b"\n") + 1
            if end:
                return at + end
            at += len(data)
    return size


@contextmanager
def _damage_as_input_error(path: Place, what: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        if (
            isinstance(error, OSError) and error.errno is not None
        ):  # an error of the operating system; errors of archives have no number
            raise
        raise InputError(
            f"{what} {path} is damaged or cut short ({type(error).__name__}: {shortened(error)}); get it again"
        ) from None


def _texts(path: Place) -> Iterator[_Readable]:
    """Yield every text in the file, in order."""
    with open_watched(path, f"read {path.name}") as opened:
        head = opened.read(512)
        opened.seek(0)
        if head.startswith(_ZIP):
            yield from _zip_members(opened)
        elif head.startswith(_GZIP):
            yield from _gzip_texts(opened)
        elif is_tar(head):
            yield from _tar_members(opened)
        else:
            yield opened


def _gzip_texts(opened: BinaryIO) -> Iterator[_Readable]:
    with gzip.GzipFile(fileobj=opened) as unpacked:
        if is_tar(unpacked.peek(512)[:512]):
            yield from _tar_members(unpacked)
        else:
            yield unpacked
        while unpacked.read(BLOCK):  # the checksum is at the end, after the padding of a tar
            pass


def _tar_members(opened: _Readable) -> Iterator[_Readable]:
    # Mode "r:" rather than "r|": members are read in their order anyway, and the stream's own buffering costs a third.
    with tarfile.open(fileobj=opened, mode="r:") as archive:
        for member in tar_files(archive):
            content = None if _is_junk(member.name) else archive.extractfile(member)
            if content:
                yield content


def _zip_members(opened: BinaryIO) -> Iterator[_Readable]:
    with open_zip(opened) as archive:
        for member in archive.infolist():
            if not member.is_dir() and not _is_junk(member.filename):
                with archive.open(member) as content:
                    yield content


def tar_files(archive: Any) -> Iterator[tarfile.TarInfo]:
    """Yield the files of a tar opened with mode "r:".

    Raises tarfile.ReadError for a tar that ends without a block of zeros: it was cut short between two files, or a
    header is damaged. tarfile takes either for the end.
    """
    while member := archive.next():
        archive.members.clear()  # tarfile keeps them all, and a tar may have 1.3 million images
        if member.isfile():
            yield member
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("a tar has no end")


def _is_packed(head: bytes) -> bool:
    return head.startswith((*_ZIP, _GZIP)) or is_tar(head)


def _is_junk(name: str) -> bool:
    """Return whether macOS or Windows added this member to the files that the user packed.

    >>> _is_junk("__MACOSX/._fall11_urls.txt"), _is_junk("./fall11_urls.txt")
    (True, False)
    """
    path = PurePosixPath(name)
    return "__MACOSX" in path.parts or path.name.startswith("._") or path.name in (".DS_Store", "Thumbs.db")


class _Limited:
    """Reads a file up to a limit."""

    def __init__(self, opened: IO[bytes], left: int) -> None:
        self._opened = opened
        self._left = left

    def read(self, size: int) -> bytes:
        data = self._opened.read(min(size, self._left))
        self._left -= len(data)
        return data


def _whole_lines(stream: _Readable | _Limited, size: int) -> Iterator[bytes]:
    rest, line_feeds = b"", True
    while data := stream.read(size):
        if not rest and b"\n" not in data and b"\r" in data.rstrip(b"\r"):
            line_feeds = False  # a list whose lines end in carriage returns alone, as on old Macs
        if not line_feeds:
            data = data.replace(b"\r", b"\n")
        end = data.rfind(b"\n") + 1
        if end:
            yield rest + data[:end]
            rest = data[end:]
        elif len(rest) < 2 * size:
            rest += data
    if rest:
        yield rest + b"\n"
