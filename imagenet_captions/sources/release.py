"""Read the published imagenet_captions.json, or the zip with it, as a stream of raw records.

The file is one JSON list of objects with `filename`, `wnid`, `title`, `description` and `tags`. Its length is not
assumed: the paper counts 463,622 entries, a user of the published file counted 448,896.
"""

from __future__ import annotations

import codecs
import hashlib
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

import msgspec
import pyarrow as pa

from imagenet_captions.engines.local import in_batches
from imagenet_captions.errors import InputError, quoted
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.imagenet.image_ids import image_id as read_image_id
from imagenet_captions.imagenet.image_ids import wnid_of
from imagenet_captions.outcomes import OUTCOMES, Outcome
from imagenet_captions.schema import RAW, RawSource
from imagenet_captions.storage.files import is_hidden, require_file
from imagenet_captions.storage.places import Place
from imagenet_captions.storage.progress import open_watched

READ_BYTES = 1 << 20

_BATCH_ROWS = 4096
_LARGEST_ENTRY = 1 << 25  # bytes; the longest real entry has under 100,000
_MOST_TRIES = 5
# An escape in a JSON text; the first group is half a UTF-16 pair, which is not valid JSON but found in the wild.
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..)|.)", re.DOTALL)
_HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")


class Entry(msgspec.Struct):
    """An entry of the release as it should be."""

    filename: str
    wnid: str
    title: str
    description: str
    tags: list[str]


_ENTRY, _ELEMENTS = msgspec.json.Decoder(Entry), msgspec.json.Decoder(list[msgspec.Raw])
_NOT_JSON = (msgspec.DecodeError, RecursionError)


