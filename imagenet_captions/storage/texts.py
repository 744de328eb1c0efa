"""Read long texts as blocks of whole lines and columns of Arrow, plain or packed: URL lists, id lists, YFCC100M."""

from __future__ import annotations

import bz2
import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.errors import InputError, shortened
from imagenet_captions.storage.files import is_hidden, require_file
from imagenet_captions.storage.places import Place
from imagenet_captions.storage.progress import open_watched

BLOCK = 1 << 22  # bytes

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
# zipfile raises RuntimeError for an encrypted archive.
_DAMAGE = (OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile, NotImplementedError, RuntimeError)


def read_blocks(path: Place, what: str) -> Iterator[bytes]:
    """Yield the text of a list as blocks of whole lines; the first bytes, not the name, tell how it is packed.

    A block has about `BLOCK` bytes and ends with a line feed. Of a line longer than two blocks only the start and the
    end are kept. Raises InputError, which calls the list `what`, for a file that is missing, damaged or cut short.
    """
    require_file(path, what)
    try:
        for text in _texts(path):
            yield from _whole_lines(text)
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:  # errors of archives have no number
            raise
        raise InputError(
            f"{what} {path} is damaged or cut short ({type(error).__name__}: {shortened(error, 200)}); get it again"
        ) from None


def _texts(path: Place) -> Iterator[Any]:
    """Yield every text in the file, in order."""
    with open_watched(path, f"read {path.name}") as opened:
        head = opened.read(512)
        opened.seek(0)
        if head.startswith(_ZIP):
            with zipfile.ZipFile(opened) as archive:
                for member in archive.infolist():
                    if not (member.is_dir() or is_hidden(member.filename)):
                        with archive.open(member) as content:
                            yield content
            return
        stream: Any = opened
        if head.startswith(b"\x1f\x8b"):
            stream = gzip.GzipFile(fileobj=opened)
        elif head.startswith(b"BZh"):
            stream = bz2.BZ2File(opened)
        head = stream.read(512)
        stream.seek(0)
        if head[257:262] != b"ustar":
            yield stream
        else:
            with tarfile.open(fileobj=stream, mode="r:") as tar:
                for file in tar:
                    if not is_hidden(file.name) and (text := tar.extractfile(file)):
                        yield text
                stream.seek(tar.offset)  # tarfile takes a damaged header, or a cut between two files, for the end
                if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                    raise tarfile.ReadError("a tar has no end")
        while stream.read(BLOCK):  # the checksum is at the end, after the padding of a tar
            pass


def _whole_lines(stream: IO[bytes]) -> Iterator[bytes]:
    rest, ended = b"", False
    while data := stream.read(BLOCK):
        end = data.rfind(b"\n") + 1
        if end:
            yield rest + data[:end]
            rest, ended = data[end:], True
        elif len(rest) < 2 * BLOCK:
            rest += data
    if not ended and b"\r" in rest.rstrip(b"\r"):
        raise OSError("its lines end in carriage returns alone")
    if rest:
        yield rest + b"\n"


def lines_of(block: bytes) -> pa.BinaryArray:
    """Return the lines of a block, each with its line feed, without a copy."""
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + 1
    offsets = np.append(0, ends).astype(np.int32)
    return pa.Array.from_buffers(pa.binary(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(block)])


def as_text(column: pa.BinaryArray) -> pa.StringArray:
    """Return bytes as stripped text: decoded as UTF-8 if possible, else as Latin-1."""
    text = pc.ascii_trim_whitespace(column.cast(pa.string(), safe=False))
    odd = pc.invert(pc.string_is_ascii(text))
    decoded = []
    for value in text.cast(pa.binary()).filter(odd).to_pylist():
        try:
            decoded.append(value.decode())
        except UnicodeDecodeError:
            decoded.append(value.decode("latin-1"))
    return pc.replace_with_mask(text, odd, pa.array(decoded, pa.string())) if decoded else text
