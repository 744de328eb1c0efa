"""Read the published imagenet_captions.json, or the zip with it, as a stream of raw records.

The file is one JSON list of objects with `filename`, `wnid`, `title`, `description` and `tags`. Its length is not
assumed: the paper counts 463,622 entries, a user of the published file counted 448,896.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple, Protocol

import pyarrow as pa

from imagenet_captions.errors import InputError
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.class_sets import ClassSet
from imagenet_captions.imagenet.image_ids import image_id as read_image_id
from imagenet_captions.imagenet.image_ids import wnid_of
from imagenet_captions.outcomes import Outcome, outcome_rows
from imagenet_captions.schema import RAW
from imagenet_captions.storage.files import open_zip, require_file
from imagenet_captions.storage.places import Place
from imagenet_captions.storage.progress import open_watched

_BATCH_ROWS = 4096
READ_BYTES = 1 << 20
_LARGEST_ENTRY = 1 << 25  # characters; the longest real entry has under 100,000


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes: ...


class Entry(NamedTuple):
    """A good entry of the release; the detail names the fields that were read as empty."""

    image_id: str
    wnid: str
    title: str
    description: str
    tags: list[str]
    detail: str | None = None


class BadEntry(NamedTuple):
    """The reason why an entry cannot be used, and its id if that can be read."""

    image_id: str | None
    wnid: str | None
    reason: str


class ReleaseSource:
    """A `RawSource` over the published file.

    Bad entries and entries of other classes become drops, with the entry's number in the detail. With `as_published` an
    entry is not bad if its title, description or tags are not text.
    """

    def __init__(self, path: Place, among: ClassSet = ClassSet.ILSVRC2012, as_published: bool = False) -> None:
        self.among = among
        self._check = check_published_entry if as_published else check_entry
        self.path = require_file(path, "the release")
        self._bad: list[tuple[int, BadEntry]] = []
        self._outside: Counter[str] = Counter()
        self._sha256: str | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the good entries as RAW batches, in the order of the file."""
        self._bad.clear()
        self._outside.clear()
        good: list[Entry] = []
        found = 0
        with _opened(self.path) as stream:
            hashing = _Hashing(stream)
            for number, value in enumerate(iter_json_list(hashing, str(self.path)), start=1):
                entry = self._check(value)
                if isinstance(entry, BadEntry):
                    self._bad.append((number, entry))
                    continue
                found += 1
                if not classes.is_class(entry.wnid, self.among):
                    self._outside[entry.wnid] += 1
                    continue
                good.append(entry)
                if len(good) == _BATCH_ROWS:
                    yield _raw_batch(good)
                    good = []
            self._sha256 = hashing.hexdigest()
        if not found:
            raise InputError(_not_the_release(self.path, self._bad))
        if good:
            yield _raw_batch(good)

    def drops(self) -> Iterator[pa.RecordBatch]:
        """Yield the drops of `batches`: a row for each bad entry, and a row for each wnid of other classes."""
        ids = {name: [getattr(bad, name) for _, bad in self._bad] for name in ("image_id", "wnid")}
        details = [f"entry {number}: {bad.reason}" for number, bad in self._bad]
        outside = sorted(self._outside.items())
        wnids, counts = [wnid for wnid, _ in outside], [count for _, count in outside]
        yield from outcome_rows(Outcome.BAD_RECORD, len(details), detail=details, **ids).to_batches()
        yield from outcome_rows(Outcome.UNKNOWN_CLASS, len(wnids), wnid=wnids, count=counts).to_batches()

    def files(self) -> list[Place]:
        """Return the release."""
        return [self.path]

    def measured(self) -> dict[str, Any]:
        """Return nothing: nobody was asked about the photos."""
        return {}

    def inputs(self) -> dict[str, str]:
        """Return the SHA-256 of the JSON, the same for a zip and a plain file."""
        if self._sha256 is None:
            with _opened(self.path) as stream:
                hashing = _Hashing(stream)
                while hashing.read(READ_BYTES):
                    pass
                self._sha256 = hashing.hexdigest()
        return {"release": self._sha256}


