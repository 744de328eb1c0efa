"""The engine: order, bounds, and what happens when a worker dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pyarrow as pa
import pytest

from imagenet_captions.engines import local as engine
from imagenet_captions.errors import InputError, StoppedEarly


def square(number: int) -> int:
    return number * number


def fail_on_three(number: int) -> int:
    if number == 3:
        raise InputError(f"{number} is not possible")
    return number


def die_on_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def reverse(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.take(pa.array(range(batch.num_rows - 1, -1, -1)))


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    assert list(engine.LOCAL.run(square, range(40), workers)) == [n * n for n in range(40)]


def test_few_items_are_under_way_at_once() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    for done, _ in enumerate(engine.LOCAL.run(square, items(), 2), start=1):
        assert len(taken) - done <= 4


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_function_arrives(workers: int) -> None:
    with pytest.raises(InputError, match="3 is not possible"):
        list(engine.LOCAL.run(fail_on_three, range(10), workers))


def test_a_killed_worker_is_one_clear_sentence() -> None:
    with pytest.raises(StoppedEarly, match="a worker process was killed"):
        list(engine.LOCAL.run(die_on_three, range(10), 2))


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_travel_whole_and_slices_travel_alone(workers: int) -> None:
    whole = pa.RecordBatch.from_pydict({"n": list(range(30)), "text": [f"row {n}" for n in range(30)]})
    slices = [whole.slice(at, 10) for at in range(0, 30, 10)]
    results = list(engine.LOCAL.map_batches(reverse, slices, workers))
    assert [row for batch in results for row in batch["n"].to_pylist()] == [
        *range(9, -1, -1),
        *range(19, 9, -1),
        *range(29, 19, -1),
    ]


def test_no_worker_is_refused() -> None:
    with pytest.raises(InputError, match="`workers` must be at least 1, not 0"):
        engine.check_workers(0)
