"""Flags → settings → one call. Nothing is decided here, and nothing heavy is imported before a command runs."""

from __future__ import annotations

import errno
import functools
import logging
import sys
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec

import typer

from imagenet_captions.errors import ImagenetCaptionsError, StoppedEarly

if TYPE_CHECKING:
    from imagenet_captions.cleaner.batch import CleanSettings
    from imagenet_captions.records import Outcome

P = ParamSpec("P")

app = typer.Typer(
    name="imagenet-captions",
    help="Rebuild ImageNet-Captions: ImageNet training images with the text their photographers wrote on Flickr.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

# The operating system's answers that a user can do something about; everything else is a bug and keeps its traceback.
_USERS_TO_MEND = {
    errno.ENOSPC: "no space is left on the disk: free some and run the same command again, finished work is kept",
    errno.EDQUOT: "your disk quota is used up: free some and run the same command again, finished work is kept",
    errno.EACCES: "permission denied: check who may read and write there",
    errno.EPERM: "permission denied: check who may read and write there",
    errno.EROFS: "the file system is read-only: choose another place",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
}


class Missing(str, Enum):
    """What to do with a row whose image the source does not have."""

    REPORT = "report"
    SKIP = "skip"
    FAIL = "fail"


Release = Annotated[Path | None, typer.Option(help="imagenet_captions.json, or the zip that holds it.")]
Urls = Annotated[
    list[Path] | None,
    typer.Option(help="ImageNet's URL list (fall11_urls.txt), plain or in a .tgz, .gz or .zip. May be given often."),
]
RequiredUrls = Annotated[
    list[Path],
    typer.Option("--urls", help="ImageNet's URL list, plain or in a .tgz, .gz or .zip. May be given often."),
]
Ids = Annotated[
    Path | None,
    typer.Option(
        help="The images that count: an ILSVRC train folder or tar, LOC_train_solution.csv, train_cls.txt, a folder "
        "of imagenet-1k Parquet, or a text file. Default: every id of the list."
    ),
]
Endpoint = Annotated[
    str | None, typer.Option(help="Address of the Flickr API, for a stand-in. Default: Flickr's own.", metavar="URL")
]
Rate = Annotated[str, typer.Option(help="Pace of the calls, as N/s, N/min or N/h; never a burst.")]
Limit = Annotated[int | None, typer.Option(help="Ask for at most so many photos in this run.")]
Refresh = Annotated[
    int | None,
    typer.Option(help="Ask again for answers older than so many days, and drop photos that are gone.", metavar="DAYS"),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(help="File with FLICKR_API_KEY=... and FLICKR_API_SECRET=...; default: the environment."),
]
Tries = Annotated[int, typer.Option(help="Ask at most so often for one photo in a run, with growing waits.")]
Matches = Annotated[Path, typer.Option(help="What `match` wrote.")]
OptionalMatches = Annotated[Path | None, typer.Option(help="What `match` wrote, for captions from a crawl.")]
Store = Annotated[Path, typer.Option(help="The SQLite file that keeps Flickr's answers.")]
OptionalStore = Annotated[Path | None, typer.Option(help="What `crawl` wrote, for captions from a crawl.")]
Caption = Annotated[str, typer.Option(help="The fields that make the caption, in order.")]
Images = Annotated[
    Path | None,
    typer.Option(
        help="ImageNet as you have it: train folder, ILSVRC2012_img_train.tar, imagenet-1k Parquet, WebDataset tars, "
        "or files named by Flickr photo id. Without it the dataset has text only."
    ),
]
MissingImages = Annotated[
    Missing, typer.Option("--missing", help="A row without its image: keep it and count it, skip it, or fail.")
]
Workers = Annotated[int | None, typer.Option(help="Processes to use. Default: one a core.")]
Out = Annotated[Path, typer.Option(help="Where the result goes.")]


def _command(function: Callable[P, None]) -> Callable[P, None]:
    """Register a command that answers a user's mistake with one sentence and its exit code, never a traceback."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
        try:
            function(*args, **kwargs)
        except ImagenetCaptionsError as error:
            typer.echo(f"imagenet-captions: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo(
                "imagenet-captions: interrupted; what was finished is kept, run the same command again", err=True
            )
            raise typer.Exit(130) from None
        except OSError as error:
            if error.errno not in _USERS_TO_MEND:
                raise
            where = f"{error.filename}: " if error.filename else ""
            typer.echo(f"imagenet-captions: {where}{_USERS_TO_MEND[error.errno]}", err=True)
            raise typer.Exit(2) from None

    return app.command()(run)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"imagenet-captions {version('imagenet-captions')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Rebuild ImageNet-Captions: ImageNet training images with the text their photographers wrote on Flickr."""


@_command
def demo(out: Out = Path("imagenet-captions-demo")) -> None:
    """Run everything on a small bundled sample, with a Flickr stand-in on this machine."""
    from imagenet_captions.demo.run import run_demo

    typer.echo(run_demo(out))


@_command
def build(
    out: Out,
    release: Release = None,
    urls: Urls = None,
    ids: Ids = None,
    work: Annotated[
        Path | None, typer.Option(help="Where intermediate files are kept. Default: OUT.work beside the dataset.")
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
    workers: Workers = None,
) -> None:
    """Make the dataset in one command, from the published JSON (--release) or from Flickr (--urls)."""
    from imagenet_captions import build as building
    from imagenet_captions.crawler.crawl import CrawlSettings
    from imagenet_captions.crawler.match import MatchSettings
    from imagenet_captions.packager.package import PackageSettings

    settings = building.BuildSettings(
        release=release,
        urls=tuple(urls or ()),
        match=MatchSettings(ids=ids),
        crawl=CrawlSettings(rate, limit, refresh, endpoint, key_file, tries),
        clean=_clean_settings(caption),
        package=PackageSettings(images=images, missing=missing.value, workers=_count(workers)),
        work=work,
        workers=_count(workers),
    )
    building.build(out, settings)
    _show_dataset(out)


@_command
def match(urls: RequiredUrls, out: Out = Path("matches.parquet"), ids: Ids = None) -> None:
    """Find the Flickr photo of every image in ImageNet's URL lists: matches.parquet."""
    from imagenet_captions.crawler import match as matching

    _show(matching.match(urls, out, matching.MatchSettings(ids=ids)), out)


@_command
def crawl(
    matches: Matches = Path("matches.parquet"),
    store: Store = Path("photos.sqlite"),
    endpoint: Endpoint = None,
    rate: Rate = "3600/h",
    limit: Limit = None,
    refresh: Refresh = None,
    key_file: KeyFile = None,
    tries: Tries = 12,
) -> None:
    """Ask Flickr for the photos of matches.parquet and keep every answer in photos.sqlite."""
    from imagenet_captions.crawler import crawl as crawling

    report = crawling.crawl(matches, store, crawling.CrawlSettings(rate, limit, refresh, endpoint, key_file, tries))
    typer.echo(f"store: {store}")
    if limit is not None and report.left > report.unreachable:
        raise StoppedEarly(
            f"{report.left:,} photos are left behind --limit {limit}; run the same command again for more"
        )


@_command
def clean(
    out: Out = Path("captions.parquet"),
    release: Release = None,
    matches: OptionalMatches = None,
    store: OptionalStore = None,
    caption: Caption = "title tags description",
    workers: Workers = None,
) -> None:
    """Turn titles, descriptions and tags into captions: captions.parquet, from a release or from a crawl."""
    from imagenet_captions.build import open_source
    from imagenet_captions.cleaner import clean as cleaning

    _show(cleaning.clean(open_source(release, matches, store), out, _clean_settings(caption), _count(workers)), out)


@_command
def package(
    out: Out,
    captions: Annotated[Path, typer.Option(help="What `clean` wrote.")] = Path("captions.parquet"),
    images: Images = None,
    missing: MissingImages = Missing.REPORT,
    workers: Workers = None,
) -> None:
    """Write captions and images as a dataset folder of Parquet shards that load_dataset reads."""
    from imagenet_captions.packager import package as packaging

    packaging.package(
        captions, out, packaging.PackageSettings(images=images, missing=missing.value, workers=_count(workers))
    )
    _show_dataset(out)


@_command
def verify(dataset: Annotated[Path, typer.Argument(help="A dataset folder.")]) -> None:
    """Check a dataset against its manifest: every file's bytes, the schema, the order, and that the counts add up."""
    from imagenet_captions.packager.verify import verify as check

    typer.echo(check(dataset))


def _clean_settings(caption: str) -> CleanSettings:
    from imagenet_captions.cleaner.batch import CleanSettings
    from imagenet_captions.cleaner.captions import CaptionRecipe

    return CleanSettings(caption=CaptionRecipe.parse(caption))


def _count(workers: int | None) -> int:
    from imagenet_captions import engine

    return engine.default_workers() if workers is None else engine.check_workers(workers)


def _show(counts: Mapping[Outcome, int], out: Path) -> None:
    from imagenet_captions.funnel import format_funnel

    typer.echo(f"{format_funnel(counts)}\n{out}")


def _show_dataset(out: Path) -> None:
    from imagenet_captions.funnel import read_funnel

    _show(read_funnel(out / "outcomes.parquet"), out)


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
