"""Batches: what is in them, and that workers change nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from itertools import islice, takewhile
from multiprocessing import active_children

import pytest
import torch

from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.errors import InputError, StoppedEarly
from imagenet_captions.images.image_spec import ImageSpec
from imagenet_captions.images.pixels import TrainTransform, TwoViews, decode
from imagenet_captions.training.batches import Batch
from imagenet_captions.training.data import CaptionSampler
from imagenet_captions.training.sampler import ShardedSampler
from tests.training.made import loader_of, made

SPEC = ImageSpec(16)
CAPTIONS = CaptionSampler(CaptionTemplate.parse("title|description"), 0)


def lengths(texts: Sequence[str]) -> torch.Tensor:
    return torch.tensor([[len(text)] for text in texts])


def rows_of(batch: Batch) -> list[int]:
    """The rows that the captions name."""
    return [int(text.removeprefix("title ").removeprefix("about ")) for text in batch.texts]


def test_a_batch_has_each_images_own_things() -> None:
    examples = made(20, size=16)
    whole = TrainTransform(SPEC, (1.0, 1.0))
    for batch in loader_of(examples, whole, ShardedSampler(20, 8, 0), CAPTIONS, lengths):
        assert batch.images.dtype == torch.uint8
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        for place, row in enumerate(rows_of(batch)):
            assert batch.labels[place] == row % 2
            assert batch.tokens is not None
            assert batch.tokens[place].item() == len(batch.texts[place])
            if torch.equal(batch.images[place], decode(examples.image(row))):
                break
        else:
            pytest.fail("no image of the batch is one of the examples")


@pytest.mark.parametrize("transform", [TrainTransform(SPEC, (0.3, 1.0), flip=True), TwoViews(SPEC)])
def test_workers_change_nothing_and_a_resumed_loader_goes_on(transform: TrainTransform | TwoViews) -> None:
    seen = []
    for workers in (0, 2):
        order = ShardedSampler(21, 6, 2, endless=True)
        loader = loader_of(made(21), transform, order, CAPTIONS, lengths, seed=2, workers=workers)
        seen.append([_plain(batch) for batch in islice(loader, 6)])
    assert seen[0] == seen[1]
    assert seen[0][0] != seen[0][3]
    order.start(0, 2)
    assert [_plain(batch) for batch in islice(loader, 4)] == seen[0][2:]


def test_closing_a_loader_ends_its_workers() -> None:
    loader = loader_of(made(21), TrainTransform(SPEC), ShardedSampler(21, 6, 0, endless=True), workers=2)
    loader.close()  # nothing was started
    for _ in range(2):
        batches = iter(loader)
        next(batches)
        assert len(active_children()) == 2
        loader.close()
        assert active_children() == []


def _plain(batch: Batch) -> tuple[object, ...]:
    tensors = [tensor for tensor in vars(batch).values() if isinstance(tensor, torch.Tensor)]
    assert batch.tokens is not None
    return *[tensor.tolist() for tensor in tensors], batch.texts


def test_a_sample_depends_on_seed_epoch_and_row_alone() -> None:
    def sample(row: int, epoch: int, seed: int = 0, batch_size: int = 4, processes: int = 1) -> torch.Tensor:
        for rank in range(processes):
            order = ShardedSampler(12, batch_size, seed, rank, processes)
            order.start(epoch)
            for batch in loader_of(made(12), TrainTransform(SPEC, (0.2, 0.6)), order, CAPTIONS, seed=seed):
                if row in rows_of(batch):
                    return batch.images[rows_of(batch).index(row)]
        pytest.fail("no process has the row")

    for other in (sample(3, 0, batch_size=12), sample(3, 0, processes=2), sample(3, 0, processes=4)):
        assert torch.equal(sample(3, 0), other)
    assert not torch.equal(sample(3, 0), sample(3, 1))
    assert not torch.equal(sample(3, 0), sample(3, 0, seed=1))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_ends_the_run_and_is_named(workers: int) -> None:
    loader = loader_of(made(30, broken=7), TrainTransform(SPEC), ShardedSampler(30, 5, 0), CAPTIONS, workers=workers)
    seen: list[int] = []
    with pytest.raises(InputError) as raised:
        seen.extend(row for batch in loader for row in rows_of(batch))
    assert str(raised.value) == (
        "the image image-7 of made cannot be used (not an image); repair it, or leave it out with `ids`"
    )
    before = takewhile(lambda share: 7 not in share, ShardedSampler(30, 5, 0))
    assert seen == [row for share in before for row in share]


def test_a_killed_worker_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    here = os.getpid()

    def killing(data: bytes, generator: torch.Generator) -> torch.Tensor:
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(data)

    # How many seconds PyTorch waits for a worker to end.
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
    with pytest.raises(StoppedEarly, match="a worker process was killed"):
        list(loader_of(made(8), killing, ShardedSampler(8, 4, 0), workers=1))


def test_examples_without_labels_or_captions() -> None:
    batch = next(iter(loader_of(made(4, classes=None), TrainTransform(SPEC), ShardedSampler(4, 4, 0))))
    assert batch.labels.tolist() == [-1] * 4
    assert (batch.texts, batch.tokens, batch.other) == ((), None, None)
