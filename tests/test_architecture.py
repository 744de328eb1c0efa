"""Imports run one way, as docs/architecture.md draws it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import imagenet_captions

ROOT = Path(imagenet_captions.__file__).parent
STAGES = {"crawler", "cleaner", "packager", "filtering", "labelling", "stats", "training", "evaluation"}
COMPOSING = {"ablations", "demo"}  # they know the stages, as `pipeline` does
ABOVE = {"cli", "pipeline", *COMPOSING}


def imported(file: Path) -> Iterator[str]:
    """The first part below our package of every module of ours that a file imports."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "imagenet_captions":
            names = [f"imagenet_captions.{alias.name}" for alias in node.names]
        else:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from (name.split(".")[1] for name in names if name.startswith("imagenet_captions."))


@pytest.mark.parametrize("package", sorted(path.parent.name for path in ROOT.glob("*/__init__.py")))
def test_arrows_point_down(package: str) -> None:
    allowed = {
        "cli": STAGES | ABOVE,
        "pipeline": STAGES | {"pipeline"},
        **dict.fromkeys(COMPOSING, STAGES | {package, "pipeline"}),
        **{stage: {stage} for stage in STAGES},
    }.get(package, set())
    for file in sorted((ROOT / package).rglob("*.py")):
        wrong = set(imported(file)) & (STAGES | ABOVE) - allowed
        assert not wrong, f"{file.relative_to(ROOT)} imports {sorted(wrong)}"


def test_what_lies_at_the_top_is_below_the_stages() -> None:
    for file in sorted(ROOT.glob("*.py")):
        if file.stem not in {"__init__", "__main__"}:
            assert not set(imported(file)) & (STAGES | ABOVE), file.name
