"""How many threads small models compute with, wherever they do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.evaluate import EvaluateSettings, evaluate
from imagenet_captions.evaluation.extract import Reading
from imagenet_captions.models.hardware import cpu_threads
from imagenet_captions.models.model import Model
from imagenet_captions.training.train import train
from tests.training.made import settings, write_images

BEFORE = 3


@pytest.fixture(autouse=True)
def _three_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(BEFORE)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The numbers of threads with which images were embedded."""
    found: set[int] = set()
    kept = Model.embed_images

    def embed_images(self: Model, pixels: torch.Tensor) -> torch.Tensor:
        found.add(torch.get_num_threads())
        return kept(self, pixels)

    monkeypatch.setattr(Model, "embed_images", embed_images)
    return found


@pytest.mark.parametrize(("asked", "expected"), [(None, 1), (2, 2)])
def test_a_small_model_trains_and_is_tested_with_one_thread_unless_told_otherwise(
    tmp_path: Path, seen: set[int], asked: int | None, expected: int
) -> None:
    data = write_images(tmp_path / "data.parquet")
    run = settings(data, tmp_path / "run", model="micro", steps=1, threads=asked)
    train(run)
    assert seen == {expected}
    seen.clear()
    evaluate(EvaluateSettings(str(run.out), (("own", data),), reading=Reading(threads=asked)))
    assert seen == {expected}
    assert torch.get_num_threads() == BEFORE, "what a program has set is put back"


def test_large_images_and_omp_num_threads_keep_pytorchs_number(monkeypatch: pytest.MonkeyPatch) -> None:
    with cpu_threads(224):
        assert torch.get_num_threads() == BEFORE
    with cpu_threads(224, 2):
        assert torch.get_num_threads() == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with cpu_threads(32):
        assert torch.get_num_threads() == BEFORE


def test_no_threads_are_refused(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"threads": 0}
    with pytest.raises(InputError, match="`threads` must be at least 1, not 0"):
        settings(tmp_path, tmp_path / "run", **changes)
    with pytest.raises(InputError, match="`threads` must be at least 1, not 0"):
        Reading(threads=0)
