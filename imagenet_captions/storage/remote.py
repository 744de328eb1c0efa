"""A file or folder behind a URL, with the methods of `pathlib.Path` that this package uses."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Generator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache, partial, total_ordering
from pathlib import Path, PurePosixPath
from typing import IO, Any

from imagenet_captions.errors import InputError
from imagenet_captions.storage.extras import how_to_install
from imagenet_captions.storage.faults import missing_object, reporting_faults, unreached
from imagenet_captions.storage.ranges import Ranges

_COPIES_AT_ONCE = 8
_MARK = 8  # bytes after the footer of a Parquet file
_OF_WEB = ("http", "https")
_OF_BUCKETS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")
_SCHEMES_OF_CLOUD = ("s3", "s3a", "gs", "gcs")  # what the packages of that extra read
# The fields by which stores tell versions of an object apart.
_VERSIONS = ("ETag", "etag", "md5Hash", "blob_id", "mtime", "LastModified", "last_modified", "updated", "created")


def open_url(url: str) -> RemotePath:
    """Return the place that a URL names; raise InputError for a kind of URL that nothing installed can read."""
    from fsspec.core import url_to_fs

    given, _, rest = url.partition("://")
    scheme = given.lower()
    url = f"{scheme}://{rest}"
    if scheme in _OF_BUCKETS and not rest.strip("/"):
        raise InputError(f"{url} names no bucket; give one, as in {scheme}://bucket/name")
    with reporting_faults(url):
        try:
            # Without a cache of listings: workers and other machines write what this process has to see.
            system, _ = url_to_fs(url, use_listings_cache=False)
        except ImportError:
            raise InputError(f"{scheme}:// needs a package that is not installed; {_how_to_read(scheme)}") from None
        except ValueError as error:
            if "rotocol" not in str(error):
                raise
            raise InputError(
                f"{scheme}:// is not a kind of URL that fsspec knows; give another one, such as s3://bucket/name"
            ) from None
    return RemotePath(url, system)


def _how_to_read(scheme: str) -> str:
    if scheme in _SCHEMES_OF_CLOUD:
        return how_to_install("cloud")
    return "fsspec's documentation says which one"


@total_ordering
class RemotePath:
    """A place behind a URL. A folder is a common prefix of names: it is never made or removed.

    Each call sends its request, and nothing is cached. Every fault is an InputError or a NetworkError
    that names the URL. Objects are written whole, by `put` and `write_text`: they cannot be opened to write.
    """

    def __init__(self, url: str, system: Any) -> None:
        scheme, _, rest = url.partition("://")
        self.scheme = scheme.lower()
        self._parts = tuple(part for part in rest.split("/") if part)
        self.system = system

    def __str__(self) -> str:
        return f"{self.scheme}://{'/'.join(self._parts)}"

    def __repr__(self) -> str:
        return f"RemotePath({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.scheme == "memory":
            raise InputError(f"{self} is in the memory of one process, where no worker sees it; give another place")
        return open_url, (str(self),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and self._identity == other._identity

    def __lt__(self, other: Any) -> bool:
        return bool(self._identity < other._identity)

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[str, tuple[str, ...]]:
        kind = self.system.protocol
        return (kind if isinstance(kind, str) else kind[0]), self._parts

    @property
    def key(self) -> str:
        """Return its name in fsspec's file system: s3://bucket/a is bucket/a."""
        name: str = self.system._strip_protocol(str(self))  # what every file system implements for this
        return name

    # Names, without a request.

    @property
    def name(self) -> str:
        return self._parts[-1] if self._parts else ""

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> RemotePath:
        """Return the folder around it; for a bucket, or the root of a store without buckets, itself."""
        return self._with(self._parts[:-1]) if len(self._parts) > self._roots else self

    @property
    def parents(self) -> Sequence[RemotePath]:
        return [self._with(self._parts[:end]) for end in range(len(self._parts) - 1, self._roots - 1, -1)]

    def __truediv__(self, name: Any) -> RemotePath:
        return self._with((*self._parts, *(part for part in str(name).split("/") if part)))

    def with_name(self, name: str) -> RemotePath:
        return self._with((*self._parts[:-1], name))

    def with_suffix(self, suffix: str) -> RemotePath:
        return self.with_name(PurePosixPath(self.name).with_suffix(suffix).name)

    def as_posix(self) -> str:
        return str(self)

    def resolve(self, strict: bool = False) -> RemotePath:
        return self

    @property
    def _roots(self) -> int:
        return 0 if self.scheme == "memory" else 1

    def _with(self, parts: Sequence[str]) -> RemotePath:
        return RemotePath(f"{self.scheme}://{'/'.join(parts)}", self.system)

    # Requests about what is there.

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        return self._info() is not None

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return (self._info() or {}).get("type") == "file"

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return (self._info() or {}).get("type") == "directory"

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Return a result that has its size, and nothing else."""
        return os.stat_result((stat.S_IFREG, 0, 0, 0, 0, 0, self._size(), 0, 0, 0))

    def rglob(  # what the interpreters' own signatures have in common
        self, pattern: Any, *, case_sensitive: bool | None = None, recurse_symlinks: bool = False
    ) -> Generator[RemotePath, None, None]:
        """Yield every file at any depth whose name fits."""
        yield from (file for file, _, _, _ in self.below() if fnmatchcase(file.name, pattern))

    def iterdir(self) -> Generator[RemotePath, None, None]:
        with reporting_faults(str(self)):
            names = [str(entry["name"]) for entry in self.system.ls(self.key, detail=True)]
        for name in sorted({name.rstrip("/").rpartition("/")[2] for name in names} - {"", self.name}):
            yield self / name

    def glob(  # what the interpreters' own signatures have in common
        self, pattern: Any, *, case_sensitive: bool | None = None, recurse_symlinks: bool = False
    ) -> Generator[RemotePath, None, None]:
        """Yield the entries of this folder whose name fits; the pattern has no slash."""
        yield from (entry for entry in self.iterdir() if fnmatchcase(entry.name, pattern))

    def below(self) -> list[tuple[RemotePath, str, int, str]]:
        """List every file at any depth, or the file itself: its place, its name in this folder, size and version.

        The order is that of the names folder by folder, as on a disk. The version changes when the object does.
        """
        with reporting_faults(str(self)):
            found = self.system.find(self.key, detail=True)
        listed = []
        # Some tools make an empty object a/ for a folder; s3fs calls it a/, or a before 2024.5.
        empty = {key for key, info in found.items() if not info["size"]}
        folders = {str(folder) for key in found for folder in PurePosixPath(key).parents} if empty else set()
        for key, info in found.items():
            inside = key[len(self.key) :].strip("/")
            if not key.endswith("/") and not (key in empty and key in folders):
                listed.append((self / inside, inside, int(info["size"] or 0), _version(info)))
        return sorted(listed, key=lambda entry: entry[1].split("/"))

    # Requests for bytes.

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
        fetch = partial(_fetch_footer_once, self, size, version) if buffering == 0 and version else self.fetch
        ranges = Ranges(fetch, size, str(self), exact=buffering == 0)
        if buffering == 0:
            return ranges  # type: ignore[return-value]
        buffered = io.BufferedReader(ranges)
        return buffered if mode == "rb" else io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline)

    def fetch(self, start: int, stop: int) -> bytes:
        """Return bytes `start` to `stop`, in one request."""
        with reporting_faults(str(self)):
            data: bytes = self.system.cat_file(self.key, start=start, end=stop)
        return data

    def read_bytes(self) -> bytes:
        with reporting_faults(str(self)):
            data: bytes = self.system.cat_file(self.key)
        return data

    def read_text(self, encoding: str | None = None, errors: str | None = None, newline: str | None = None) -> str:
        with io.TextIOWrapper(io.BytesIO(self.read_bytes()), encoding or "utf-8", errors or "strict", newline) as text:
            return text.read()

    def put(self, local: Path) -> None:
        """Upload a file of this machine as this object; readers see the old one until the new one is whole."""
        with reporting_faults(str(self)):
            self.system.put_file(str(local), self.key)

    def copy_to(self, other: RemotePath) -> None:
        """Copy this object within its store, without its bytes coming here."""
        with reporting_faults(str(other)):
            self.system.cp_file(self.key, other.key)

    def unlink(self, missing_ok: bool = False) -> None:
        with reporting_faults(str(self)):
            try:
                self.system.rm_file(self.key)
            except FileNotFoundError:
                if not missing_ok:
                    raise

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a folder is there when something is in it."""

    def _size(self) -> int:
        return self._size_and_version()[0]

    def _size_and_version(self) -> tuple[int, str]:
        info = self._info()
        if info is None:
            raise missing_object(str(self))
        if info.get("size") is None:
            raise InputError(f"the server does not say how large {self} is; download it first")
        return int(info["size"]), _version(info)

    def _info(self) -> dict[str, Any] | None:
        with reporting_faults(str(self)):
            try:
                info: dict[str, Any] = self.system.info(self.key)
            except FileNotFoundError as error:
                if self.scheme in _OF_WEB and (fault := unreached(str(self), error.__cause__)) is not None:
                    raise fault from None
                return None
        return info


