"""demo, build, and the stages of a build one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click

from imagenet_captions.cleaner.settings import CleanSettings
from imagenet_captions.cli.common import Dataset, Out, Overwrite, Told
from imagenet_captions.crawler.settings import CrawlSettings, MatchSettings
from imagenet_captions.dataset.settings import PackageSettings
from imagenet_captions.engines.local import EngineName, EngineSettings, open_engine
from imagenet_captions.errors import StoppedEarly
from imagenet_captions.options import argument, option
from imagenet_captions.pipeline.settings import URLS, YFCC, BuildSettings, SourceFiles
from imagenet_captions.storage.files import CAPTIONS, MATCHES, PHOTO_STORE, YFCC_PHOTOS
from imagenet_captions.storage.places import Place

if TYPE_CHECKING:
    from imagenet_captions.outcomes import Outcome

Matches = Annotated[Place, option("The file that `match` wrote.")]


def demo(
    out: Out = Path("imagenet-captions-demo"),
    inputs: Annotated[
        Path | None, option("A new folder for the sample's files, named as the real ones, to try other commands on.")
    ] = None,
) -> object:
    from imagenet_captions.demo.run import run_demo

    return run_demo(out, inputs)


def build(out: Out, settings: BuildSettings, engine: EngineSettings) -> str:
    from imagenet_captions.pipeline import build as building

    with open_engine(engine) as (running, count):
        building.build(out, replace(settings, workers=count, engine=running))
    return _told_of_dataset(out)


def match(
    urls: Annotated[tuple[Place, ...], option(URLS)],
    settings: MatchSettings,
    engine: EngineName,
    out: Out = Path(MATCHES),
    overwrite: Overwrite = False,
) -> str:
    from imagenet_captions.crawler import match as matching

    with open_engine(EngineSettings(engine.engine, engine.ray_address)) as (running, _):
        return _told(matching.match(urls, out, replace(settings, engine=running), overwrite), out)


def extract_yfcc(
    yfcc: Annotated[Place, argument("YFCC100M's metadata, in any form that --yfcc takes.")],
    matches: Matches = Path(MATCHES),
    out: Out = Path(YFCC_PHOTOS),
    overwrite: Overwrite = False,
) -> str:
    from imagenet_captions.sources.yfcc import extract_photos

    return f"{extract_photos(yfcc, matches, out, overwrite):,} photos\n{out}"


def crawl(
    settings: CrawlSettings,
    matches: Matches = Path(MATCHES),
    store: Annotated[Place, option("The SQLite file that keeps Flickr's answers.")] = Path(PHOTO_STORE),
    yfcc: Annotated[Place | None, option(YFCC)] = None,
) -> None:
    from imagenet_captions.crawler import crawl as crawling
    from imagenet_captions.sources.yfcc import photo_ids

    elsewhere = None if yfcc is None else photo_ids(yfcc, matches)
    report = crawling.crawl(matches, store, settings, elsewhere=elsewhere)
    click.echo(f"store: {store}")
    if settings.limit is not None and report.left > report.unreachable:
        raise StoppedEarly(
            f"photos left behind `limit={settings.limit}`: {report.left:,}; run the same command again for more"
        )


def clean(
    files: SourceFiles,
    settings: CleanSettings,
    engine: EngineSettings,
    out: Out = Path(CAPTIONS),
    overwrite: Overwrite = False,
) -> Told:
    from imagenet_captions.cleaner import clean as cleaning
    from imagenet_captions.pipeline.build import open_source

    source = open_source(files, settings)
    with open_engine(engine) as (running, count):
        counts = cleaning.clean(source, out, settings, count, running, overwrite)
    return Told(_told(counts, out), {"out": out, "outcomes": counts})


def package(
    out: Out,
    settings: PackageSettings,
    engine: EngineSettings,
    captions: Annotated[Place, option("The file that `clean` wrote.")] = Path(CAPTIONS),
) -> str:
    from imagenet_captions.packager import package as packaging

    with open_engine(engine) as (running, count):
        packaging.package(captions, out, settings, count, running)
    return _told_of_dataset(out)


def verify(dataset: Dataset) -> Told:
    from imagenet_captions.packager import package as packaging

    found = packaging.verify(dataset)
    return Told(found, found)


def _told(counts: Mapping[Outcome, int], out: Place) -> str:
    from imagenet_captions.outcomes import format_counts

    return f"{format_counts(counts)}\n{out}"


def _told_of_dataset(out: Place) -> str:
    from imagenet_captions.dataset.shards import Shards
    from imagenet_captions.outcomes import Outcome

    shards = Shards(out)
    images = shards.manifest.images
    told = _told({Outcome(name): count for name, count in shards.manifest.counts.items()}, out)
    return told if images is None else f"{told}\n{images:,} of {shards.rows:,} rows have an image"
