"""Which process gets which image, for any number of processes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_captions.errors import InputError
from imagenet_captions.training.sampler import ShardedSampler, Share


def epoch_of(sampler: ShardedSampler, epoch: int) -> list[Share]:
    sampler.start(epoch)
    return list(sampler)


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


@pytest.mark.parametrize(
    ("count", "batch", "processes", "words"),
    [(10, 6, 4, "6 images cannot be shared out evenly to 4"), (3, 4, 4, "3 images are too few"), (5, 0, 1, "of 0")],
)
def test_what_cannot_be_shared_out(count: int, batch: int, processes: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        ShardedSampler(count, batch, 0, 0, processes)
