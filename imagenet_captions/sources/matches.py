"""The file that matching wrote, and the drops beside it, for the sources that join them with photos."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from imagenet_captions.errors import InputError
from imagenet_captions.outcomes import OUTCOMES, outcomes_path
from imagenet_captions.schema import MATCHES
from imagenet_captions.storage.files import require_file
from imagenet_captions.storage.parquet import ParquetFile, read_files
from imagenet_captions.storage.places import Place


def open_matches(path: Place) -> ParquetFile:
    """Open the matches file; raises InputError if it is not one."""
    require_file(path, "the matches file")
    opened = ParquetFile(path)
    schema = opened.schema_arrow
    for wanted in MATCHES:
        if wanted.name not in schema.names or not schema.field(wanted.name).type.equals(wanted.type):
            opened.close()
            raise InputError(f"{path} has no text column {wanted.name}; give the matches.parquet that matching wrote")
    return opened


def drops_beside(path: Place) -> Iterator[pa.RecordBatch]:
    """Yield the drops beside the file that a stage wrote."""
    for batch in read_files([require_file(outcomes_path(path), "the outcomes file")]):
        yield from pa.Table.from_batches([batch]).cast(OUTCOMES).to_batches()
