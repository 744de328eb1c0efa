"""Which files of the package a module depends on, read from its import statements."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path


def imported_files(root: Path, entries: Iterable[str]) -> set[Path]:
    """These modules of the package at `root`, and all that they import of it, directly or through others.

    The package's own `__init__.py`, which names everything for its users, is left out.
    """
    found: set[Path] = set()
    waiting = [root / entry for entry in entries]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += _imports(root, file)
    return found


def _imports(root: Path, file: Path) -> list[Path]:
    named: list[Path] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == root.name:
            base = root.joinpath(*(node.module or "").split(".")[1:])
            named += [base.with_suffix(".py"), base / "__init__.py", *(base / f"{name.name}.py" for name in node.names)]
    return [path for path in named if path.is_file() and path != root / "__init__.py"]
