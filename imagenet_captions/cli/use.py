"""filter, export, stats, diff, explain, label-by-text and publish: what is done with a dataset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import click

from imagenet_captions.cli.common import DATASET, Dataset, Overwrite, Told, Workers
from imagenet_captions.dataset.settings import FilterSettings
from imagenet_captions.engines.local import EngineSettings, default_workers, open_engine
from imagenet_captions.exports.settings import ExportSettings
from imagenet_captions.labelling.settings import LabelSettings
from imagenet_captions.options import argument, option
from imagenet_captions.statistics.settings import StatsSettings
from imagenet_captions.storage.places import Place


def filter(
    dataset: Dataset,
    settings: FilterSettings,
    out: Annotated[Place | None, option("Write a dataset folder.")] = None,
    out_ids: Annotated[
        Place | None, option("Write a list of image ids, and FILE.json beside it.", metavar="FILE")
    ] = None,
    overwrite: Overwrite = False,
    workers: Workers = None,
) -> Told:
    from imagenet_captions.dataset.filtering import filter, format_counts

    count = workers or default_workers()
    counts = filter(dataset, settings, out=out, out_ids=out_ids, overwrite=overwrite, workers=count)
    return Told(format_counts(counts), {"counts": counts}, [out or out_ids])


def export(
    dataset: Dataset,
    settings: ExportSettings,
    engine: EngineSettings,
    out: Annotated[Place, option("The file, or for webdataset the folder. OUT.json says what is in it.")],
    overwrite: Overwrite = False,
) -> Told:
    from imagenet_captions.exports import export as exporting

    with open_engine(engine) as (running, count):
        exported = exporting.export(dataset, out, replace(settings, workers=count, engine=running), overwrite)
    return Told(exported, exported, [out])


def stats(dataset: Dataset, settings: StatsSettings, overwrite: Overwrite = False) -> Told:
    from imagenet_captions.statistics.report import write_stats

    measured = write_stats(dataset, settings, overwrite)
    return Told(measured, measured, settings.outputs())


def diff(
    a: Annotated[Place, argument("A dataset folder, such as one made from the release.")],
    b: Annotated[Place, argument("Another dataset folder, such as a rebuild.")],
    raw: Annotated[bool, option("Compare the texts as the source gave them, too.")] = False,
    out: Annotated[
        Place | None,
        option("Write the ids: a .tsv or .json file, or a folder that gets counts and ids.", metavar="PATH"),
    ] = None,
    overwrite: Overwrite = False,
) -> Told:
    from imagenet_captions.dataset.diff import diff, format_summary

    summary = diff(a, b, raw, out, overwrite)
    return Told(format_summary(summary), summary, [] if out is None else [out])


def explain(
    dataset: Dataset,
    image_id: Annotated[str, argument("An id such as n01440764_10026, or the name of its file.")],
    work: Annotated[
        Path | None,
        option("The work folder of the build: URL list, Flickr's answer, and raw texts of a dropped id."),
    ] = None,
) -> Told:
    from imagenet_captions.pipeline.explain import explain as explain_id

    found = explain_id(dataset, image_id, work)
    return Told(found, found)


def label_by_text(
    table: Annotated[
        Place,
        argument(
            "Captions: a .parquet, .csv or .tsv file, WebDataset tars or a folder of them, one of our datasets, or "
            "YFCC100M's metadata."
        ),
    ],
    out: Annotated[Place, option("The labeled table: a .parquet, .csv or .tsv file.")],
    settings: LabelSettings,
    engine: EngineSettings,
    overwrite: Overwrite = False,
) -> Told:
    from imagenet_captions.labelling.label import label_by_text as label_table

    with open_engine(engine) as (running, count):
        report = label_table(table, out, replace(settings, workers=count, engine=running), overwrite)
    return Told(report, report, [out])


def publish(
    dataset: Annotated[Path, argument(DATASET)],
    repo: Annotated[str, argument("A dataset repository, new or with an older version.", metavar="ORG/NAME")],
    with_images: Annotated[
        bool, option("Publish the images too, in a gated repository, as ImageNet's terms ask.")
    ] = False,
    private: Annotated[bool, option("Show the repository to you or your group alone.")] = False,
    dry_run: Annotated[bool, option("List the files and their sizes, and contact nobody.")] = False,
    revision: Annotated[str | None, option("A branch to publish on. Default: main.")] = None,
    create_pr: Annotated[bool, option("Open a pull request with the commit.")] = False,
    message: Annotated[str | None, option("The first line of the commit.")] = None,
) -> Told:
    from imagenet_captions.publishing.publish import MESSAGE, NOTICE
    from imagenet_captions.publishing.publish import publish as publish_dataset

    if with_images:
        click.echo(f"{NOTICE}\n", err=True)
    published = publish_dataset(
        dataset,
        repo,
        with_images=with_images,
        private=private,
        dry_run=dry_run,
        revision=revision,
        create_pr=create_pr,
        message=message or MESSAGE,
    )
    return Told(f"{published}\n{published.url or 'nothing was sent: this was a dry run'}", published)
