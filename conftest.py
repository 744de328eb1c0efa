"""What holds for all tests: the option --all, and which modules are left out where an extra is not installed."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

_ROOT = Path(__file__).parent
_NEEDS_TORCH = (
    *(f"imagenet_captions/{name}" for name in ("images/pixels.py", "models", "training", "ablations")),
    *(f"imagenet_captions/evaluation/{name}" for name in ("evaluate.py", "extract.py")),
    "imagenet_captions/evaluation/trajectories.py",
    *(f"tests/{name}" for name in ("images/test_pixels.py", "models", "training", "ablations")),
    *(f"tests/evaluation/{name}" for name in ("classifiers", "scoring", "trajectories", "testsets/test_without.py")),
    *(f"tests/evaluation/{name}.py" for name in ("made_model", "test_answers", "test_docs", "test_evaluate")),
)

_gone = [path for path in _NEEDS_TORCH if not (_ROOT / path).exists()]
assert not _gone, f"these modules have moved, so they would be imported without PyTorch: {_gone}"
collect_ignore = [] if find_spec("torch") else [str(_ROOT / path) for path in _NEEDS_TORCH]

# How long an example takes says nothing on a busy machine.
settings.register_profile("all", max_examples=100, deadline=None)
settings.register_profile("few", max_examples=20, deadline=None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="Run the slow tests too, and try more examples of properties.")


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("all" if config.getoption("--all") else "few")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--all"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]
