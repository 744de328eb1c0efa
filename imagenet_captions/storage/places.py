"""Paths and URLs: a place on this machine is a `Path`, any other URL a `RemotePath`; both are a `Place`."""

from __future__ import annotations

import glob
import io
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, TypeAlias, TypeVar
from urllib.parse import unquote

from imagenet_captions.errors import InputError, shortened
from imagenet_captions.storage.faults import how_to_install, missing_object, reporting_faults

if TYPE_CHECKING:
    from typing_extensions import TypeIs

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://", re.ASCII)
# What is left of a URL when pathlib or a slip took a slash.
_ONE_SLASH = re.compile(r"(s3a?|gs|gcs|hf|https?|az|abfss?|s?ftp|memory|file):/(?!/)", re.IGNORECASE)
_LOCAL = re.compile(r"(?:file|local)://", re.IGNORECASE)
# A URL anywhere in a text, such as NAME=https://…, that may hold a secret; a slash or two, either way round, as some
# readers forgive it. The password of s3://NAME:PASSWORD@bucket may hold slashes; a colon may also stand before a port.
_SECRET = re.compile(
    r"""([A-Za-z][A-Za-z0-9+.-]+):[/\\]+
    (?: [^/\\]*@ | .*[?#] | [^/\\:\[]+:(?![0-9]{1,5}(?:[/\\]|$)).*@ )""",
    re.ASCII | re.DOTALL | re.VERBOSE,
)
_ROUNDS = 3  # %2540 is @ after two
_ALIASES = {"s3a": "s3", "gcs": "gs"}  # two names of one place
_CHANGES_AT_ONCE = 8
_FOOTER = 256 << 10  # bytes at the end of a file that are requested together: the footer of a shard is there
# The fields by which stores tell versions of an object apart.
_VERSIONS = ("ETag", "etag", "md5Hash", "blob_id", "mtime", "LastModified", "last_modified", "updated", "created")
_REQUEST = 8 << 20  # bytes of an object that is read in order
_WILDCARDS = "*?["


