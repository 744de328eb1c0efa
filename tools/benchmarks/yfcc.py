"""Two million rows of YFCC100M past 830,000 wanted photos, beside polars and a loop over the lines."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from common import race

from imagenet_captions import schema as records
from imagenet_captions.sources import yfcc

ROWS, WANTED = 2_000_000, 830_022
_HIGHEST = 6_000_000_000

_POLARS = """
import sys, polars as pl
wanted = pl.scan_parquet(sys.argv[2]).select(pl.col("photo_id").cast(pl.Int64, strict=False)).unique()
rows = pl.scan_csv(sys.argv[1], separator="\\t", has_header=False, quote_char=None, infer_schema=False)
names = ["column_2", "column_4", "column_5", "column_6", "column_9", "column_10", "column_11", "column_16", "column_19"]
rows = rows.select(names).with_columns(pl.col("column_2").cast(pl.Int64, strict=False).alias("photo_id"))
print(len(rows.join(wanted, on="photo_id", how="semi").collect(engine="streaming")))
"""
_LOOP = """
import sys, pyarrow.parquet as pq; from urllib.parse import unquote_plus
wanted, found = set(pq.read_table(sys.argv[2], columns=["photo_id"])["photo_id"].to_pylist()), []
for line in open(sys.argv[1], encoding="utf-8"):
    fields = line.split("\\t")
    if fields[1] in wanted:
        found.append((unquote_plus(fields[8]), unquote_plus(fields[9])))
print(len(found))
"""


def main(scratch: Path, rows: int = ROWS) -> list[dict[str, Any]]:
    text, database, matches = (scratch / name for name in ("yfcc100m_dataset", "yfcc100m.sql", "matches.parquet"))
    _make(text, database, matches, rows)
    command = ["-m", "imagenet_captions", "extract-yfcc"]
    out = ["--matches", str(matches), "--out", str(scratch / "yfcc.parquet"), "--overwrite"]
    seen = race(
        {
            "ours": [*command, str(text), *out],
            "ours, SQLite": [*command, str(database), *out],
            "polars": ["-c", _POLARS, str(text), str(matches)],
            "a loop over the lines": ["-c", _LOOP, str(text), str(matches)],
        },
        rounds=2,
    )
    mine = seen["ours"]
    table = [
        {
            "what": f"YFCC100M, {rows:,} rows past {WANTED:,} photos",
            "ours_s": round(mine.seconds, 2),
            "peer": peer,
            "peer_s": round(seen[peer].seconds, 2),
            "ratio": round(mine.seconds / seen[peer].seconds, 2),
            "bar": "",
            "rows_s": round(rows / mine.seconds),
            "peak_mb": round(mine.peak_mb),
        }
        for peer in ("polars", "a loop over the lines")
    ]
    index = seen["ours, SQLite"]
    more = {"ours_s": round(index.seconds, 2), "peer": "none", "peer_s": None, "ratio": None, "bar": ""}
    return [*table, {"what": "the same from SQLite", **more, "peak_mb": round(index.peak_mb)}]


def _make(text: Path, database: Path, matches: Path, rows: int) -> None:
    """Rows of about 500 bytes; one in five hundred is wanted."""
    generator = np.random.default_rng(0)
    ids = np.unique(generator.integers(10_000_000, _HIGHEST, rows + rows // 10))
    ids = generator.permutation(ids)[:rows]
    others = generator.integers(10_000_000, _HIGHEST, WANTED)
    wanted = np.unique(np.concatenate([ids[::500], others]))[:WANTED].astype(str).tolist()
    table = {
        "image_id": [f"n01440764_{number}" for number in range(len(wanted))],
        "wnid": ["n01440764"] * len(wanted),
        "photo_id": wanted,
        "url": ["http://static.flickr.com/1/1_a.jpg"] * len(wanted),
        "detail": [None] * len(wanted),
    }
    pq.write_table(pa.table(table, schema=records.MATCHES), matches)
    shuffled = random.Random(0)
    words = ["grey", "heron", "Leiden", "%3Cb%3Edawn%3C%2Fb%3E", "caf%C3%A9", "the", "Canon+EOS", "%28detail%29"]
    texts = ["+".join(shuffled.choices(words, k=shuffled.choice((3, 8, 30)))) for _ in range(5000)]
    database.unlink(missing_ok=True)
    with text.open("w", encoding="utf-8") as opened, closing(sqlite3.connect(database)) as connection:
        columns = ", ".join(list(yfcc.COLUMNS.values())[1:])
        connection.execute(f"CREATE TABLE {yfcc.TABLE} (photoid integer primary key, {columns})")
        marks = ", ".join("?" * len(yfcc.COLUMNS))
        for start in range(0, rows, 10_000):
            made = [_row(int(photo_id), texts) for photo_id in ids[start : start + 10_000]]
            lines = (
                "\t".join([str(start + number), row[0], "0123456789abcdef0123456789abcdef", *row[1:]])
                for number, row in enumerate(made)
            )
            opened.write("\n".join(lines) + "\n")
            connection.executemany(f"INSERT INTO {yfcc.TABLE} VALUES ({marks})", made)
        connection.commit()


def _row(photo_id: int, texts: list[str]) -> list[str]:
    title, description = texts[photo_id % 4999], texts[photo_id % 4993]
    return [
        str(photo_id), "11632020@N00", "Hans", "2010-07-16 20:47:02.0", "1279341000", "Canon+EOS", title[:40],
        description, "heron,grey+heron,leiden", "", "-0.5", "51.2", "16",
        f"http://www.flickr.com/photos/11632020@N00/{photo_id}/",
        f"http://farm1.staticflickr.com/30/{photo_id}_fff93cc915.jpg", "Attribution License",
        "http://creativecommons.org/licenses/by/2.0/", "30", "1", "fff93cc915", "fff93cc915", "jpg", "0",
    ]  # fmt: skip
