"""The settings of a build: those of its stages, and its source."""

from __future__ import annotations

from dataclasses import dataclass, field

from imagenet_captions.cleaner.settings import CleanSettings
from imagenet_captions.crawler.settings import CrawlSettings, MatchSettings
from imagenet_captions.dataset.settings import PackageSettings
from imagenet_captions.engines.local import LOCAL, Engine, check_workers, default_workers
from imagenet_captions.errors import InputError
from imagenet_captions.options import check, nested, option, refuse
from imagenet_captions.storage.places import Place, PlaceField, PlaceLike, place

RELEASE = "imagenet_captions.json, or the zip that holds it."
URLS = "ImageNet's URL list (fall11_urls.txt), plain or in a .tgz, .gz or .zip. May be given often."
YFCC = (
    "YFCC100M's metadata: yfcc100m_dataset, plain, .bz2 or .gz, a folder of its parts, or yfcc100m_dataset.sql. "
    "Flickr is asked only for what it does not have."
)
_OF_A_CRAWL = ("endpoint", "rate", "limit", "refresh_days", "key_file", "tries")


@dataclass(frozen=True)
class BuildSettings:
    """Settings of a build: its source, either `release` or `urls`, and the settings of every stage.

    With `yfcc`, Flickr is asked only for what YFCC100M's metadata does not have. Without `ask_flickr` it is not asked
    at all, and no key is needed: texts come from YFCC100M, and from what an earlier crawl left in the work folder.

    A denylist belongs in the settings of `match`, `crawl` and `clean`: `clean` keeps what is denied out of the dataset,
    and the others keep it from being asked for.
    """

    release: PlaceField = option(RELEASE)
    urls: tuple[PlaceLike, ...] = option(URLS, ())
    yfcc: PlaceField = option(YFCC)
    ask_flickr: bool = option(
        "Ask Flickr for nothing; photos that --yfcc lacks end as not_asked.", True, flag="--no-crawl"
    )
    match: MatchSettings = nested(MatchSettings)
    crawl: CrawlSettings = nested(CrawlSettings)
    clean: CleanSettings = nested(CleanSettings)
    package: PackageSettings = nested(PackageSettings)
    work: PlaceField = option(
        "Where intermediate files are kept. Default: OUT.work beside the dataset, or here for a URL."
    )
    # These two are for all stages, and replace those of their settings.
    workers: int = field(default_factory=default_workers)
    engine: Engine = LOCAL

    def __post_init__(self) -> None:
        check(self)
        check_workers(self.workers)
        if (self.release is None) == (not self.urls):
            raise InputError(
                "a build needs one source: give `release` imagenet_captions.json, or `urls` with ImageNet's URL list"
            )
        if self.release is not None:
            refuse(self, ("ids", "yfcc", "ask_flickr"), "with `release`, which names its images and has their texts")
            refuse(self, _OF_A_CRAWL, "with `release`, which asks Flickr for nothing")
        if not self.ask_flickr:
            refuse(self, _OF_A_CRAWL, "with `ask_flickr=False`")

    def inputs(self) -> dict[str, Place]:
        """Return the files and folders that it reads, by role; `urls 0` is the first URL list."""
        given = {
            "release": self.release,
            **{f"urls {number}": place(path) for number, path in enumerate(self.urls)},
            "ids": self.match.ids,
            "yfcc": self.yfcc,
            "images": self.package.images,
            "deny": self.clean.deny.file,
            "key_file": self.crawl.key_file,
        }
        return {role: path for role, path in given.items() if path is not None}


@dataclass(frozen=True)
class SourceFiles:
    """The files of raw records: `release`, or `matches` with `store`, `yfcc` or both."""

    release: PlaceField = option(RELEASE)
    matches: PlaceField = option("The file that `match` wrote, for captions from a crawl.")
    store: PlaceField = option("The file that `crawl` wrote, for captions from a crawl.")
    yfcc: PlaceField = option(YFCC)

    def __post_init__(self) -> None:
        check(self)
