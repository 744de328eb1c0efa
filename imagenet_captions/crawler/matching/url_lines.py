"""Read the lines of a URL list, a block at a time: `<image_id><tab or spaces><address>`. Used by `gather`.

Fourteen million lines are too many for a loop in Python, and most are not wanted. So the ids of a whole block are read
with a few operations on columns of 64-bit words, and addresses are read only for the lines that ask for them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.crawler.matching.id_keys import Keys, key_of, pack
from imagenet_captions.imagenet.image_ids import image_id

Words = npt.NDArray[np.uint64]

_HEAD = 24  # "n01440764_12345678" and what follows fit
_NUMBER_AT = 10
_LINE_FEED = ord("\n")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SEPARATORS = np.isin(np.arange(256), [ord("\t"), ord(" "), _LINE_FEED])
_LINE = re.compile(rb"[ \t\r]*(?:\xef\xbb\xbf)?([^ \t\r/\\]+)(?=[ \t\r]|$)")


@dataclass(frozen=True)
class Lines:
    """The lines of one block; every array has one entry a line.

    `keys` holds the id's key, NO_ID for a line without one, or BLANK. The rest of the line lies in the block between
    `starts` and `ends`.
    """

    block: bytes
    keys: Keys
    starts: Keys
    ends: Keys

    def urls(self, chosen: npt.NDArray[np.bool_]) -> pa.StringArray:
        """Return the addresses of the chosen lines as text."""
        # Arrow's offsets are contiguous: a column of address, gap, address, gap ... shares the block's bytes.
        offsets = np.stack([self.starts[chosen], self.ends[chosen]], axis=1).astype(np.int32).ravel()
        if not len(offsets):
            return pa.array([], pa.string())
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(self.block)]
        alternating = pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers)
        return as_text(alternating.take(np.arange(0, len(offsets) - 1, 2)))

    def text(self, line: int) -> bytes:
        """Return a line as it is, up to 200 bytes."""
        start = int(self.ends[line - 1]) + 1 if line else 0
        return self.block[start : min(int(self.ends[line]), start + 200)]


NO_ID = -1
BLANK = -2


def read_lines(block: bytes) -> Lines:
    r"""Find ids and addresses in a block of whole lines.

    >>> lines = read_lines(b"n01440764_7\thttp://a.org/ x.jpg\r\n\nwhat\n")
    >>> (lines.keys < 0).tolist(), lines.urls(lines.keys >= 0).to_pylist()
    ([False, True, True], ['http://a.org/ x.jpg'])
    """
    padded = np.frombuffer(block + b"\n" * _HEAD, np.uint8)
    ends = np.flatnonzero(padded[: len(block)] == _LINE_FEED)
    begins = np.concatenate([[0], ends[:-1] + 1])
    heads = np.lib.stride_tricks.sliding_window_view(padded, _HEAD)[begins]
    wnids, wnid_digits = _leading_digits(_words(heads, 1))
    numbers, digits = _leading_digits(_words(heads, _NUMBER_AT))
    after = heads[np.arange(len(heads)), _NUMBER_AT + digits]
    plain = (heads[:, 0] == ord("n")) & (heads[:, 9] == ord("_")) & (wnid_digits == 8)
    plain &= (digits > 0) & _SEPARATORS[after]
    keys = np.where(plain, pack(wnids, numbers, digits), NO_ID)
    starts = begins + _NUMBER_AT + digits
    for line in np.flatnonzero(~plain).tolist():
        start, end = int(begins[line]), int(ends[line])
        keys[line], starts[line] = _read_odd_line(block, start, end)
    return Lines(block, keys, starts, ends)


def _read_odd_line(block: bytes, start: int, end: int) -> tuple[int, int]:
    """Return the key and the start of the address, for a line that the columns could not read."""
    found = _LINE.match(block, start, end)
    name = image_id(found[1][:64].decode("latin-1")) if found else None
    if found and name and len(found[1]) <= 64:
        return key_of(name), found.end()
    text = block[start:end].removeprefix(_BYTE_ORDER_MARK)
    return (NO_ID if text.strip() else BLANK), end


def _words(heads: npt.NDArray[np.uint8], start: int) -> Words:
    words: Words = np.ascontiguousarray(heads[:, start : start + 8]).view("<u8").ravel()
    return words


def _leading_digits(words: Words) -> tuple[Keys, Keys]:
    """Return the number at the start of eight characters, and its number of digits (0 to 8).

    The first character is a word's lowest byte. One xor turns digits into 0 to 9; any other byte has its top bit set
    after 0x76 is added. Carries only reach bytes after the first such byte, which do not count.
    """
    values = words ^ np.uint64(0x3030303030303030)
    others = ((values + np.uint64(0x7676767676767676)) | values) & np.uint64(0x8080808080808080)
    first = others & (~others + np.uint64(1))
    digits = ((first >> np.uint64(7)) * np.uint64(0x0001020304050607)) >> np.uint64(56)
    digits[others == 0] = 8
    # Shift the digits to the end, as if zeros came before the number, then add neighbors: 2, 4, 8 digits.
    filled = values << (np.uint64(64) - np.uint64(8) * digits)
    pairs = filled * np.uint64(10) + (filled >> np.uint64(8))
    mask = np.uint64(0x000000FF000000FF)
    high = (pairs & mask) * np.uint64(0x000F424000000064)
    low = ((pairs >> np.uint64(16)) & mask) * np.uint64(0x0000271000000001)
    return ((high + low) >> np.uint64(32)).astype(np.int64), digits.astype(np.int64)


def as_text(column: pa.BinaryArray) -> pa.StringArray:
    """Return bytes as stripped text: decoded as UTF-8 if possible, else as Latin-1."""
    unchecked = column.cast(pa.string(), safe=False)
    text = pc.ascii_trim_whitespace(unchecked)
    odd = pc.invert(pc.string_is_ascii(text))
    if pc.any(odd).as_py():
        decoded = [_decode(value) for value in text.cast(pa.binary()).filter(odd).to_pylist()]
        text = pc.replace_with_mask(text, odd, pa.array(decoded, pa.string()))
    return text


def _decode(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
