"""Opening a dataset folder as a `datasets.Dataset`; only the row groups that a condition needs are read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, overload

import pyarrow as pa
import pyarrow.dataset as pads

from imagenet_captions.dataset.filters import require_condition
from imagenet_captions.dataset.shards import Replaced, Shards
from imagenet_captions.errors import InputError, quoted
from imagenet_captions.storage.parquet import arrow_name, check_rows, check_schema, file_system, reading, through_cache
from imagenet_captions.storage.places import Place, PlaceLike, place, reopen

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset
    from pyarrow.compute import Expression

CONFIGS = {"default": "data", "raw": "raw"}
LARGEST_IN_MEMORY = 1 << 30
_PACKED = 10  # texts take at most this many times the size of their file in memory
_TRIES = 3
_BATCH_ROWS = 256  # of a streamed dataset: about 30 MB with images


@overload
def load(
    path: PlaceLike,
    condition: Expression | None = None,
    config: str = "default",
    columns: Sequence[str] | None = None,
    streaming: Literal[False] = False,
) -> Dataset: ...
@overload
def load(
    path: PlaceLike,
    condition: Expression | None = None,
    config: str = "default",
    columns: Sequence[str] | None = None,
    *,
    streaming: Literal[True],
) -> IterableDataset: ...
@overload
def load(
    path: PlaceLike,
    condition: Expression | None = None,
    config: str = "default",
    columns: Sequence[str] | None = None,
    streaming: bool = False,
) -> Dataset | IterableDataset: ...
def load(
    path: PlaceLike,
    condition: Expression | None = None,
    config: str = "default",
    columns: Sequence[str] | None = None,
    streaming: bool = False,
) -> Dataset | IterableDataset:
    """Open a dataset: all of it, or only the rows that a condition keeps, or only some columns.

    Up to a gigabyte is read into memory. More goes through the cache of `datasets` on disk. With `streaming` rows are
    read one after the other, and none is kept. The features are those of `load_dataset`. The hub is not asked.

    All rows come from one version of the dataset: if it is replaced while it is read, it is read again, and a stream
    raises an error. Raises InputError for a folder that is not a dataset, and for an unknown column.
    """
    if condition is not None:
        require_condition(condition)
    folder = place(path)
    for _ in range(_TRIES - 1):
        try:
            return _load(folder, condition, config, columns, streaming)
        except Replaced:
            continue
    return _load(folder, condition, config, columns, streaming)


def _load(
    folder: Place,
    condition: Expression | None,
    config: str,
    columns: Sequence[str] | None,
    streaming: bool,
) -> Dataset | IterableDataset:
    if config not in CONFIGS:
        raise InputError(f"`config` must be default or raw, not {quoted(config)}")
    with Shards(folder).unchanged() as shards:
        parquet = of_shards(shards.files(CONFIGS[config]))
        names = _columns(parquet, columns, folder)
        if streaming:
            check_condition(parquet.schema, condition, folder)
            return _streamed(parquet, RowStream(shards, condition, tuple(names)))
        with reading(*map(reopen, parquet.files)):
            if _is_large(parquet, condition, names):
                check_condition(parquet.schema, condition, folder)
                return _cached(parquet, condition, names)
            return _in_memory(parquet, condition, names, shards)


@dataclass(frozen=True)
class RowStream:
    """A generator of the rows of some shards, as an object that can be sent to worker processes."""

    dataset: Shards
    condition: Expression | None
    names: tuple[str, ...]

    def __call__(self, shards: list[str]) -> Iterator[dict[str, Any]]:
        for shard in map(reopen, shards):
            batches = self._batches(shard)
            while True:
                # A batch is read before its rows are yielded, to be sure that they are of one dataset.
                with self.dataset.unchanged():
                    batch = next(batches, None)
                if batch is None:
                    break
                yield from batch.to_pylist()

    def _batches(self, shard: Place) -> Iterator[pa.RecordBatch]:
        with reading(shard):
            scanned = of_shards([shard]).scanner(
                columns=list(self.names), filter=self.condition, batch_size=_BATCH_ROWS, batch_readahead=2
            )
            for batch in scanned.to_batches():
                check_rows(batch)
                yield batch


def _streamed(parquet: pads.FileSystemDataset, rows: RowStream) -> IterableDataset:
    import datasets

    schema = pa.schema([parquet.schema.field(name) for name in rows.names], metadata=parquet.schema.metadata)
    return datasets.IterableDataset.from_generator(
        rows,
        features=datasets.Features.from_arrow_schema(schema),
        gen_kwargs={"shards": list(parquet.files)},  # a list, which `datasets` divides among the workers of a loader
        split=datasets.Split.TRAIN,
    )


def of_shards(shards: Sequence[Place]) -> pads.FileSystemDataset:
    """Return some shards of one config as an Arrow dataset; it keeps the footers of the shards that were scanned."""
    # `pads.dataset` would read the first footer twice: for the schema and to scan.
    parquet, system = pads.ParquetFileFormat(), file_system(shards[0])
    with reading(shards[0]):
        fragments = [parquet.make_fragment(arrow_name(shard), system) for shard in shards]
        return pads.FileSystemDataset(fragments, check_schema(fragments[0].physical_schema), parquet, system)


def _columns(parquet: pads.FileSystemDataset, columns: Sequence[str] | None, path: Place) -> list[str]:
    known = parquet.schema.names
    if isinstance(columns, str):
        raise InputError(f"`columns` must be a list of names, such as [{columns!r}], not {quoted(columns)}")
    for name in columns or ():
        if name not in known:
            raise InputError(f"{path} has no column {quoted(name)}; it has {', '.join(known)}")
    return list(known if columns is None else columns)


def check_condition(schema: pa.Schema, condition: Expression | None, path: Place) -> None:
    """Refuse a condition that does not fit the columns of a dataset, before anything is read."""
    try:
        pads.dataset(schema.empty_table()).to_table(filter=condition)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowKeyError) as error:
        raise InputError(
            f"the condition does not fit {path}, whose columns are {', '.join(schema.names)}: "
            f"{str(error).splitlines()[0][:200]}"
        ) from None


def _is_large(parquet: pads.FileSystemDataset, condition: Expression | None, names: Sequence[str]) -> bool:
    """Return whether the row groups that may hold wanted rows are too large for memory, in the wanted columns."""
    if sum(reopen(file).stat().st_size for file in parquet.files) * _PACKED <= LARGEST_IN_MEMORY:
        return False
    total = 0
    for fragment in parquet.get_fragments(condition):
        for group in (fragment if condition is None else fragment.subset(condition)).row_groups:
            total += _group_bytes(fragment, group.id, names)
    return total > LARGEST_IN_MEMORY


def _group_bytes(fragment: pads.ParquetFileFragment, group: int, names: Sequence[str]) -> int:
    """Return the bytes that some columns of a row group take when they are read."""
    columns = fragment.metadata.row_group(group)
    found = map(columns.column, range(fragment.metadata.num_columns))
    return sum(column.total_uncompressed_size for column in found if column.path_in_schema.split(".")[0] in names)


def _in_memory(
    parquet: pads.FileSystemDataset, condition: Expression | None, names: Sequence[str], shards: Shards
) -> Dataset:
    import datasets

    try:
        table = parquet.to_table(columns=list(names), filter=condition)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowKeyError):
        check_condition(parquet.schema, condition, shards.dataset)
        raise
    check_rows(table)
    # Given here, because `datasets` would otherwise hash every byte of the table.
    parts = [shards.digest, *map(str, (condition, *names, *parquet.files))]
    fingerprint = hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()
    return datasets.Dataset(table, split=datasets.Split.TRAIN, fingerprint=fingerprint)


def _cached(parquet: pads.FileSystemDataset, condition: Expression | None, names: Sequence[str]) -> Dataset:
    import datasets
    from datasets.packaged_modules.parquet.parquet import ParquetConfig

    filters: dict[str, Any] = {} if condition is None else {"filters": condition}
    if filters and not hasattr(ParquetConfig, "filters"):
        raise InputError(
            f"datasets {datasets.__version__} cannot filter more than {LARGEST_IN_MEMORY:,} bytes on disk; "
            "update it (3.2 or newer), or give streaming=True"
        )
    return through_cache([reopen(file) for file in parquet.files], names, **filters)
