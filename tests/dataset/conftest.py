"""Datasets that are made once: no test writes to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dataset.made import make_dataset, rows


@pytest.fixture(scope="session")
def text_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("text"), rows())


@pytest.fixture(scope="session")
def image_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("images"), rows(20), images=True)
