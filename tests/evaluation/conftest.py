"""One thread, as in the tests of the models; where torch is missing, the tests that need it are left out."""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("torch"):
    from tests.models.conftest import one_thread

    __all__ = ["one_thread"]
