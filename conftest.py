"""Leaves out, where an extra is not installed, the modules that are of no use without it, and their tests."""

from importlib.util import find_spec
from pathlib import Path

_ROOT = Path(__file__).parent
_NEEDS_TORCH = (
    *(f"imagenet_captions/{name}" for name in ("images/pixels", "models", "training", "ablations")),
    *(f"imagenet_captions/evaluation/{name}" for name in ("testsets", "classifiers", "evaluate.py", "extract.py")),
    *(f"tests/{name}" for name in ("images/pixels", "models", "training", "ablations", "evaluation/models")),
)

collect_ignore = [] if find_spec("torch") else [str(_ROOT / path) for path in _NEEDS_TORCH]