@dataclass(frozen=True, order=True)
class RemotePath:
    """A place behind a URL, through fsspec, with the methods of `Path` that this package uses. Only objects exist.

    Each call sends its request. Every fault is an InputError or a NetworkError that names the URL. Objects are written
    whole, by `put`.
    """

    scheme: str
    parts: tuple[str, ...]
    system: Any = field(compare=False, repr=False)  # of fsspec

    def __str__(self) -> str:
        return f"{self.scheme}://{'/'.join(self.parts)}"

    as_posix = __str__

    def __reduce__(self) -> tuple[Any, ...]:
        if is_only_here(self):
            raise InputError(f"{self} is in the memory of one process, where no worker sees it; give another place")
        return reopen, (str(self),)

    # Names, without a request.

    @property
    def key(self) -> str:
        """Return its name in fsspec's file system: s3://bucket/a is bucket/a."""
        name: str = self.system._strip_protocol(str(self))  # what every file system implements for this
        return name

    @property
    def name(self) -> str:
        return self.parts[-1] if self.parts else ""

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> RemotePath:
        """Return the folder around it; for a bucket, itself."""
        return replace(self, parts=self.parts[:-1] or self.parts)

    @property
    def parents(self) -> Sequence[RemotePath]:
        return [replace(self, parts=self.parts[:end]) for end in range(len(self.parts) - 1, 0, -1)]

    def __truediv__(self, name: str) -> RemotePath:
        return replace(self, parts=(*self.parts, *(part for part in name.split("/") if part)))

    def with_name(self, name: str) -> RemotePath:
        return replace(self, parts=(*self.parts[:-1], name))

    def with_suffix(self, suffix: str) -> RemotePath:
        return self.with_name(PurePosixPath(self.name).with_suffix(suffix).name)

    def resolve(self) -> RemotePath:
        return self

    # Requests about what is there.

    def exists(self) -> bool:
        return self._info() is not None

    def is_file(self) -> bool:
        return (self._info() or {}).get("type") == "file"

    def is_dir(self) -> bool:
        return (self._info() or {}).get("type") == "directory"

    def stat(self) -> os.stat_result:
        """Return a result that has its size, and nothing else."""
        return os.stat_result((stat.S_IFREG, 0, 0, 0, 0, 0, self._size_and_version()[0], 0, 0, 0))

    def glob(self, pattern: str) -> list[RemotePath]:
        """Return the entries of this folder whose name fits; the pattern has no slash."""
        return [entry for entry in self.iterdir() if fnmatchcase(entry.name, pattern)]

    def iterdir(self) -> Iterator[RemotePath]:
        with reporting_faults(str(self)):
            keys = self.system.ls(self.key, detail=False)
        names = {key.rstrip("/").rpartition("/")[2] for key in keys}
        return (self / name for name in sorted(names - {"", self.name}))

    def below(self) -> list[tuple[RemotePath, str, int, str]]:
        """List every file at any depth, or the file itself: its place, its name in this folder, size and version."""
        with reporting_faults(str(self)):
            found = self.system.find(self.key, detail=True)
        # Some tools make an empty object a/ for a folder; s3fs calls it a/, or a before 2024.5.
        folders = {str(folder) for key in found for folder in PurePosixPath(key).parents}
        listed = []
        for key, info in found.items():
            name, size = key[len(self.key) :].lstrip("/"), int(info["size"] or 0)
            if size or not (key.endswith("/") or key in folders):
                listed.append((self / name, name, size, _version(info)))
        return sorted(listed, key=lambda entry: entry[1].split("/"))

    def _info(self) -> dict[str, Any] | None:
        with reporting_faults(str(self)):
            try:
                info: dict[str, Any] = self.system.info(self.key)
            except FileNotFoundError as error:
                # fsspec's HTTP says the same of a server that fails, or that cannot be reached.
                fault = error.__cause__ if self.scheme in ("http", "https") else None
                if fault is not None and not 400 <= getattr(fault, "status", 0) < 500:
                    raise fault from None
                return None
        return info

    def _size_and_version(self) -> tuple[int, str]:
        info = self._info()
        if info is None:
            raise missing_object(str(self))
        if info.get("size") is None:
            raise InputError(f"the server does not say how large {self} is; download it first")
        return int(info["size"]), _version(info)

    # Requests for bytes, and changes.

    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """Open for reading; with `buffering=0` exactly what is read is requested."""
        if mode not in ("r", "rb"):
            raise ValueError(f"{self} cannot be opened with mode {mode!r}; objects are written whole")
        size, version = self._size_and_version()

        def fetch_footer_once(start: int, stop: int) -> bytes:
            # A command opens a shard several times: for its schema, for its statistics, to read it.
            end = max(0, size - _FOOTER)
            return _end(self, version, end, size)[start - end : stop - end] if start >= end else self.fetch(start, stop)

        if buffering == 0:
            return Ranges(fetch_footer_once if version else self.fetch, size, str(self))  # type: ignore[return-value]
        buffered = io.BufferedReader(Ranges(self.fetch, size, str(self)), _REQUEST)
        return buffered if mode == "rb" else io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline)

    def fetch(self, start: int | None = None, stop: int | None = None) -> bytes:
        """Return bytes `start` to `stop`, in one request."""
        with reporting_faults(str(self)):
            data: bytes = self.system.cat_file(self.key, start=start, end=stop)
        return data

    def read_bytes(self) -> bytes:
        return self.fetch()

    def read_text(self, encoding: str = "utf-8") -> str:
        return io.TextIOWrapper(io.BytesIO(self.fetch()), encoding).read()

    def put(self, local: Path) -> None:
        """Upload a file of this machine as this object; readers see the old one until the new one is whole."""
        with reporting_faults(str(self)):
            self.system.put_file(str(local), self.key)

    def copy_to(self, other: RemotePath) -> None:
        """Copy this object within its store, without its bytes coming here."""
        with reporting_faults(str(other)):
            self.system.cp_file(self.key, other.key)

    def unlink(self) -> None:
        """Remove this object, if it is there."""
        with reporting_faults(str(self)), suppress(FileNotFoundError):
            self.system.rm_file(self.key)


Place: TypeAlias = Path | RemotePath
AnyPlace = TypeVar("AnyPlace", bound=Place)
PlaceLike: TypeAlias = str | os.PathLike[str] | RemotePath  # `place` turns it into a Place


def _version(info: Mapping[str, Any]) -> str:
    return next((str(info[name]) for name in _VERSIONS if info.get(name) is not None), "")


@lru_cache(maxsize=8)
def _end(file: RemotePath, version: str, start: int, stop: int) -> bytes:
    return file.fetch(start, stop)


