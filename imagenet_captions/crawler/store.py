"""The store of a crawl: one SQLite file with a row for each photo, written as each answer arrives.

A killed process loses at most the call under way, and a power cut the last few answers. Other programs can read the
file while a crawl runs; a second crawl is refused.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagenet_captions.crawler.policy import FINAL_STATES, LARGEST_ANSWER, State, parse_stored
from imagenet_captions.errors import DiskFullError, InputError, shortened
from imagenet_captions.flickr.photos import LATEST_POSIX_TIME
from imagenet_captions.storage.files import require_file
from imagenet_captions.storage.outputs import locked
from imagenet_captions.storage.places import Place, require_local
from imagenet_captions.storage.progress import track

SCHEMA_VERSION = 1
APPLICATION_ID = 0x49434331  # "ICC1": tells our stores from other applications' databases

_CREATE = f"""
    BEGIN IMMEDIATE;
    CREATE TABLE photos (
        photo_id TEXT PRIMARY KEY,
        state TEXT NOT NULL,        -- ok, not_found, private; waiting, unreachable
        answer BLOB,                -- zlib, the body of the last final answer exactly as it came
        retrieved_at INTEGER,       -- seconds since 1970, UTC, of that answer
        attempts INTEGER NOT NULL,  -- calls in all
        failures INTEGER NOT NULL,  -- calls that failed since the last final answer
        last_error TEXT
    );
    -- One row. Times are seconds since 1970; the revision grows with every change in photos.
    CREATE TABLE crawl (
        store_id TEXT NOT NULL, revision INTEGER NOT NULL, last_call REAL, pause_until REAL
    );
    INSERT INTO crawl VALUES (lower(hex(randomblob(8))), 0, NULL, NULL);
    PRAGMA application_id = {APPLICATION_ID};
    PRAGMA user_version = {SCHEMA_VERSION};
    COMMIT;"""

_SAVE_ANSWER = """
    INSERT INTO photos VALUES (?, ?, ?, ?, 1, 0, NULL)
    ON CONFLICT (photo_id) DO UPDATE SET state = excluded.state, answer = excluded.answer,
        retrieved_at = excluded.retrieved_at, attempts = attempts + 1, failures = 0, last_error = NULL"""

# A photo with an old answer, which is asked for again, keeps that answer until a new one arrives.
_SAVE_FAILURE = f"""
    INSERT INTO photos VALUES (?, ?, NULL, NULL, 1, 1, ?)
    ON CONFLICT (photo_id) DO UPDATE SET
        state = CASE WHEN state IN {tuple(state.value for state in FINAL_STATES)} THEN state ELSE excluded.state END,
        attempts = attempts + 1, failures = failures + 1, last_error = excluded.last_error"""

_SELECT = "SELECT photo_id, state, answer, retrieved_at, last_error FROM photos"


@dataclass(frozen=True)
class Stored:
    """What the store says of a photo."""

    state: State
    remark: str = ""  # the reason of the last failure, or Flickr's message
    answer: bytes = b""
    photo: dict[str, Any] | None = None  # in an OK answer
    retrieved_at: int | None = None


def local_store(path: Place) -> Path:
    """Return the path; raises InputError for a URL."""
    return require_local(path, "the store", "SQLite works on files of this machine alone")


class Store:
    """An open store; the block that opened it turns SQLite's errors into ours."""

    def __init__(self, path: Place, connection: sqlite3.Connection) -> None:
        self.path, self._connection = path, connection

    def get(self, photo_id: str) -> Stored | None:
        """Return what the store says of a photo; None if it was never asked for."""
        row = self._row(f"{_SELECT} WHERE photo_id = ?", photo_id)
        return None if row is None else _stored(*row)

    def photos(self) -> Iterator[tuple[str, Stored]]:
        """Yield every photo that was asked for."""
        (count,) = self._row("SELECT count(*) FROM photos")
        for row in track(self._connection.execute(_SELECT), "read the store", count, "answers"):
            yield row[0], _stored(*row)

    def failures(self, photo_id: str) -> int:
        """Return the number of failed calls for a photo since its last final answer."""
        row = self._row("SELECT failures FROM photos WHERE photo_id = ?", photo_id)
        return int(row[0]) if row else 0

    def moments(self) -> tuple[float | None, float | None]:
        """Return the time of the last call and the end of the host's pause."""
        last_call, pause_until = self._row("SELECT last_call, pause_until FROM crawl")
        return last_call, pause_until

    def is_empty(self) -> bool:
        """Return whether this is a new file; raises InputError for one that is not ours, or of a newer schema."""
        (application,) = self._row("PRAGMA application_id")
        (version,) = self._row("PRAGMA user_version")
        if application == 0 and self._row("SELECT * FROM sqlite_master") is None:
            return True
        if application != APPLICATION_ID:
            raise InputError(f"the store {self.path} is another application's database; give another file")
        if version > SCHEMA_VERSION:
            raise InputError(
                f"the store {self.path} was written by a newer version (schema {version}, this one reads "
                f"{SCHEMA_VERSION}); update imagenet-captions"
            )
        return False

    def save_answer(self, photo_id: str, state: State, body: bytes, retrieved_at: int) -> None:
        """Save a final answer."""
        self._save(_SAVE_ANSWER, photo_id, state.value, zlib.compress(body), retrieved_at)

    def save_failure(self, photo_id: str, state: State, error: str) -> None:
        """Save that a call failed; `state` is WAITING or UNREACHABLE."""
        self._save(_SAVE_FAILURE, photo_id, state.value, error)

    def save_call(self, moment: float) -> None:
        """Save the time of a call; must run before the call is sent."""
        self._row("UPDATE crawl SET last_call = ?", moment)

    def save_pause(self, until: float) -> None:
        """Save the time before which no call may be sent."""
        self._row("UPDATE crawl SET pause_until = ?", until)

    def _save(self, statement: str, *values: object) -> None:
        with self._connection:
            self._connection.execute("BEGIN")
            self._connection.execute(statement, values)
            self._connection.execute("UPDATE crawl SET revision = revision + 1")

    def _row(self, query: str, *values: object) -> Any:
        return self._connection.execute(query, values).fetchone()


