"""Find the rows of wanted photos in YFCC100M's SQLite file, yfcc100m_dataset.sql, which has 65 GB."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from imagenet_captions.errors import InputError
from imagenet_captions.sources.yfcc import layout as yfcc
from imagenet_captions.sources.yfcc.lines import Numbers
from imagenet_captions.sources.yfcc.photos import BadRows, Photo, read_photo
from imagenet_captions.storage.places import Place, require_local

_ROWS_AT_ONCE = 1000


def read_table(path: Place, wanted: Numbers, bad: BadRows) -> Iterator[Photo]:
    """Yield the photos with these numbers (sorted); unreadable rows go to `bad`.

    With an index on photoid, photos are looked up by ascending id. Without one SQLite reads the table once, in its own
    order, and returns only rows of the wanted ids. The file is opened as immutable.
    """
    path = require_local(path, "the SQLite file", "SQLite reads files of this machine alone")
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        connection.text_factory = lambda value: value.decode("utf-8", "replace")
        with _sqlite_errors(path):
            kind = _check(connection, path)
            _add_wanted(connection, wanted, kind)
            tables = ("wanted AS w", f"{yfcc.TABLE} AS y")
            # SQLite reads the tables of a CROSS JOIN in the order given.
            joined = " CROSS JOIN ".join(tables if _has_index(connection) else reversed(tables))
            names = ", ".join(f"y.{column}" for column in yfcc.COLUMNS.values())
            rows = connection.execute(f"SELECT {names} FROM {joined} WHERE y.photoid = w.photo_id")
        while True:
            with _sqlite_errors(path):
                found = rows.fetchmany(_ROWS_AT_ONCE)
            if not found:
                return
            for row in found:
                photo = read_photo(dict(zip(yfcc.COLUMNS, map(_text, row), strict=True)))
                if isinstance(photo, Photo):
                    yield photo
                else:
                    bad.add(f"photo {_text(row[0])}", photo)


def _check(connection: sqlite3.Connection, path: Place) -> str:
    """Return the declared type of photoid; raises InputError if the table or columns are missing."""
    columns = {row[1].lower(): row[2] for row in connection.execute(f"PRAGMA table_info({yfcc.TABLE})")}
    missing = [name for name in yfcc.COLUMNS.values() if name not in columns]
    if missing:
        lacks = f"a table {yfcc.TABLE}" if not columns else f"the columns {', '.join(missing)} in {yfcc.TABLE}"
        raise InputError(f"the SQLite file {path} lacks {lacks}; give yfcc100m_dataset.sql as it was published")
    return "TEXT" if any(part in columns["photoid"].upper() for part in ("CHAR", "TEXT", "CLOB")) else "INTEGER"


def _add_wanted(connection: sqlite3.Connection, wanted: Numbers, kind: str) -> None:
    """Write the wanted ids to a table in memory, with the type that the index needs."""
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"CREATE TEMP TABLE wanted (photo_id {kind} PRIMARY KEY)")
    connection.executemany("INSERT INTO wanted VALUES (?)", ((number,) for number in wanted.tolist()))


def _has_index(connection: sqlite3.Connection) -> bool:
    """Return whether SQLite can look up a photo by an index."""
    plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT 1 FROM {yfcc.TABLE} WHERE photoid = ?", (1,)).fetchall()
    return any("SEARCH" in row[-1] for row in plan)


def _text(value: object) -> str:
    return "" if value is None else value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


@contextmanager
def _sqlite_errors(path: Place) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise InputError(f"the SQLite file {path} cannot be read ({error}); download it again") from None
