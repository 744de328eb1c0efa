"""The store of a crawl: one SQLite file with a row for each photo, written as each answer arrives.

Every answer is a transaction of its own, so that a killed process loses at most the calls under way. (With a
write-ahead log and synchronous = normal, a power cut may take the last few answers, never the file.) Other programs
can read the file while a crawl runs; a second crawl is refused.
"""

from __future__ import annotations

import math
import secrets
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from imagenet_captions.crawler.limits import ANSWERS_AT_ONCE, LARGEST_ANSWER
from imagenet_captions.crawler.policy import FINAL_STATES, State
from imagenet_captions.errors import DiskFullError, InputError, shortened
from imagenet_captions.flickr.photo_record import LATEST_POSIX_TIME
from imagenet_captions.storage.files import PHOTO_STORE, require_file
from imagenet_captions.storage.places import Place, require_local

SCHEMA_VERSION = 1
APPLICATION_ID = 0x49434331  # "ICC1": tells our stores from other applications' databases

_TABLES = (
    """CREATE TABLE photos (
        photo_id TEXT PRIMARY KEY,
        state TEXT NOT NULL,        -- ok, not_found, private; waiting, unreachable
        answer BLOB,                -- zlib, the body of the last final answer exactly as it came
        retrieved_at INTEGER,       -- seconds since 1970, UTC, of that answer
        attempts INTEGER NOT NULL,  -- calls in all
        failures INTEGER NOT NULL,  -- calls that failed since the last final answer
        last_error TEXT
    )""",
    # One row. Times are seconds since 1970; the revision grows with every change in photos.
    """CREATE TABLE crawl (
        store_id TEXT NOT NULL, revision INTEGER NOT NULL, last_call REAL, pause_until REAL
    )""",
)

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


# Restores a row that was lost to damage; the pace is then that of a first run.
_RESTORE_CRAWL = "INSERT INTO crawl SELECT ?, 0, NULL, NULL WHERE NOT EXISTS (SELECT * FROM crawl)"

_COLUMNS = "photo_id, state, answer, retrieved_at, last_error"
_STORED_STATES = {state.value: state for state in State if state is not State.DAMAGED}


@dataclass(frozen=True)
class Stored:
    """The row of a photo."""

    state: State
    answer: bytes | None
    retrieved_at: int | None
    last_error: str | None  # of a DAMAGED row: what is wrong with it


def local_store(path: Place) -> Path:
    """Return the path; raises InputError for a URL."""
    return require_local(path, "the store", "SQLite works on files of this machine alone")


