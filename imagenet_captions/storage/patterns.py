"""Find the files of a pattern such as shards/{00000..00012}.tar, with one meaning in every command that takes one."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from imagenet_captions.errors import InputError, shortened
from imagenet_captions.storage.places import Place, is_remote, reopen

_MARKS, _WILDCARDS = "{*?[", "*?["
_RANGE = re.compile(r"([0-9]+)\.\.([0-9]+)")
_MOST_FILES = 1_000_000


def expand_pattern(path: Place) -> list[Place] | None:
    """Return the files of a path with braces or wildcards, in order; None for any other path.

    A file or folder that has such a name itself is not a pattern. Behind a URL only the last name has wildcards.
    Raises InputError if a file is missing, or if there is none.
    """
    text = str(path)
    if not any(mark in text for mark in _MARKS) or path.exists():
        return None
    files = [file for name in expand_braces(text) for file in _matching(name)]
    missing = _missing(files)
    if missing or not files:
        count = f"{len(missing):,} file{'s' * (len(missing) > 1)} that {'do' if len(missing) > 1 else 'does'} not exist"
        what = f"names {count}, such as {missing[0]}" if missing else "matches no file"
        raise InputError(f"the pattern {shortened(text)} {what}; check the path")
    return files


def each_file(paths: Iterable[Place]) -> Iterator[Place]:
    """Yield the paths, and for a pattern its files."""
    for path in paths:
        files = expand_pattern(path)
        yield from [path] if files is None else files


def _matching(name: str) -> list[Place]:
    path = reopen(name)
    if not any(mark in name for mark in _WILDCARDS):
        return [path]
    if is_remote(path):
        return sorted(path.parent.glob(path.name))
    return [Path(found) for found in sorted(glob.glob(name))]  # noqa: PTH207


def _missing(files: Sequence[Place]) -> list[Place]:
    if not files or not is_remote(files[0]):
        return [file for file in files if not file.is_file()]
    there = {entry for folder in {file.parent for file in files} for entry in folder.iterdir()}
    return [file for file in files if file not in there]


def expand_braces(pattern: str) -> list[str]:
    """Return the names of a pattern with braces, as a shell does.

    >>> expand_braces("a/{08..10}.tar")
    ['a/08.tar', 'a/09.tar', 'a/10.tar']
    >>> expand_braces("{x,y}{0..1}")
    ['x0', 'x1', 'y0', 'y1']
    """
    before, opening, rest = pattern.partition("{")
    inner, closing, after = rest.partition("}")
    if not (opening and closing):
        return [pattern]
    choices = inner.split(",")
    if found := _RANGE.fullmatch(inner):
        first, last, width = int(found[1]), int(found[2]), len(found[1])
        if last - first >= _MOST_FILES:
            raise InputError(f"the pattern {shortened(pattern)} names more than {_MOST_FILES:,} files; give fewer")
        choices = [f"{number:0{width}d}" for number in range(first, last + 1)]
    endings = expand_braces(after)
    if len(choices) * len(endings) > _MOST_FILES:
        raise InputError(f"the pattern {shortened(pattern)} names more than {_MOST_FILES:,} files; give fewer")
    return [before + choice + ending for choice in choices for ending in endings]
