"""Opening a dataset folder as a `datasets.Dataset`; only the row groups that a condition needs are read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, overload

import pyarrow as pa
import pyarrow.dataset as pads

from imagenet_captions.dataset.filters import require_condition
from imagenet_captions.dataset.shards import Shards
from imagenet_captions.errors import InputError, quoted
from imagenet_captions.storage.parquet import arrow_name, check_rows, check_schema, file_system, reading, through_cache
from imagenet_captions.storage.places import Place, PlaceLike, place, reopen

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset
    from pyarrow.compute import Expression

CONFIGS = {"default": "data", "raw": "raw"}
LARGEST_IN_MEMORY = 1 << 30
_PACKED = 10  # texts take at most this many times the size of their file in memory
_BATCH_ROWS = 256  # of a streamed dataset: about 30 MB with images


@overload
def load(
    path: PlaceLike,
    filters: Expression | None = None,
    config: str = "default",
    columns: Sequence[str] | None = None,
    streaming: Literal[False] = False,
    split: str = "train",
) -> Dataset: ...
@overload
def load(
    path: PlaceLike,
    filters: Expression | None = None,
    config: str = "default",
    columns: Sequence[str] | None = None,
    *,
    streaming: Literal[True],
    split: str = "train",
) -> IterableDataset: ...
@overload
def load(
    path: PlaceLike,
    filters: Expression | None = None,
    config: str = "default",
    columns: Sequence[str] | None = None,
    streaming: bool = False,
    split: str = "train",
) -> Dataset | IterableDataset: ...
def load(
    path: PlaceLike,
    filters: Expression | None = None,
    config: str = "default",
    columns: Sequence[str] | None = None,
    streaming: bool = False,
    split: str = "train",
) -> Dataset | IterableDataset:
    """Open a dataset: all of it, or only the rows that a condition keeps, or only some columns.

    Parameters mean what they mean to `load_dataset`, and the features are the same. `train` is the only split;
    `in_split` is a condition for a part of the rows.

    Up to a gigabyte is read into memory. More goes through the cache of `datasets` on disk. With `streaming` rows are
    read one after the other, and none is kept. The hub is not asked.

    All rows come from one version of the dataset: if it is replaced while it is read, an error says so. Raises
    InputError for a folder that is not a dataset, and for an unknown column.
    """
    import datasets

    if filters is not None:
        require_condition(filters, "filters")
    if config not in CONFIGS:
        raise InputError(f"`config` must be default or raw, not {quoted(config)}")
    if split != "train":
        raise InputError(f"`split` must be train, which has all rows, not {quoted(split)}; filter by `in_split`")
    if isinstance(columns, str):
        raise InputError(f"`columns` must be a list of names, such as [{columns!r}], not {quoted(columns)}")
    with Shards(place(path)).unchanged() as shards:
        files = shards.files(CONFIGS[config])
        parquet = of_shards(files)
        names = list(parquet.schema.names if columns is None else columns)
        for name in names:
            if name not in parquet.schema.names:
                known = ", ".join(parquet.schema.names)
                raise InputError(f"{shards.dataset} has no column {quoted(name)}; it has {known}")
        check_condition(parquet.schema, filters, shards.dataset)
        if streaming:
            schema = pa.schema([parquet.schema.field(name) for name in names], metadata=parquet.schema.metadata)
            return datasets.IterableDataset.from_generator(
                RowStream(shards, filters, tuple(names)),
                features=datasets.Features.from_arrow_schema(schema),
                gen_kwargs={"shards": list(parquet.files)},  # a list, which `datasets` divides among a loader's workers
                split=datasets.Split.TRAIN,
            )
        on_disk = sum(shards.manifest.files[name].bytes for name in shards.manifest.shards(CONFIGS[config]))
        with reading(*files):
            if on_disk * _PACKED > LARGEST_IN_MEMORY and _is_large(parquet, filters, names):
                from datasets.packaged_modules.parquet.parquet import ParquetConfig

                if filters is not None and not hasattr(ParquetConfig, "filters"):
                    raise InputError(
                        f"datasets {datasets.__version__} cannot filter more than {LARGEST_IN_MEMORY:,} bytes on disk; "
                        "update it (3.2 or newer), or give streaming=True"
                    )
                return through_cache(files, names, **({} if filters is None else {"filters": filters}))
            table = parquet.to_table(columns=names, filter=filters)
            check_rows(table)
        # Given here, because `datasets` would otherwise hash every byte of the table.
        parts = [shards.digest, *map(str, (filters, *names, *parquet.files))]
        fingerprint = hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()
        return datasets.Dataset(table, split=datasets.Split.TRAIN, fingerprint=fingerprint)


@dataclass(frozen=True)
class RowStream:
    """A generator of the rows of some shards, as an object that can be sent to worker processes."""

    dataset: Shards
    condition: Expression | None
    names: tuple[str, ...]

    def __call__(self, shards: list[str]) -> Iterator[dict[str, Any]]:
        for shard in map(reopen, shards):
            with reading(shard):
                scanned = of_shards([shard]).scanner(
                    columns=list(self.names), filter=self.condition, batch_size=_BATCH_ROWS, batch_readahead=2
                )
                batches = iter(scanned.to_batches())
            while True:
                # A batch is read before its rows are yielded, to be sure that they are of one dataset.
                with self.dataset.unchanged(), reading(shard):
                    batch = next(batches, None)
                    if batch is None:
                        break
                    check_rows(batch)
                yield from batch.to_pylist()


def of_shards(shards: Sequence[Place], parts: Sequence[tuple[int, int]] = ()) -> pads.FileSystemDataset:
    """Return some shards of one config as an Arrow dataset; it keeps the footers of the shards that were scanned."""
    # `pads.dataset` would read the first footer twice: for the schema and to scan.
    parquet, system = pads.ParquetFileFormat(), file_system(shards[0], parts)
    with reading(shards[0]):
        fragments = [parquet.make_fragment(arrow_name(shard), system) for shard in shards]
        return pads.FileSystemDataset(fragments, check_schema(fragments[0].physical_schema), parquet, system)


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
    total = 0
    for fragment in parquet.get_fragments(condition):
        for group in (fragment if condition is None else fragment.subset(condition)).row_groups:
            columns = fragment.metadata.row_group(group.id)
            for column in map(columns.column, range(columns.num_columns)):
                if column.path_in_schema.split(".")[0] in names:
                    total += column.total_uncompressed_size
    return total > LARGEST_IN_MEMORY