class ReleaseSource(RawSource):
    """A `RawSource` over the published file.

    Bad entries and entries of other classes become drops, with the entry's number in the detail. With `as_published` an
    entry is not bad if its title, description or tags are not text: they are left out, and the detail says so.
    """

    def __init__(self, path: Place, among: ClassSet = ClassSet.ILSVRC2012, as_published: bool = False) -> None:
        super().__init__([path])
        self._path = require_file(path, "the release")
        self._among, self._as_published = among, as_published

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the good entries as RAW batches, in the order of the file."""
        drops: list[dict[str, Any]] = []
        outside: Counter[str] = Counter()
        found = 0
        for elements in in_batches(enumerate(self._elements(), start=1), _BATCH_ROWS):
            good = []
            for number, element in elements:
                entry, fault = self._decode(element, number)
                image_id = read_image_id(entry.filename)
                wnid = "" if image_id is None else wnid_of(image_id)
                reason = None if self._as_published else fault
                if image_id is None:
                    wrong = f"filename {quoted(entry.filename)}"
                    reason = fault or f"{wrong} is not of the form n01440764_10026.JPEG"
                elif entry.wnid != wnid:
                    wrong = f"wnid {quoted(entry.wnid)}"
                    reason = reason or f"{wrong} is not the one of the file name {image_id}"
                if reason is not None:
                    detail = f"entry {number}: {reason}"
                    drop = {"image_id": image_id, "wnid": wnid or None, "detail": detail}
                    drops.append({**drop, "outcome": Outcome.BAD_RECORD.value, "count": 1})
                    continue
                found += 1
                if classes.is_class(wnid, self._among):
                    good.append((image_id, wnid, entry.title, entry.description, entry.tags, fault))
                else:
                    outside[wnid] += 1
            if good:
                names = ("image_id", "wnid", "title", "description", "tags", "detail")
                columns: dict[str, Any] = dict(zip(names, zip(*good, strict=True), strict=True))
                columns["source"] = ["release"] * len(good)
                unknown = [None] * len(good)
                arrays = [pa.array(columns.get(each.name, unknown), each.type) for each in RAW]
                yield pa.RecordBatch.from_arrays(arrays, schema=RAW)
        if not found:
            first = f" ({drops[0]['detail']})" if drops else ""
            raise InputError(
                f"{self._path} is not imagenet_captions.json: it has no entry with filename, wnid, title, description "
                f"and tags{first}; check the file"
            )
        for wnid, count in sorted(outside.items()):
            drops.append({"wnid": wnid, "outcome": Outcome.UNKNOWN_CLASS.value, "count": count})
        self.drops = [pa.RecordBatch.from_pylist(drops, OUTCOMES)]

    def _elements(self) -> Iterator[msgspec.Raw]:
        count, known, digest = 0, 0, hashlib.sha256()
        with _opened(self._path) as stream:
            block = stream.read(READ_BYTES)
            digest.update(block)
            text = block.removeprefix(codecs.BOM_UTF8).lstrip()
            if text and not text.startswith(b"["):
                raise InputError(
                    f"{self._path} does not hold a JSON list, so it is not imagenet_captions.json; check the file"
                )
            while block:
                block = stream.read(max(READ_BYTES, len(text)))
                digest.update(block)
                text += block
                try:
                    found, end = _whole_elements(text, is_last=not block)
                except _NOT_JSON as error:
                    reason = str(error).partition(" (byte")[0]
                    raise self._error("is not one whole JSON list", count, reason) from None
                yield from found[known:]
                count += len(found[known:])
                if end:
                    text, known = b"[null" + text[end:], 1
                elif len(text) > _LARGEST_ENTRY:
                    raise self._error("is not valid JSON, or has an entry of over 32 MB", count)
        self.inputs = {"release": digest.hexdigest()}

    def _decode(self, element: msgspec.Raw, number: int) -> tuple[Entry, str | None]:
        """Return an entry, in which fields of a wrong type are empty, and its first fault."""
        value = None
        try:
            try:
                return _ENTRY.decode(element), None
            except msgspec.DecodeError as error:
                fault = str(error).replace("`", "")
            with suppress(msgspec.DecodeError):  # of a number that is out of range
                value = msgspec.json.decode(element)
        except UnicodeDecodeError:
            raise self._error("is not UTF-8", number - 1) from None
        fields = value if isinstance(value, dict) else {}
        names = ("filename", "wnid", "title", "description")
        texts = {name: fields[name] if isinstance(fields.get(name), str) else "" for name in names}
        tags = fields["tags"] if isinstance(fields.get("tags"), list) else []
        return Entry(**texts, tags=[tag for tag in tags if isinstance(tag, str)]), fault

    def _error(self, what: str, count: int, why: str = "") -> InputError:
        where = f"after entry {count:,}" if count else "at its start"
        detail = f"{where}: {why}" if why else where
        return InputError(f"{self._path} {what} ({detail}); check the file, or download it again")


def _whole_elements(text: bytes, is_last: bool) -> tuple[list[msgspec.Raw], int]:
    """Return the elements that the start of a list holds whole, and where they end.

    The text up to the end of an object, closed by a bracket, is a list only if that object is an element of it: if it
    lies in another object or in a string, the text is not JSON.
    """
    if is_last:
        return _decoded(text), len(text)
    end = len(text)
    for _ in range(_MOST_TRIES):
        end = text.rfind(b"}", 0, end)
        if end < 0:
            break
        with suppress(*_NOT_JSON):
            return _decoded(text[: end + 1] + b"]"), end + 1
    return [], 0


def _decoded(text: bytes) -> list[msgspec.Raw]:
    """Return the elements of a list; half a UTF-16 pair in a text is replaced by U+FFFD."""
    try:
        return _ELEMENTS.decode(text)
    except msgspec.DecodeError:
        if not _HALF_PAIR.search(text):
            raise
        whole = _ESCAPE.sub(lambda found: b"\\ufffd" if found[1] else found[0], text)
        return _ELEMENTS.decode(whole)


@contextmanager
def _opened(path: Place) -> Iterator[IO[bytes]]:
    with open_watched(path, f"read {path.name}") as raw:
        if not zipfile.is_zipfile(raw):
            if path.suffix.lower() == ".zip":
                raise InputError(f"{path} is not a whole zip file; download it again")
            raw.seek(0)
            yield raw
            return
        try:
            with zipfile.ZipFile(raw) as archive:
                names = [name for name in archive.namelist() if not is_hidden(name)]
                found = [name for name in names if name.lower().endswith(".json")]
                if len(found) != 1:
                    raise InputError(f"{path} should hold one JSON file, not {len(found)}; give imagenet_captions.zip")
                with archive.open(found[0]) as stream:
                    yield stream
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise InputError(f"{path} is damaged or cannot be unpacked here ({error}); give the JSON file") from None
