"""Choose the engine that does the work of a run: this machine's processes, or Ray."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from imagenet_captions.engines.local import LOCAL, Engine, default_workers
from imagenet_captions.errors import InputError
from imagenet_captions.options import check, option

WORKERS = "Number of processes or threads; 1 is this process alone. Default: one a core."


@dataclass(frozen=True)
class EngineName:
    """The engine's name, and the Ray cluster."""

    engine: str = option(
        "Run on processes of this machine (local), or as Ray tasks, here or on a cluster.",
        "local",
        choices=("local", "ray"),
    )
    ray_address: str | None = option(
        "The Ray cluster to use. Default: one on this machine, for this run.", metavar="HOST:PORT"
    )

    def __post_init__(self) -> None:
        check(self)
        if self.ray_address is not None and self.engine != "ray":
            raise InputError("`ray_address` means nothing without `engine='ray'`; give both, or neither")


@dataclass(frozen=True)
class EngineSettings(EngineName):
    """The engine, and its number of workers."""

    workers: int | None = option(WORKERS, least=1)


@contextmanager
def open_engine(settings: EngineSettings) -> Iterator[tuple[Engine, int]]:
    """Give the engine and the number of workers for the length of the block.

    >>> with open_engine(EngineSettings(workers=2)) as (engine, workers):
    ...     list(engine.run(abs, [-1, -2, -3], workers, threads=True))
    [1, 2, 3]
    """
    if settings.engine == "local":
        yield LOCAL, settings.workers or default_workers()
        return
    from imagenet_captions.engines.ray import RayEngine

    with RayEngine(settings.ray_address, settings.workers) as engine:
        yield engine, engine.workers


def count_readers(workers: int | None, devices: int = 1) -> int:
    """Return how many other processes read images for each device: the number given, or the cores shared out.

    With one worker this process reads the images, and the number is 0.

    >>> count_readers(3), count_readers(1)
    (3, 0)
    """
    number = default_workers() // max(1, devices) if workers is None else workers
    return number if number > 1 else 0
