"""The Ray engine, started once for a module of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from imagenet_captions.engines.ray import RayEngine


@pytest.fixture(scope="module")
def ray() -> Iterator[RayEngine]:
    pytest.importorskip("ray")
    with RayEngine(workers=2) as engine:
        list(engine.run(abs, [0], 1))  # start it here: workers import from the folder in which it is started
        yield engine
