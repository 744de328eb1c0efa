"""Declare the flags that several commands share, each with one help text."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.imagenet.class_sets import ClassSet
from imagenet_captions.storage.places import Place

if TYPE_CHECKING:
    from imagenet_captions.engines import local as engine


class EngineName(str, Enum):
    """The engine that does the work."""

    LOCAL = "local"
    RAY = "ray"


class Missing(str, Enum):
    """What to do with a row whose image is missing."""

    REPORT = "report"
    SKIP = "skip"
    FAIL = "fail"


class Precision(str, Enum):
    """The number format of the computation."""

    FULL = "32"
    BF16 = "bf16-mixed"
    FP16 = "16-mixed"


BatchSize = Annotated[int, typer.Option(help="Images at once.")]
Threads = Annotated[
    int | None, typer.Option(help="Threads that compute on a CPU. Default: 1 for images up to 64 pixels.")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N. Default: a GPU if there is one.")]
Release = Annotated[Place | None, typer.Option(help="imagenet_captions.json, or the zip that holds it.")]
Urls = Annotated[
    list[Place] | None,
    typer.Option(help="ImageNet's URL list (fall11_urls.txt), plain or in a .tgz, .gz or .zip. May be given often."),
]
RequiredUrls = Annotated[
    list[Place],
    typer.Option("--urls", help="ImageNet's URL list, plain or in a .tgz, .gz or .zip. May be given often."),
]
Ids = Annotated[
    Place | None,
    typer.Option(
        help="The images to use: an ILSVRC train folder or tar, LOC_train_solution.csv, train_cls.txt, a folder "
        "of imagenet-1k Parquet, or a text file. Default: every id of the list.",
    ),
]
Classes = Annotated[
    ClassSet,
    typer.Option(help="The classes to use: the 1000 of ILSVRC-2012, or all 21,841 of ImageNet's fall 2011."),
]
Endpoint = Annotated[
    str | None, typer.Option(help="Address of the Flickr API, for a stand-in. Default: Flickr's own.", metavar="URL")
]
Rate = Annotated[
    str,
    typer.Option(help="Pace of the calls, as N/s, N/min or N/h, never a burst; `unlimited` for a service of your own."),
]
Limit = Annotated[int | None, typer.Option(help="Ask for at most this many photos in this run.")]
Refresh = Annotated[
    int | None,
    typer.Option(
        help="Ask again for answers older than this many days, and drop photos that are gone.", metavar="DAYS"
    ),
]
KeyFile = Annotated[
    Place | None,
    typer.Option(help="File with FLICKR_API_KEY=... and FLICKR_API_SECRET=...; default: the environment."),
]
Tries = Annotated[int, typer.Option(help="Most attempts for one photo in a run, with growing waits.")]
Matches = Annotated[Place, typer.Option(help="The file that `match` wrote.")]
OptionalMatches = Annotated[Place | None, typer.Option(help="The file that `match` wrote, for captions from a crawl.")]
Yfcc = Annotated[
    Place | None,
    typer.Option(
        help="YFCC100M's metadata: yfcc100m_dataset, plain, .bz2 or .gz, a folder of its parts, or "
        "yfcc100m_dataset.sql. Flickr is asked only for what it does not have.",
    ),
]
Store = Annotated[Place, typer.Option(help="The SQLite file that keeps Flickr's answers.")]
OptionalStore = Annotated[Place | None, typer.Option(help="The file that `crawl` wrote, for captions from a crawl.")]
Caption = Annotated[
    str,
    typer.Option(
        help="What makes the caption: some of title, tags, description and class_name, in order, and settings such as "
        'template="a photo of a {}"; `Captions` below lists them.'
    ),
]
AsPublished = Annotated[
    bool,
    typer.Option(
        "--as-published",
        help="Clean nothing and keep every entry: captions of the raw title, tags and description, as in the paper.",
    ),
]
Deny = Annotated[
    Place | None,
    typer.Option(
        help="Denylist: a photo id, an owner's NSID, the address of a photo's or owner's page, or a file name a line.",
    ),
]
Images = Annotated[
    Place | None,
    typer.Option(
        help="ImageNet as you have it: train folder, ILSVRC2012_img_train.tar, imagenet-1k Parquet, WebDataset tars, "
        "or files named by Flickr photo id. Without it the dataset has text only.",
    ),
]
MissingImages = Annotated[
    Missing, typer.Option("--missing", help="A row without its image: keep it and count it, skip it, or fail.")
]
Workers = Annotated[
    int | None,
    typer.Option(help="Number of processes or threads; 1 is this process alone. Default: one a core."),
]
Engine = Annotated[
    EngineName,
    typer.Option("--engine", help="Run on processes of this machine (local), or as Ray tasks, here or on a cluster."),
]
RayAddress = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="The Ray cluster to use. Default: one on this machine, for this run."),
]
Out = Annotated[Place, typer.Option(help="The output: a path, or a URL such as s3://bucket/name.")]

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists. Inputs are never replaced.")]


@contextmanager
def open_engine(
    name: EngineName, ray_address: str | None, workers: int | None
) -> Iterator[tuple["engine.Engine", int]]:
    """Give the engine that the flags name, and its number of workers."""
    from imagenet_captions.engines import choose as engines

    with engines.open_engine(engines.EngineSettings(name.value, ray_address, workers)) as opened:
        yield opened


def count_workers(workers: int | None) -> int:
    """Return the number given, or one a core."""
    from imagenet_captions.engines import local as engine

    return engine.default_workers() if workers is None else engine.check_workers(workers)


def count_readers(workers: int | None, devices: int = 1) -> int:
    """Return how many other processes read images for each device: the number given, or the cores shared out.

    With one worker this process reads the images, and the number is 0.
    """
    from imagenet_captions.engines import local as engine

    number = engine.default_workers() // max(1, devices) if workers is None else engine.check_workers(workers)
    return number if number > 1 else 0


def parse_named_path(text: str) -> tuple[str, Path]:
    """Return the name and the path of a test set, as --on gives both."""
    from imagenet_captions.storage.places import local_place

    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise InputError(f"--on {quoted(text)} names no test set; give NAME=PATH, such as imagenet=val")
    return name, local_place(path).expanduser()  # a shell leaves ~ as it is behind a name and =