def check_entry(value: object) -> Entry | BadEntry:
    """Read an element of the list; returns a BadEntry if something is wrong with it.

    >>> check_entry({"filename": "n01440764_10.JPEG", "wnid": "n01440764", "title": None})
    BadEntry(image_id='n01440764_10', wnid='n01440764', reason='title is null, not text')
    """
    if not isinstance(value, dict):
        return BadEntry(None, None, f"{_kind(value)}, not an object")
    filename = value.get("filename")
    image_id = read_image_id(filename) if isinstance(filename, str) else None
    wnid = wnid_of(image_id) if image_id else None
    for name in ("filename", "wnid", "title", "description"):
        if fault := _text_fault(value, name):
            return BadEntry(image_id, wnid, fault)
    if image_id is None or wnid is None:
        return BadEntry(None, None, f"filename {_short(filename)} is not of the form n01440764_10026.JPEG")
    if value["wnid"] != wnid:
        return BadEntry(image_id, wnid, f"wnid {_short(value['wnid'])} is not the one of the file name {image_id}")
    if fault := _tags_fault(value):
        return BadEntry(image_id, wnid, fault)
    return Entry(image_id, wnid, value["title"], value["description"], value["tags"])


def check_published_entry(value: object) -> Entry | BadEntry:
    """Read an element of the list; a title, description or tag that is not text is left out and named in the detail.

    >>> check_published_entry({"filename": "n01440764_10.JPEG", "wnid": "n01440764", "title": None, "tags": []}).detail
    'title is null, not text; description is missing, not text'
    """
    if not isinstance(value, dict):
        return check_entry(value)
    faults = [_text_fault(value, "title"), _text_fault(value, "description"), _tags_fault(value)]
    texts = {name: text if isinstance(text := value.get(name), str) else "" for name in ("title", "description")}
    tags = value["tags"] if isinstance(value.get("tags"), list) else []
    entry = check_entry({**value, **texts, "tags": [tag for tag in tags if isinstance(tag, str)]})
    return entry if isinstance(entry, BadEntry) else entry._replace(detail="; ".join(filter(None, faults)) or None)


def iter_json_list(stream: Readable, name: str) -> Iterator[Any]:
    """Yield the elements of a JSON list without reading the whole list into memory; `name` is for error messages."""
    reader = _Text(stream, name)
    if reader.skip_blanks() != "[":
        raise InputError(f"{name} does not hold a JSON list, so it is not imagenet_captions.json; check the file")
    reader.at += 1
    if reader.skip_blanks() == "]":
        reader.at += 1
        reader.refuse_more()
        return
    while True:
        yield reader.value()
        after = reader.skip_blanks()
        reader.at += 1
        if after == "]":
            reader.refuse_more()
            return
        if after != ",":
            raise reader.error("is not valid JSON")


class _Text:
    """A window over a JSON text, which grows at its end and is cut at its start."""

    def __init__(self, stream: Readable, name: str) -> None:
        self.stream = stream
        self.name = name
        self.text = ""
        self.at = 0
        self.count = 0
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._scan = json.JSONDecoder().raw_decode

    def more(self, size: int = READ_BYTES) -> bool:
        """Read more; returns False at the end of the file."""
        block = self.stream.read(size)
        try:
            text = self._decode(block, final=not block)
        except UnicodeDecodeError:
            raise self.error("is not UTF-8") from None
        self.text = self.text[self.at :] + text
        self.at = 0
        return bool(block)

    def skip_blanks(self) -> str:
        """Move to the next character that is not white space, and return it."""
        while True:
            while self.at < len(self.text):
                if self.text[self.at] not in " \t\r\n":
                    return self.text[self.at]
                self.at += 1
            if not self.more():
                raise self.error("ends too early: it is not whole")

    def refuse_more(self) -> None:
        """Refuse anything but white space up to the end of the file."""
        while True:
            found = self.text[self.at :].lstrip(" \t\r\n")
            if found:
                raise self.error(f"has {_short(found[:20])} after the end of its list; the file must be one list")
            self.at = len(self.text)
            if not self.more():
                return

    def value(self) -> Any:
        """Decode the value that starts here; reads more until the value is complete."""
        self.skip_blanks()
        size = READ_BYTES
        while True:
            try:
                value, end = self._scan(self.text, self.at)
            except RecursionError:
                raise self.error("is nested too deeply") from None
            except ValueError:
                end = len(self.text)
                value = None
            if end < len(self.text):
                self.at = end
                self.count += 1
                return value
            if len(self.text) - self.at > _LARGEST_ENTRY:
                raise self.error("is not valid JSON, or one entry of it is larger than 32 MB")
            if not self.more(size):
                raise self.error("ends too early, or is not valid JSON")
            size *= 2

    def error(self, what: str) -> InputError:
        where = f"after entry {self.count:,}" if self.count else "at its start"
        return InputError(f"{self.name} {what} ({where}); check the file, or download it again")