def fetch_together(ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
    """Return byte ranges (URL, first byte, size) of one store, requested together if the store can do that."""
    if not ranges:
        return []
    urls, starts, sizes = zip(*ranges, strict=True)
    places = {url: reopen(url) for url in set(urls)}
    files = [place for url in urls if is_remote(place := places[url])]
    stops = [start + size for start, size in zip(starts, sizes, strict=True)]
    with reporting_faults(urls[0]):
        found = files[0].system.cat_ranges([file.key for file in files], [*starts], stops, on_error="return")
        for data in found:
            if isinstance(data, BaseException):
                raise data
    return [bytes(data) for data in found]


def at_once(change: Callable[..., None], *arguments: Iterable[RemotePath]) -> None:
    """Make a change for each of several objects of a store, several at a time."""
    with ThreadPoolExecutor(_CHANGES_AT_ONCE) as pool:
        list(pool.map(change, *arguments))


class Ranges(io.RawIOBase):
    """A raw file that requests exactly what is read, through `fetch(start, stop)`.

    `parts` are byte ranges, each requested as a whole when bytes in it are read; the last one is held.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int, name: str) -> None:
        self.name = name
        self._fetch, self._size, self._at = fetch, size, 0
        self.parts: Sequence[tuple[int, int]] = ()
        self._held = ((0, 0), b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, (0, self._at, self._size)[whence] + offset)
        return self._at

    def readinto(self, target: Any) -> int:
        wanted = min(len(target), self._size - self._at)
        if wanted <= 0:
            return 0
        data = self._bytes(self._at, self._at + wanted)
        if len(data) != wanted:
            raise InputError(
                f"{self.name} gave {len(data):,} bytes where {wanted:,} were asked for: it changed while it was read, "
                "or its server does not give parts of a file; download it first if that happens again"
            )
        target[:wanted] = data
        self._at += wanted
        return wanted

    def _bytes(self, start: int, stop: int) -> bytes:
        for first, last in self.parts:
            if first <= start and stop <= last:
                if self._held[0] != (first, last):
                    self._held = ((first, last), self._fetch(first, last))
                return self._held[1][start - first : stop - first]
        return self._fetch(start, stop)


# From what a user gives to a place.


def place(given: PlaceLike) -> Place:
    """Return the place that a path or URL names; a `Path` or an earlier result comes back as it is.

    Raises InputError for a URL that may hold a secret, a kind of URL that nothing installed can read, and other types.

    >>> place("work/captions.parquet").as_posix(), place("file:///data/a%20b").as_posix()
    ('work/captions.parquet', '/data/a b')
    """
    if not isinstance(given, (str, os.PathLike, RemotePath)):
        raise InputError(f"a path or URL must be a text or a Path, not {given!r:.80}")
    if not isinstance(given, str):
        return given if isinstance(given, (Path, RemotePath)) else Path(given)
    if not given:
        raise InputError("an empty path was given; give the path of a file or folder")
    refuse_secrets(given)
    if cut := _ONE_SLASH.match(given):
        raise InputError(
            f"{shortened(given, 200)} has one slash behind {cut[1]}: and would be a folder here; write {cut[1]}://"
        )
    if local := _LOCAL.match(given):
        return Path(unquote(given[local.end() :].removeprefix("localhost")))
    return reopen(given)


if TYPE_CHECKING:

    class PlaceField:
        """A field of a settings class, for a type checker: takes a path or URL as `place` does, and holds the place."""

        def __get__(self, settings: object | None, owner: type) -> Place | None: ...
        def __set__(self, settings: object, given: PlaceLike | None) -> None: ...
else:
    PlaceField = Place | None


def reopen(name: str) -> Place:
    """Return the place of a file from a listing; an object's name may have any character."""
    if not is_url(name):
        return Path(name)
    from fsspec.core import url_to_fs

    given, _, rest = name.partition("://")
    scheme, parts = given.lower(), tuple(part for part in rest.split("/") if part)
    has_buckets = scheme in ("s3", "s3a", "gs", "gcs")
    if has_buckets and not parts:
        raise InputError(f"{scheme}:// names no bucket; give one, as in {scheme}://bucket/name")
    with reporting_faults(name):
        try:
            # Without a cache of listings: workers and other machines write what this process has to see.
            system, _ = url_to_fs(f"{scheme}://{rest}", use_listings_cache=False)
        except (ImportError, ValueError) as error:
            extra = how_to_install("cloud") if has_buckets else ""
            how = extra or "check the URL, or install what fsspec needs for it"
            raise InputError(f"{scheme}:// cannot be read ({shortened(error, 200)}); {how}") from None
    return RemotePath(_ALIASES.get(scheme, scheme), parts, system)


def local_place(given: str) -> Path:
    """Return the path that a text names, for a command that reads and writes on this machine only."""
    return require_local(place(str(given)), "the place", "this command reads and writes on this machine alone")


def require_local(path: Place, what: str, why: str) -> Path:
    """Return the path if it is on this machine; raise InputError, which says why it must be, if not."""
    if is_remote(path):
        raise InputError(f"{what} {path} is a URL, and {why}; give a path on this machine")
    return path


def is_url(text: str) -> bool:
    """Return whether a text is a URL rather than a path; C:// is a path."""
    return _URL.match(text) is not None


def resolve_links(path: Place) -> Place:
    """Return the place behind the links; a link to itself stays as it is."""
    return path if is_remote(path) else Path(os.path.realpath(path))


def is_remote(path: Place) -> TypeIs[RemotePath]:
    """Return whether a place is behind a URL and not on this machine."""
    return isinstance(path, RemotePath)


def is_only_here(path: Place) -> bool:
    """Return whether a place is in the memory of this process (memory://), where its workers cannot see it."""
    return is_remote(path) and path.scheme == "memory"


def refuse_secrets(text: str) -> str:
    """Return the text; raise InputError if a URL in it has user-info, a query or a fragment, percent-encoded or not.

    These hold passwords, tokens and signatures. The error shows the URL's scheme only.
    """
    plain = text
    for encoded in range(_ROUNDS):
        found = _SECRET.search(plain)
        # In a file:// URL an encoded ? or # belongs to the name.
        if found and not (encoded and _LOCAL.match(f"{found[1]}://")):
            raise InputError(
                f"the URL {found[1].lower()}://… has a user name (@), a query (?) or a fragment (#), which may hold a "
                "secret; remove it, and give credentials in the environment (such as AWS_ACCESS_KEY_ID) or fsspec's "
                "configuration; download what a signed link gives first"
            )
        plain = unquote(plain)
    return text


# Patterns such as shards/{00000..00012}.tar, with one meaning in every command that takes one.


def expand_pattern(path: Place) -> list[Place] | None:
    """Return the files of a path with braces or wildcards, in order; None for any other path.

    Raises InputError if a file is missing, or if there is none. Behind a URL only the last name has wildcards.
    """
    text = str(path)
    if not any(mark in text for mark in "{" + _WILDCARDS) or path.exists():
        return None
    files: list[Place] = []
    for name in expand_braces(text):
        file = reopen(name)
        if not any(mark in name for mark in _WILDCARDS):
            files.append(file)
        elif is_remote(file):
            files += file.parent.glob(file.name)
        else:
            files += map(Path, sorted(glob.glob(name)))  # noqa: PTH207
    if not files:
        raise InputError(f"the pattern {shortened(text)} matches no file; check the path")
    there = {entry for folder in {file.parent for file in files} if folder.is_dir() for entry in folder.iterdir()}
    if missing := [file for file in files if file not in there]:
        raise InputError(f"the pattern {shortened(text)} names {missing[0]}, which does not exist; check the path")
    return files


def each_file(paths: Iterable[Place | None]) -> Iterator[Place]:
    """Yield the paths that are given, and for a pattern its files."""
    for path in paths:
        if path is not None:
            yield from expand_pattern(path) or [path]


def expand_braces(pattern: str) -> list[str]:
    """Return the names of a pattern with braces, as a shell does.

    >>> expand_braces("{x,y}/{08..09}.tar")
    ['x/08.tar', 'x/09.tar', 'y/08.tar', 'y/09.tar']
    """
    found = re.search(r"\{(?:(\d+)\.\.(\d+)|([^}]*))\}", pattern)
    if found is None:
        return [pattern]
    first, last, names = found.groups()
    choices = names.split(",") if first is None else [f"{n:0{len(first)}d}" for n in range(int(first), int(last) + 1)]
    endings = expand_braces(pattern[found.end() :])
    return [pattern[: found.start()] + choice + ending for choice in choices for ending in endings]
