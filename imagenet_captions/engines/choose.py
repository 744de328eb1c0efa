"""Choose the engine that does the work of a run: this machine's processes, or Ray."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from imagenet_captions.engines.local import LOCAL, Engine, check_workers, default_workers
from imagenet_captions.errors import InputError, quoted

NAMES = ("local", "ray")


@dataclass(frozen=True)
class EngineSettings:
    """The engine's name, the Ray cluster (None: one on this machine), and the number of workers (None: one a core)."""

    engine: str = "local"
    ray_address: str | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.workers is not None:
            check_workers(self.workers)
        if self.engine not in NAMES:
            raise InputError(f"`engine` must be one of {', '.join(NAMES)}, not {quoted(self.engine)}")
        if self.ray_address is not None and self.engine != "ray":
            raise InputError("`ray_address` means nothing without `engine='ray'`; give both, or neither")


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