class _Hashing:
    """A byte stream that computes the SHA-256 of what is read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        block = self._stream.read(size)
        self._digest.update(block)
        return block

    def hexdigest(self) -> str:
        """Return the SHA-256 of the whole stream; reads the rest of it."""
        while self.read(READ_BYTES):
            pass
        return self._digest.hexdigest()


@contextmanager
def _opened(path: Place) -> Iterator[IO[bytes]]:
    with path.open("rb") as stream:
        is_zip = zipfile.is_zipfile(stream)
    if not is_zip:
        if path.suffix.lower() == ".zip":
            raise InputError(f"{path} is not a whole zip file; download it again")
        with open_watched(path, f"read {path.name}") as stream:
            yield stream
        return
    try:
        with (
            open_watched(path, f"read {path.name}") as raw,
            open_zip(raw) as archive,
            archive.open(_json_member(archive, path)) as stream,
        ):
            yield stream
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f"{path} is damaged ({error}); download it again") from None
    except (RuntimeError, NotImplementedError) as error:  # a password, a compression that Python lacks
        raise InputError(f"{path} cannot be unpacked here ({error}); unpack it and give the JSON file") from None


def _json_member(archive: zipfile.ZipFile, path: Place) -> str:
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    found = [name for name in names if name.lower().endswith(".json")]
    if len(found) != 1:
        held = ", ".join(_short(name) for name in names[:5]) or "nothing"
        raise InputError(
            f"{path} should hold one JSON file and holds {len(found)} of them (in it: {held}); "
            "give imagenet_captions.zip"
        )
    return found[0]


def _raw_batch(entries: list[Entry]) -> pa.RecordBatch:
    columns: dict[str, Any] = dict(zip(Entry._fields, zip(*entries, strict=True), strict=True))
    try:
        arrays = {name: pa.array(column, RAW.field(name).type) for name, column in columns.items()}
    except UnicodeEncodeError:
        return _raw_batch([_without_surrogates(entry) for entry in entries])
    size = len(entries)
    arrays["source"] = pa.array(["release"] * size, pa.string())
    return pa.RecordBatch.from_arrays([arrays.get(field.name, pa.nulls(size, field.type)) for field in RAW], schema=RAW)


def _without_surrogates(entry: Entry) -> Entry:
    """Replace half a UTF-16 pair, which Arrow refuses, by U+FFFD."""

    def whole(text: str) -> str:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    return entry._replace(
        title=whole(entry.title), description=whole(entry.description), tags=[whole(tag) for tag in entry.tags]
    )


def _not_the_release(path: Place, bad: list[tuple[int, BadEntry]]) -> str:
    first = f" (entry {bad[0][0]}: {bad[0][1].reason})" if bad else ""
    return (
        f"{path} is not imagenet_captions.json: none of its {len(bad):,} entries has filename, wnid, title, "
        f"description and tags{first}; check the file"
    )


def _text_fault(value: dict[str, Any], name: str) -> str | None:
    return None if isinstance(value.get(name), str) else f"{name} is {_found(value, name)}, not text"


def _tags_fault(value: dict[str, Any]) -> str | None:
    tags = value.get("tags")
    if not isinstance(tags, list):
        return f"tags is {_found(value, 'tags')}, not a list"
    return next((f"tags holds {_kind(tag)}, not only text" for tag in tags if not isinstance(tag, str)), None)


def _found(value: dict[str, Any], name: str) -> str:
    return _kind(value[name]) if name in value else "missing"


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {_short(value)}"
    return {"str": "text", "list": "a list", "dict": "an object"}[type(value).__name__]


def _short(value: object) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
