"""Measuring a dataset folder: its rows in one pass over the row groups, and its outcomes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from imagenet_captions.dataset.manifest import read_manifest, shard_files, unchanged
from imagenet_captions.dataset.outcomes import read_outcome_counts
from imagenet_captions.images.sources import ImageIndex
from imagenet_captions.outcomes import OUTCOMES_FILE
from imagenet_captions.statistics import render
from imagenet_captions.statistics.measure import COLUMNS, measure
from imagenet_captions.statistics.result import Stats
from imagenet_captions.statistics.sections import sections
from imagenet_captions.statistics.settings import StatsSettings
from imagenet_captions.storage.outputs import producing
from imagenet_captions.storage.parquet import parquet_file
from imagenet_captions.storage.places import Place, PlaceLike, place
from imagenet_captions.storage.progress import Bar, progress


def stats(dataset: PlaceLike, images: PlaceLike | None = None) -> Stats:
    """Measure a dataset; `print` shows the result as tables.

        measured = ic.stats("imagenet-captions")
        measured.rows, measured.filled["title"], measured.languages["en"]

    `images` is ImageNet in any form that `package` takes; its images with and without a caption are counted too.
    Raises InputError for a folder that is not a dataset of ours.
    """
    return collect(place(dataset), None if images is None else ImageIndex(place(images)))


def write_stats(dataset: Place, settings: StatsSettings, overwrite: bool = False) -> str:
    """Measure a dataset, write the files that are asked for, and return the tables as text."""
    if settings.html is not None:
        from imagenet_captions.statistics.report import check_installed

        check_installed()
    with producing(settings.outputs(), [dataset, settings.images], overwrite) as partials:
        index = None if settings.images is None else ImageIndex(settings.images)
        measured = collect(dataset, index)
        tables = sections(measured)
        texts = {
            settings.csv: lambda: render.per_class_csv(measured),
            settings.markdown: lambda: render.as_markdown(tables),
            settings.counts: lambda: render.counts_tsv(measured),
            settings.frequencies: lambda: render.frequencies_tsv(measured),
        }
        if settings.html is not None:
            from imagenet_captions.statistics.report import report

            texts[settings.html] = lambda: report(dataset, measured, index, settings.thumbnails)
        for partial, file in zip(partials, settings.outputs(), strict=True):
            partial.write_text(texts[file](), encoding="utf-8", newline="")
    return render.as_text(tables)


def collect(dataset: Place, images: ImageIndex | None = None) -> Stats:
    """Measure a dataset, and with `images` count the rows that have an image there.

    Raises InputError for a folder that is not a dataset of ours.
    """
    columns = [*COLUMNS, "names_class", *(["image_id", "photo_id"] if images else ["image.path"])]
    keys = None if images is None else images.keys
    with unchanged(dataset):
        manifest = read_manifest(dataset)
        files = shard_files(dataset)
        with progress("stats", sum(manifest.shards("data").values()), "rows") as bar:
            tables = _counted(read_tables(files, columns), bar)
            stats = measure(tables, keys, manifest.classes)
        return dataclasses.replace(stats, funnel=read_outcome_counts(dataset / OUTCOMES_FILE))


def _counted(tables: Iterable[pa.Table], bar: Bar) -> Iterator[pa.Table]:
    for table in tables:
        yield table
        bar.update(len(table))


def read_tables(files: Sequence[Place], columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the row groups of all files, with those of the columns that a file has."""
    for file in files:
        with parquet_file(file) as opened:
            known = {opened.schema.column(at).path.removesuffix(".list.element") for at in range(len(opened.schema))}
            here = [name for name in columns if name in known]
            for group in range(opened.num_row_groups):
                yield opened.read_row_group(group, columns=here)
