"""Exports in one process, where a test does not say how many."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes take longer to start than a small export."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
