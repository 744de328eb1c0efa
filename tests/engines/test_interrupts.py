"""Stopping cleanly on a signal: the first one is recorded, the second one ends everything."""

from __future__ import annotations

import logging
import signal
import threading

import pytest

from imagenet_captions.engines.local import Interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_recorded_and_the_second_raises(
    number: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with caplog.at_level(logging.INFO), Interrupts("the calls") as interrupts:
        assert not interrupts.wanted
        signal.raise_signal(number)
        assert interrupts.wanted
        assert interrupts.number == number
        assert not interrupts.leaving
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert interrupts.leaving
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert caplog.messages == ["finishing the calls under way; interrupt again to leave at once"]


def test_restoring_twice_leaves_later_handlers_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts("the step") as interrupts:
        interrupts.restore()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    signal.signal(signal.SIGTERM, before)


def test_another_thread_changes_no_handler() -> None:
    seen = []
    before = signal.getsignal(signal.SIGINT)

    def enter() -> None:
        with Interrupts("the calls"):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]