class Store:
    """The store, open for the one crawl that may write to it; created if missing."""

    def __init__(self, path: Place) -> None:
        self.path = path = local_store(path)
        if path.is_dir():
            raise InputError(f"the store {path} is a folder; give a file name such as {path / PHOTO_STORE}")
        file = _file_of(path)
        _refuse_hard_links(file)
        file.parent.mkdir(parents=True, exist_ok=True)
        with _sqlite_errors(path):
            self._lock = _lock(file)
            try:
                self._connection = sqlite3.connect(file, isolation_level=None)
                self._connection.text_factory = _text
                self._prepare()
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and release the lock."""
        try:
            if hasattr(self, "_connection"):
                self._connection.close()
        finally:
            self._lock.close()

    def save_answer(self, photo_id: str, state: State, body: bytes, retrieved_at: int) -> None:
        """Save a final answer."""
        self._write((_SAVE_ANSWER, (photo_id, state.value, zlib.compress(body), retrieved_at)))

    def save_failure(self, photo_id: str, state: State, error: str) -> None:
        """Save that a call failed; `state` is WAITING or UNREACHABLE."""
        self._write((_SAVE_FAILURE, (photo_id, state.value, error)))

    def save_call(self, moment: float) -> None:
        """Save the time of a call; must run before the call is sent."""
        with _sqlite_errors(self.path):
            self._connection.execute("UPDATE crawl SET last_call = ?", (moment,))

    def save_pause(self, until: float) -> None:
        """Save the time before which no call may be sent."""
        with _sqlite_errors(self.path):
            self._connection.execute("UPDATE crawl SET pause_until = ?", (until,))

    def moments(self) -> tuple[float | None, float | None]:
        """Return the time of the last call and the end of the host's pause."""
        with _sqlite_errors(self.path):
            last_call, pause_until = self._connection.execute("SELECT last_call, pause_until FROM crawl").fetchone()
        return _moment(last_call), _moment(pause_until)

    def failures(self, photo_id: str) -> int:
        """Return the number of failed calls for a photo since its last final answer."""
        with _sqlite_errors(self.path):
            row = self._connection.execute("SELECT failures FROM photos WHERE photo_id = ?", (photo_id,)).fetchone()
        return row[0] if row and isinstance(row[0], int) else 0

    def ids(self, states: Sequence[State], before: float | None = None) -> Iterator[str]:
        """Yield the photos in these states; with `before`, only those whose answer is older."""
        marks = ", ".join("?" * len(states))
        query = f"SELECT photo_id FROM photos WHERE state IN ({marks}) AND (? IS NULL OR retrieved_at < ?)"
        with _sqlite_errors(self.path):
            for (photo_id,) in self._connection.execute(query, (*(state.value for state in states), before, before)):
                yield photo_id

    def _write(self, statement: tuple[str, tuple[object, ...]]) -> None:
        with _sqlite_errors(self.path):
            self._connection.execute("BEGIN")
            try:
                self._connection.execute(*statement)
                self._connection.execute("UPDATE crawl SET revision = revision + 1")
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _prepare(self) -> None:
        new = _check(self._connection, self.path)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        if new:
            self._connection.execute("BEGIN IMMEDIATE")
            for table in _TABLES:
                self._connection.execute(table)
            self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            self._connection.execute("COMMIT")
        self._connection.execute(_RESTORE_CRAWL, (secrets.token_hex(8),))


class StoreReader:
    """A store opened for reading."""

    def __init__(self, path: Place) -> None:
        self.path = path = require_file(local_store(path), "the crawl's store")
        with _sqlite_errors(path):
            self._connection = _open_to_read(_file_of(path))
            self._connection.text_factory = _text
            try:
                if _check(self._connection, path):
                    raise InputError(f"the store {path} is empty; run the crawl first")
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def get(self, photo_ids: Sequence[str]) -> dict[str, Stored]:
        """Return the rows of these photos; photos that were never asked for are left out."""
        return dict(self.each(photo_ids))

    def each(self, photo_ids: Sequence[str]) -> Iterator[tuple[str, Stored]]:
        """Yield what `get` returns, photo by photo in any order, so that not all answers are in memory at once."""
        for start in range(0, len(photo_ids), ANSWERS_AT_ONCE):
            part = photo_ids[start : start + ANSWERS_AT_ONCE]
            query = f"SELECT {_COLUMNS} FROM photos WHERE photo_id IN ({', '.join('?' * len(part))})"
            with _sqlite_errors(self.path):
                for row in self._connection.execute(query, part):
                    yield row[0], _stored(*row[1:])

    def answers(self) -> Iterator[tuple[str, Stored]]:
        """Yield every photo that has an answer, or a state that no crawl has written, with its row."""
        query = f"SELECT {_COLUMNS} FROM photos WHERE state NOT IN (?, ?)"
        with _sqlite_errors(self.path):
            for row in self._connection.execute(query, (State.WAITING.value, State.UNREACHABLE.value)):
                yield row[0], _stored(*row[1:])

    def count(self) -> int:
        """Return the number of photos."""
        with _sqlite_errors(self.path):
            return int(self._connection.execute("SELECT count(*) FROM photos").fetchone()[0])

    def revision(self) -> str:
        """Return a short text that changes whenever the store changes."""
        with _sqlite_errors(self.path):
            row = self._connection.execute("SELECT store_id, revision FROM crawl").fetchone()
            # The next crawl restores the row; until then the number of all calls stands for it.
            row = row or self._connection.execute("SELECT 'lost', total(attempts) FROM photos").fetchone()
        return f"{row[0]}-{row[1]}"


