"""Every image once, for any number of processes."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Iterator
from itertools import repeat
from multiprocessing.connection import Connection

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imagenet_captions.errors import InputError
from imagenet_captions.images.image_spec import ImageSpec
from imagenet_captions.images.pixels import TrainTransform
from imagenet_captions.training.sampler import ShardedSampler, batch_bounds
from tests.training.in_memory import loader_of, made


def epoch_of(sampler: ShardedSampler, epoch: int) -> list[list[int]]:
    sampler.start(epoch)
    return [share.rows.tolist() for share in sampler]


@given(st.integers(1, 300), st.integers(1, 8), st.integers(1, 6), st.integers(0, 3))
def test_every_image_is_with_one_process_once(count: int, a_process: int, processes: int, epoch: int) -> None:
    if count < processes:
        return
    batch = a_process * processes
    shares = [list(_started(ShardedSampler(count, batch, 5, rank, processes), epoch)) for rank in range(processes)]
    rows = [row for steps in shares for share in steps for row in share.rows.tolist()]
    assert sorted(rows) == list(range(count))
    assert len({len(steps) for steps in shares}) == 1
    for step in zip(*shares, strict=True):
        sizes = [len(share.rows) for share in step]
        assert all(share.shares == tuple(sizes) for share in step)
        assert min(sizes) >= 1
        assert max(sizes) - min(sizes) <= 1
        assert sum(share.weight for share in step) == pytest.approx(processes)
        assert sum(sizes) < batch + processes
    for step in list(zip(*shares, strict=True))[:-2]:
        assert sum(len(share.rows) for share in step) == batch


def _started(sampler: ShardedSampler, epoch: int) -> ShardedSampler:
    sampler.start(epoch)
    return sampler


@given(st.integers(1, 1000), st.integers(1, 64))
def test_batches_of_one_process(count: int, batch: int) -> None:
    sizes = [last - first for first, last in batch_bounds(count, batch)]
    assert sum(sizes) == count
    assert len(sizes) == -(-count // batch)
    assert max(sizes) <= batch
    assert min(sizes) >= min(count, batch // 2)


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("count", [64, 61, 50, 70])
def test_a_step_has_the_same_images_for_any_number_of_processes(processes: int, count: int) -> None:
    alone = epoch_of(ShardedSampler(count, 16, 7), 2)
    shared = [epoch_of(ShardedSampler(count, 16, 7, rank, processes), 2) for rank in range(processes)]
    assert [[row for part in step for row in part] for step in zip(*shared, strict=True)] == alone


def test_epochs_and_seeds_have_other_orders() -> None:
    orders = {tuple(np.concatenate(epoch_of(ShardedSampler(100, 10, seed), e))) for seed in range(3) for e in range(3)}
    assert len(orders) == 9


def test_a_run_goes_on_where_it_was_broken_off() -> None:
    whole = epoch_of(ShardedSampler(100, 8, 1), 3)
    sampler = ShardedSampler(100, 8, 1)
    sampler.start(3, 5)
    assert [(share.epoch, share.step) for share in sampler] == [(3, step) for step in range(5, 13)]
    assert [share.rows.tolist() for share in sampler] == whole[5:]
    sampler.start(4)
    assert [share.rows.tolist() for share in sampler] == epoch_of(ShardedSampler(100, 8, 1), 4)
    assert len(sampler) == 13


@pytest.mark.parametrize(
    ("count", "batch", "processes", "words"),
    [(10, 6, 4, "6 images cannot be shared out evenly to 4"), (3, 4, 4, "3 images are too few"), (5, 0, 1, "of 0")],
)
def test_what_cannot_be_shared_out(count: int, batch: int, processes: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        ShardedSampler(count, batch, 0, 0, processes)


def _epochs(rank: int, world_size: int, workers: int) -> Iterator[tuple[int, int, int, int]]:
    """Epoch, step, row and the sum of its pixels, of all images that a process gets in two epochs."""
    order = ShardedSampler(101, 16, 3, rank, world_size)
    loader = loader_of(made(101), TrainTransform(ImageSpec(8)), order, seed=3, workers=workers)
    for epoch in range(2):
        order.start(epoch)
        for batch in loader:
            pixels = batch.images.flatten(1).sum(1).tolist()
            yield from zip(repeat(epoch), repeat(batch.step), batch.indices.tolist(), pixels)


def _send(rank: int, connection: Connection) -> None:
    torch.set_num_threads(1)
    connection.send(list(_epochs(rank, 4, workers=1)))


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_four_processes_have_every_id_once_an_epoch_and_as_one_process_has_it() -> None:
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe(duplex=False) for _ in range(4)]
    processes = [context.Process(target=_send, args=(rank, pipe[1])) for rank, pipe in enumerate(pipes)]
    for process in processes:
        process.start()
    seen = [sample for receiving, _ in pipes for sample in receiving.recv()]
    for process in processes:
        process.join()
    assert Counter((epoch, row) for epoch, _, row, _ in seen) == {(e, row): 1 for e in range(2) for row in range(101)}
    assert sorted(seen) == sorted(_epochs(0, 1, workers=0))
