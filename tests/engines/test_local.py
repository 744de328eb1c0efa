"""What both engines promise: order, bounds and errors; and stopping cleanly on a signal."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from functools import partial

import pyarrow as pa
import pytest

from imagenet_captions.engines.local import LOCAL, Engine, Interrupts, check_workers
from imagenet_captions.errors import InputError, StoppedEarly


@pytest.fixture(params=["one worker", "local", "ray"])
def engine(request: pytest.FixtureRequest) -> tuple[Engine, int]:
    found = request.getfixturevalue("ray") if request.param == "ray" else LOCAL
    return found, 1 if request.param == "one worker" else 2


def square(number: int) -> int:
    return number * number


def fail_on_three(error: Exception, number: int) -> int:
    if number == 3:
        raise error
    return number


def die_on_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def reverse(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.take(pa.array(range(batch.num_rows - 1, -1, -1)))


def test_results_come_in_the_order_of_the_items_and_few_are_under_way(engine: tuple[Engine, int]) -> None:
    running, workers = engine
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    results = []
    for result in running.run(square, items(), workers):
        results.append(result)
        assert len(taken) - len(results) <= 2 * workers
    assert results == [number * number for number in range(50)]


@pytest.mark.parametrize("error", [InputError("3 is not possible"), OSError(28, "No space left", "/x"), KeyError("3")])
def test_an_error_of_the_function_arrives_as_it_is(engine: tuple[Engine, int], error: Exception) -> None:
    running, workers = engine
    with pytest.raises(type(error)) as caught:
        list(running.run(partial(fail_on_three, error), range(10), workers))
    assert type(caught.value) is type(error)
    assert caught.value.args == error.args


def test_batches_travel_whole_and_slices_travel_alone(engine: tuple[Engine, int]) -> None:
    running, workers = engine
    whole = pa.RecordBatch.from_pydict({"n": list(range(30)), "text": [f"row {n}" for n in range(30)]})
    slices = [whole.slice(at, 10) for at in range(0, 30, 10)]
    results = list(running.map_batches(reverse, slices, workers))
    expected = [*range(9, -1, -1), *range(19, 9, -1), *range(29, 19, -1)]
    assert [row for batch in results for row in batch["n"].to_pylist()] == expected


def test_a_killed_worker_is_one_clear_sentence() -> None:
    with pytest.raises(StoppedEarly, match="a worker process was killed"):
        list(LOCAL.run(die_on_three, range(10), 2))


def test_no_worker_is_refused() -> None:
    with pytest.raises(InputError, match="`workers` must be at least 1, not 0"):
        check_workers(0)


def test_the_first_signal_is_recorded_and_the_second_raises(caplog: pytest.LogCaptureFixture) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    for number in (signal.SIGINT, signal.SIGTERM):
        with caplog.at_level(logging.INFO), Interrupts("the calls") as interrupts:
            assert not interrupts.wanted
            signal.raise_signal(number)
            assert (interrupts.wanted, interrupts.number) == (True, number)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert set(caplog.messages) == {"finishing the calls under way; interrupt again to leave at once"}
    with Interrupts("the step") as interrupts, Interrupts("the calls") as inner:
        inner.restore()
        signal.raise_signal(signal.SIGTERM)
        assert (interrupts.wanted, inner.wanted) == (True, False)
    thread = threading.Thread(target=lambda: Interrupts("the calls").__enter__())
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == before[1]
