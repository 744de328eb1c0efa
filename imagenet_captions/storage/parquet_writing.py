"""How this package writes Parquet: the compression and the sizes of row groups and shards, each set here and only here.

A reader opens files of any other setting, so that a changed value concerns new files alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

COMPRESSION = "zstd"
COMPRESSION_LEVEL: int | None = None  # None: Arrow's default, 1 for zstd
SCRATCH_COMPRESSION = "lz4"  # of Arrow files that a command writes, reads once and removes

# Rows in a row group.
MATCHES_ROWS = 65_536
# docs/design/decisions.md compares 10,000 and 32,000.
CAPTIONS_ROWS = 32_000
# Texts of a single class are so short that a thousand groups of them take longer to look through than to read: rows
# with a word in published-size data took 1.1 s with a class a group and 0.22 s with 16; one class, 58 ms and 12.
TEXT_ROWS = 7_000

# Bytes in a row group with images: what a writer holds at once, and what a reader of one class fetches at most before
# it has a row.
GROUP_BYTES = 32_000_000

# Bytes in a shard of a dataset.
SHARD_BYTES = 500_000_000
# A small dataset has a few more shards than its size asks for: writers and readers share work by the shard.
FEW_SHARDS, SMALL_SHARD = 8, 64_000_000

# A dataset in a seeded order has at least so many: a loader's workers read different shards at the same time.
SHUFFLED_SHARDS = 16


def open_parquet_writer(path: Path, schema: pa.Schema, **options: Any) -> pq.ParquetWriter:
    """Open a new Parquet file for writing; use the result as a context manager."""
    settings = {"compression": COMPRESSION, "compression_level": COMPRESSION_LEVEL, **options}
    return pq.ParquetWriter(path, schema, **settings)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table as a Parquet file."""
    with open_parquet_writer(path, table.schema) as writer:
        writer.write_table(table)
