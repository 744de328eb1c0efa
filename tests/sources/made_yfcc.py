"""YFCC100M's metadata in every form that it comes in, made for the tests."""

from __future__ import annotations

import bz2
import gzip
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote_plus

from imagenet_captions.sources import yfcc

CC = "http://creativecommons.org/licenses"
FORMS = ("plain", "old", "bz2", "gz", "folder", "sqlite", "sqlite no index")


def row(photo_id: str, title: str = "A heron", **fields: str) -> dict[str, str]:
    """The fields of a photo, encoded as YFCC100M has them."""
    texts = {"description": "", "owner_name": "Hans", "device": "Canon EOS", "machine_tags": ""}
    tags = fields.pop("tags", "heron,Grey Heron")
    encoded = {name: quote_plus(fields.pop(name, text)) for name, text in texts.items()}
    return {
        "photo_id": photo_id,
        "owner": "11632020@N00",
        "date_taken": "2010-07-16 20:47:02.0",
        "date_posted": "1279341000",
        "title": quote_plus(title),
        "tags": ",".join(map(quote_plus, tags.split(","))),
        "longitude": "-0.5",
        "latitude": "51.2",
        "accuracy": "16",
        "photo_page": f"http://www.flickr.com/photos/11632020@N00/{photo_id}/",
        "download_url": f"http://farm1.staticflickr.com/30/{photo_id}_fff93cc915.jpg",
        "license_name": "Attribution License",
        "license_url": f"{CC}/by/2.0/",
        "server": "30",
        "farm": "1",
        "secret": "fff93cc915",
        "original_secret": "fff93cc915",
        "extension": "jpg",
        "marker": "0",
        **encoded,
        **fields,
    }


def line(number: int, values: dict[str, str], layout: int = 25) -> str:
    """A line of the text, without its end."""
    fields = [values[name] for name in yfcc.COLUMNS]
    if layout == 25:
        fields = [str(number), fields[0], "0123456789abcdef0123456789abcdef", *fields[1:]]
    return "\t".join(fields)


def text(rows: Iterable[dict[str, str]], layout: int = 25) -> bytes:
    """The text of these photos."""
    return "".join(line(number, values, layout) + "\n" for number, values in enumerate(rows)).encode()


def write(folder: Path, form: str, rows: Sequence[dict[str, str]]) -> Path:
    """Write the metadata in one of FORMS and return what `--yfcc` would be given."""
    path = folder / "yfcc100m_dataset"
    if form.startswith("sqlite"):
        return _sqlite(folder / "yfcc100m_dataset.sql", form, rows)
    if form == "plain":
        path.write_bytes(text(rows))
    elif form == "old":
        path.write_bytes(text(rows, 23))
    elif form == "bz2":
        path = path.with_suffix(".bz2")
        half = text(rows)
        path.write_bytes(bz2.compress(half[: len(half) // 2]) + bz2.compress(half[len(half) // 2 :]))  # as pbzip2 does
    elif form == "gz":
        path = path.with_suffix(".gz")
        path.write_bytes(gzip.compress(text(rows)))
    elif form == "folder":
        path = folder / "parts"
        path.mkdir()
        for number in range(3):
            part = text(rows[number::3], 23)
            (path / f"yfcc100m_dataset-{number}.bz2").write_bytes(bz2.compress(part))
        (path / "yfcc100m_hash.bz2").write_bytes(bz2.compress(b"1\tabc\n"))
    return path


def _sqlite(path: Path, form: str, rows: Sequence[dict[str, str]]) -> Path:
    photo_id = "integer primary key" if form == "sqlite" else "text"
    others = ", ".join(f"{name} text" for name in list(yfcc.COLUMNS.values())[1:])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE {yfcc.TABLE} (photoid {photo_id}, {others})")
        marks = ", ".join("?" * len(yfcc.COLUMNS))
        values = [[values[name] for name in yfcc.COLUMNS] for values in rows]
        connection.executemany(f"INSERT INTO {yfcc.TABLE} VALUES ({marks})", values)
        connection.commit()
    return path
