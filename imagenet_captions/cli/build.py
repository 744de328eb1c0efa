"""demo, build, and the stages of a build one by one."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagenet_captions.cli.app import command
from imagenet_captions.cli.flags import refuse_without_effect
from imagenet_captions.cli.options import (
    AsPublished,
    Caption,
    Classes,
    Deny,
    Endpoint,
    Engine,
    EngineName,
    Ids,
    Images,
    KeyFile,
    Limit,
    Matches,
    Missing,
    MissingImages,
    OptionalMatches,
    OptionalStore,
    Out,
    Overwrite,
    Rate,
    RayAddress,
    Refresh,
    Release,
    RequiredUrls,
    Store,
    Tries,
    Urls,
    Workers,
    Yfcc,
    open_engine,
)
from imagenet_captions.errors import StoppedEarly
from imagenet_captions.imagenet.class_sets import ClassSet
from imagenet_captions.storage.files import CAPTIONS, MATCHES, PHOTO_STORE, YFCC_PHOTOS
from imagenet_captions.storage.places import Place

if TYPE_CHECKING:
    from imagenet_captions.cleaner.settings import CleanSettings
    from imagenet_captions.flickr.denylist import Denylist
    from imagenet_captions.outcomes import Outcome

_CRAWL = ("endpoint", "rate", "limit", "refresh", "key_file", "tries")


@command
def demo(out: Out = Path("imagenet-captions-demo")) -> None:
    from imagenet_captions.demo.run import run_demo

    typer.echo(run_demo(out))


@command
def build(
    out: Out,
    release: Release = None,
    urls: Urls = None,
    ids: Ids = None,
    classes: Classes = ClassSet.ILSVRC2012,
    yfcc: Yfcc = None,
    no_crawl: Annotated[
        bool, typer.Option("--no-crawl", help="Ask Flickr for nothing; photos that --yfcc lacks end as not_asked.")
    ] = False,
    work: Annotated[
        Place | None,
        typer.Option(
            help="Where intermediate files are kept. Default: OUT.work beside the dataset, or here for a URL.",
        ),
    ] = None,
    endpoint: Endpoint = None,
    rate: Rate = "3600/h",
    limit: Limit = None,
    refresh: Refresh = None,
    key_file: KeyFile = None,
    tries: Tries = 12,
    images: Images = None,
    missing: MissingImages = Missing.REPORT,
    caption: Caption = "title tags description",
    as_published: AsPublished = False,
    deny: Deny = None,
    workers: Workers = None,
    engine: Engine = EngineName.LOCAL,
    ray_address: RayAddress = None,
) -> None:
    from imagenet_captions.crawler.settings import CrawlSettings, MatchSettings
    from imagenet_captions.flickr.denylist import read_denylist
    from imagenet_captions.packager.settings import PackageSettings
    from imagenet_captions.pipeline import build as building
    from imagenet_captions.pipeline.settings import BuildSettings

    if release is not None:
        refuse_without_effect("with --release, which asks Flickr for nothing", *_CRAWL)
    if no_crawl:
        refuse_without_effect("with --no-crawl", *_CRAWL)
    _refuse_missing(images)
    denied = read_denylist(deny)
    with open_engine(engine, ray_address, workers) as (running, count):
        settings = BuildSettings(
            release=release,
            urls=tuple(urls or ()),
            yfcc=yfcc,
            ask_flickr=not no_crawl,
            match=MatchSettings(ids, denied, classes),
            crawl=CrawlSettings(rate, limit, refresh, endpoint, key_file, tries, denied),
            clean=_clean_settings(caption, as_published, denied, classes),
            package=PackageSettings(images=images, missing=missing.value, workers=count),
            work=work,
            workers=count,
            engine=running,
        )
        building.build(out, settings)
    _show_dataset(out)


@command
def match(
    urls: RequiredUrls,
    out: Out = Path(MATCHES),
    ids: Ids = None,
    classes: Classes = ClassSet.ILSVRC2012,
    deny: Deny = None,
    engine: Engine = EngineName.LOCAL,
    ray_address: RayAddress = None,
    overwrite: Overwrite = False,
) -> None:
    from imagenet_captions.crawler import match as matching
    from imagenet_captions.flickr.denylist import read_denylist

    denied = read_denylist(deny)
    with open_engine(engine, ray_address, None) as (running, _):
        from imagenet_captions.crawler.settings import MatchSettings

        counts = matching.match(urls, out, MatchSettings(ids, denied, classes, running), overwrite)
    _show(counts, out)


@command
def extract_yfcc(
    yfcc: Annotated[Place, typer.Argument(help="YFCC100M's metadata, in any form that --yfcc takes.")],
    matches: Matches = Path(MATCHES),
    out: Out = Path(YFCC_PHOTOS),
    overwrite: Overwrite = False,
) -> None:
    from imagenet_captions.sources.yfcc import extract_photos

    typer.echo(f"{extract_photos(yfcc, matches, out, overwrite):,} photos\n{out}")


@command
def crawl(
    matches: Matches = Path(MATCHES),
    store: Store = Path(PHOTO_STORE),
    endpoint: Endpoint = None,
    rate: Rate = "3600/h",
    limit: Limit = None,
    refresh: Refresh = None,
    key_file: KeyFile = None,
    tries: Tries = 12,
    yfcc: Yfcc = None,
    deny: Deny = None,
) -> None:
    from imagenet_captions.crawler import crawl as crawling
    from imagenet_captions.crawler.settings import CrawlSettings
    from imagenet_captions.flickr.denylist import read_denylist
    from imagenet_captions.sources.yfcc import photo_ids

    settings = CrawlSettings(rate, limit, refresh, endpoint, key_file, tries, read_denylist(deny))
    elsewhere = None if yfcc is None else photo_ids(yfcc, matches)
    report = crawling.crawl(matches, store, settings, elsewhere=elsewhere)
    typer.echo(f"store: {store}")
    if limit is not None and report.left > report.unreachable:
        raise StoppedEarly(
            f"{report.left:,} photos are left behind --limit {limit}; run the same command again for more"
        )


@command
def clean(
    out: Out = Path(CAPTIONS),
    release: Release = None,
    matches: OptionalMatches = None,
    store: OptionalStore = None,
    yfcc: Yfcc = None,
    classes: Classes = ClassSet.ILSVRC2012,
    caption: Caption = "title tags description",
    as_published: AsPublished = False,
    deny: Deny = None,
    json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON, for programs.")] = False,
    workers: Workers = None,
    engine: Engine = EngineName.LOCAL,
    ray_address: RayAddress = None,
    overwrite: Overwrite = False,
) -> None:
    from json import dumps

    from imagenet_captions.cleaner import clean as cleaning
    from imagenet_captions.flickr.denylist import read_denylist
    from imagenet_captions.pipeline.build import open_source
    from imagenet_captions.pipeline.settings import SourceFiles

    settings = _clean_settings(caption, as_published, read_denylist(deny), classes)
    source = open_source(SourceFiles(release, matches, store, yfcc), settings)
    with open_engine(engine, ray_address, workers) as (running, count):
        counts = cleaning.clean(source, out, settings, count, running, overwrite)
    if json:
        told = {"out": str(out), "outcomes": {each.value: number for each, number in counts.items()}}
        typer.echo(dumps(told, ensure_ascii=False, indent=2))
        return
    _show(counts, out)


@command
def package(
    out: Out,
    captions: Annotated[Place, typer.Option(help="The file that `clean` wrote.")] = Path(CAPTIONS),
    images: Images = None,
    missing: MissingImages = Missing.REPORT,
    workers: Workers = None,
    engine: Engine = EngineName.LOCAL,
    ray_address: RayAddress = None,
) -> None:
    from imagenet_captions.packager import package as packaging

    _refuse_missing(images)
    with open_engine(engine, ray_address, workers) as (running, count):
        from imagenet_captions.packager.settings import PackageSettings

        settings = PackageSettings(images, missing.value, count, running)
        packaging.package(captions, out, settings)
    _show_dataset(out)


@command
def verify(dataset: Annotated[Place, typer.Argument(help="A dataset folder.")]) -> None:
    from imagenet_captions.packager.verify import verify as check

    typer.echo(check(dataset))


def _refuse_missing(images: Place | None) -> None:
    if images is None:
        refuse_without_effect("without --images", "missing")


def _clean_settings(caption: str, as_published: bool, deny: "Denylist", classes: ClassSet) -> "CleanSettings":
    from imagenet_captions.captions.caption_template import CaptionTemplate
    from imagenet_captions.cleaner.settings import CleanSettings

    if as_published:
        refuse_without_effect("with --as-published, whose captions are the raw texts", "caption")
    return CleanSettings(caption=CaptionTemplate.parse(caption), deny=deny, classes=classes, as_published=as_published)


def _show(counts: Mapping["Outcome", int], out: Place) -> None:
    from imagenet_captions.outcomes import format_counts

    typer.echo(f"{format_counts(counts)}\n{out}")


def _show_dataset(out: Place) -> None:
    from imagenet_captions.dataset.manifest import read_manifest
    from imagenet_captions.dataset.outcomes import read_outcome_counts
    from imagenet_captions.outcomes import OUTCOMES_FILE, Outcome

    counts = read_outcome_counts(out / OUTCOMES_FILE)
    _show(counts, out)
    images, rows = read_manifest(out).images, counts.get(Outcome.KEPT, 0)
    if images is not None:
        typer.echo(f"{images:,} of {rows:,} rows have an image")