def store_revision(path: Place) -> str:
    """Return a short text that changes whenever an answer is recorded."""
    with closing(StoreReader(path)) as reader:
        return reader.revision()


def _file_of(path: Path) -> Path:
    """Return the file that a path leads to through links; the lock and SQLite's log lie beside it."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # the second up to Python 3.12
        raise InputError(f"the store {path} is a link that leads back to itself; give the file") from None


def _refuse_hard_links(file: Path) -> None:
    names = file.stat().st_nlink if file.exists() else 1
    if names > 1:
        raise InputError(
            f"the store {file} has {names} names (hard links), and SQLite keeps a log beside each; "
            "copy it to a file of its own, and use the copy"
        )


def _stored(state: object, answer: object, retrieved_at: object, last_error: object) -> Stored:
    """Read a row; the state is DAMAGED if no crawl can have written it."""
    known = _STORED_STATES.get(state)
    if known is None:
        return _damaged(f"the state is {state!r}")
    error = None if last_error is None else str(last_error)
    if known not in FINAL_STATES:
        return Stored(known, None, None, error)
    body = _unpacked(answer)
    if body is None:
        return _damaged("the answer is missing" if answer is None else "the answer cannot be unpacked")
    if type(retrieved_at) is not int or not 0 <= retrieved_at <= LATEST_POSIX_TIME:
        return _damaged(f"the date of the answer is {retrieved_at!r}")
    return Stored(known, body, retrieved_at, error)


def _damaged(why: str) -> Stored:
    return Stored(State.DAMAGED, None, None, shortened(why))


def _unpacked(answer: object) -> bytes | None:
    unpacker = zlib.decompressobj()
    try:
        body = unpacker.decompress(answer, LARGEST_ANSWER + 1)  # type: ignore[arg-type]
    except (TypeError, zlib.error):
        return None
    return body if unpacker.eof and len(body) <= LARGEST_ANSWER else None


def _moment(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _open_to_read(path: Path) -> sqlite3.Connection:
    """Open a store for reading.

    SQLite can read a write-ahead log only in a writable folder. In another folder the store is opened as immutable,
    which is correct only if no log is left.
    """
    log = path.with_name(path.name + "-wal")
    connection = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        connection.close()
        if not isinstance(error, sqlite3.OperationalError) or (log.exists() and log.stat().st_size):
            raise
        return sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
    return connection


def _lock(path: Path) -> sqlite3.Connection:
    """Hold `<store>.lock` until closed; the system releases it when the process dies, however it dies.

    It is SQLite's lock of an empty database beside the store, which works the same on every system.
    """
    lock = sqlite3.connect(path.with_name(path.name + ".lock"), timeout=0, isolation_level=None)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        lock.close()
        if "locked" not in str(error):
            raise
        raise InputError(f"another crawl is using the store {path}; wait for it or stop it first") from None
    return lock


def _check(connection: sqlite3.Connection, path: Path) -> bool:
    """Return whether the database is still empty; raises InputError if it is not one of ours."""
    application, version, tables = (
        connection.execute(query).fetchone()[0]
        for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
    )
    if application == 0 and tables == 0:
        return True
    if application != APPLICATION_ID:
        raise InputError(f"the store {path} is another application's database; give another file")
    if version > SCHEMA_VERSION:
        raise InputError(
            f"the store {path} was written by a newer version (schema {version}, this one reads {SCHEMA_VERSION}); "
            "update imagenet-captions"
        )
    return False


@contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    """Turn an error of SQLite into an InputError, or a DiskFullError."""
    try:
        yield
    except sqlite3.Error as error:
        text = str(error)
        if "full" in text or "disk I/O" in text:
            raise DiskFullError(
                f"the disk of the store {path} is full ({text}); make room and run the same command again"
            ) from None
        if "not a database" in text or "malformed" in text:
            message = f"the store {path} is not a usable SQLite file ({text}); give another file"
        else:
            message = (
                f"the store {path} cannot be used ({text}); check its permissions, and that no other program holds it"
            )
        raise InputError(message) from None