def _version(info: Mapping[str, Any]) -> str:
    return next((str(info[name]) for name in _VERSIONS if info.get(name) is not None), "")


def _fetch_footer_once(file: RemotePath, size: int, version: str, start: int, stop: int) -> bytes:
    """Fetch bytes of one version of a file; those of its end, where Parquet has its footer, are kept.

    A command opens a shard several times: for its schema, for its statistics, to read it.
    """
    return _end(file, version, start, stop) if size - stop <= _MARK else file.fetch(start, stop)


@lru_cache(maxsize=8)
def _end(file: RemotePath, version: str, start: int, stop: int) -> bytes:
    return file.fetch(start, stop)


def fetch_together(ranges: Sequence[tuple[RemotePath, int, int]]) -> list[bytes]:
    """Return bytes `start` to `stop` of several files of one store, requested together if the store can do that."""
    if not ranges:
        return []
    first = ranges[0][0]
    with reporting_faults(str(first)):
        keys = [file.key for file, _, _ in ranges]
        starts, stops = [start for _, start, _ in ranges], [stop for _, _, stop in ranges]
        found = first.system.cat_ranges(keys, starts, stops, on_error="return")
    for (file, _, _), data in zip(ranges, found, strict=True):
        if isinstance(data, BaseException):
            with reporting_faults(str(file)):
                raise data
    return [bytes(data) for data in found]


def copy_all(pairs: Sequence[tuple[RemotePath, RemotePath]]) -> None:
    """Copy objects within their store, several at a time."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_COPIES_AT_ONCE) as pool:
        for _ in pool.map(lambda pair: pair[0].copy_to(pair[1]), pairs):
            pass


def remove_all(folder: RemotePath) -> None:
    """Remove every object below a folder, several at a time."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_COPIES_AT_ONCE) as pool:
        for _ in pool.map(lambda entry: entry[0].unlink(missing_ok=True), folder.below()):
            pass
