"""Which process gets which image, for any number of processes."""

from __future__ import annotations

import multiprocessing
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
from imagenet_captions.training.sampler import ShardedSampler
from tests.training.in_memory import loader_of, made


def epoch_of(sampler: ShardedSampler, epoch: int) -> list[list[int]]:
    sampler.start(epoch)
    return [share.rows.tolist() for share in sampler]


@given(st.integers(1, 300), st.integers(1, 8), st.integers(1, 6), st.integers(0, 3))
def test_processes_share_each_batch_equally_and_the_last_part_is_left_out(
    count: int, a_process: int, processes: int, epoch: int
) -> None:
    if count < processes:
        return
    batch = a_process * processes
    alone = epoch_of(ShardedSampler(count, count, 5), epoch)[0]
    shares = [epoch_of(ShardedSampler(count, batch, 5, rank, processes), epoch) for rank in range(processes)]
    steps = [[row for share in step for row in share] for step in zip(*shares, strict=True)]
    assert len({len(share) for steps in shares for share in steps}) == 1
    size = batch if count >= batch else count // processes * processes
    assert [len(step) for step in steps] == [size] * (count // size)
    assert [row for step in steps for row in step] == alone[: len(steps) * size]
    assert sorted(alone) == list(range(count))


def test_epochs_and_seeds_have_other_orders_and_leave_out_others() -> None:
    orders = [np.concatenate(epoch_of(ShardedSampler(101, 10, seed), e)) for seed in range(3) for e in range(3)]
    assert len({tuple(order) for order in orders}) == 9
    assert len({(set(range(101)) - set(order.tolist())).pop() for order in orders}) > 5


def test_a_run_goes_on_where_it_was_broken_off() -> None:
    sampler = ShardedSampler(100, 8, 1)
    whole = epoch_of(sampler, 3)
    sampler.start(3, 5)
    shares = list(sampler)
    assert [(share.epoch, share.step) for share in shares] == [(3, step) for step in range(5, 12)]
    assert [share.rows.tolist() for share in shares] == whole[5:]
    assert len(sampler) == 12


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
def test_four_processes_have_the_images_that_one_process_has() -> None:
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe(duplex=False) for _ in range(4)]
    processes = [context.Process(target=_send, args=(rank, pipe[1])) for rank, pipe in enumerate(pipes)]
    for process in processes:
        process.start()
    seen = [sample for receiving, _ in pipes for sample in receiving.recv()]
    for process in processes:
        process.join()
    assert sorted(seen) == sorted(_epochs(0, 1, workers=0))
    assert len(seen) == len({(epoch, row) for epoch, _, row, _ in seen}) == 2 * 96
