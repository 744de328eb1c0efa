"""What the local engine says, and stopping cleanly on a signal."""

from __future__ import annotations

import logging
import os
import signal
import threading

import pytest

from imagenet_captions.engines.local import LOCAL, Interrupts
from imagenet_captions.errors import StoppedEarly


def die_on_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_killed_worker_is_one_clear_sentence() -> None:
    with pytest.raises(StoppedEarly, match="a worker process was killed"):
        list(LOCAL.run(die_on_three, range(10), 2))


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
    with Interrupts("the step") as interrupts:
        with Interrupts("the calls") as inner:
            pass
        signal.raise_signal(signal.SIGTERM)
        assert (interrupts.wanted, inner.wanted) == (True, False)
    thread = threading.Thread(target=lambda: Interrupts("the calls").__enter__())
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == before[1]