@contextmanager
def read_store(path: Place) -> Iterator[Store]:
    """Open a store for reading."""
    file = Path(os.path.realpath(require_file(local_store(path), "the crawl's store")))
    # SQLite reads a write-ahead log only in a writable folder; a store without one is whole as it is.
    as_it_is = not os.access(file.parent, os.W_OK) and not file.with_name(f"{file.name}-wal").exists()
    with _opened(path, file, "ro&immutable=1" if as_it_is else "rw") as store:
        if store.is_empty():
            raise InputError(f"the store {path} is empty; run the crawl first")
        yield store


@contextmanager
def open_store(path: Place) -> Iterator[Store]:
    """Open the store for the one crawl that may write to it; it is created if missing."""
    file = Path(os.path.realpath(local_store(path)))  # the lock and SQLite's log lie beside it
    if file.is_dir():
        raise InputError(f"the store {path} is a folder; give the file itself")
    lock = file.with_name(f"{file.name}.lock")
    with locked(lock, f"the store {path}"), _opened(path, file, "rwc") as store:
        is_new = store.is_empty()
        store._connection.execute("PRAGMA journal_mode = WAL")
        store._connection.execute("PRAGMA synchronous = NORMAL")
        if is_new:
            store._connection.executescript(_CREATE)
        yield store


def store_revision(path: Place) -> str:
    """Return a short text that changes whenever an answer is recorded."""
    with read_store(path) as store:
        return "{}-{}".format(*store._row("SELECT store_id, revision FROM crawl"))


def _stored(photo_id: str, state: Any, answer: Any, retrieved_at: Any, last_error: Any) -> Stored:
    """Read a row; the state is DAMAGED if no crawl can have written it."""
    if state in (State.WAITING.value, State.UNREACHABLE.value):
        return Stored(State(state), str(last_error or ""))
    unpacker = zlib.decompressobj()
    try:
        known = State(state)
        body = unpacker.decompress(answer, LARGEST_ANSWER + 1)
        parsed = parse_stored(photo_id, known, body) if unpacker.eof else None
    except (ValueError, TypeError, zlib.error):
        parsed = None
    if parsed is None or type(retrieved_at) is not int or not 0 <= retrieved_at <= LATEST_POSIX_TIME:
        return Stored(State.DAMAGED, "the store's answer is damaged; the next crawl asks again")
    if known is State.OK:
        return Stored(known, "", body, parsed["photo"], retrieved_at)
    return Stored(known, shortened(parsed.get("message", "")), body, None, retrieved_at)


@contextmanager
def _opened(path: Place, file: Path, mode: str) -> Iterator[Store]:
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode={mode}", uri=True, isolation_level=None)) as connection:
            connection.text_factory = lambda text: text.decode("utf-8", "replace")
            yield Store(path, connection)
    except sqlite3.Error as error:
        if "full" in str(error) or "disk I/O" in str(error):
            raise DiskFullError(
                f"the disk of the store {path} is full ({error}); make room and run the same command again"
            ) from None
        raise InputError(
            f"the store {path} cannot be used ({error}); check that it is the store of a crawl, its permissions, and "
            "that no other program holds it"
        ) from None
