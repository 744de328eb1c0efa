"""Prompts and class names of the zero-shot classifier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imagenet_captions.captions.caption_template import open_clip_templates
from imagenet_captions.errors import InputError, quoted
from imagenet_captions.imagenet import classes as imagenet
from imagenet_captions.images.examples import Class
from imagenet_captions.storage.files import require_file

PROMPT_SETS = ("none", "one", "80")
NAMES = ("curated", "wordnet")
_ONE = "a photo of a {}."


def read_prompts(prompts: str) -> tuple[str, ...]:
    """Return the sentences of a prompt set: none, one, 80 (open_clip's), or a file with one sentence a line.

    >>> read_prompts("none"), read_prompts("one"), len(read_prompts("80"))
    (('{}',), ('a photo of a {}.',), 80)
    """
    if prompts in PROMPT_SETS:
        return {"none": ("{}",), "one": (_ONE,), "80": open_clip_templates()}[prompts]
    path = require_file(Path(prompts), f"`prompts` is none of {', '.join(PROMPT_SETS)}, and the file")
    sentences = tuple(line for line in _lines(path) if line)
    if not sentences:
        raise InputError(f"{path} has no sentence; give one a line, with {{}} in the place of the class's name")
    for number, sentence in enumerate(sentences, 1):
        if sentence.count("{}") != 1:
            raise InputError(
                f"{path}, sentence {number}: {quoted(sentence)} has no place for the class's name, or several; "
                "give {} once"
            )
    return sentences


def read_names(names: str, classes: Sequence[Class]) -> tuple[Class, ...]:
    """Return the classes under other names: WordNet's first lemma, or those of a file.

    A file has a line a class: its wnid or key, a tab and the name; or names alone, one for each class in order.
    """
    if names == "curated":
        return tuple(classes)
    if names == "wordnet":
        return tuple(
            each._replace(name=imagenet.by_wnid(each.key).lemmas[0]) if imagenet.is_class(each.key) else each
            for each in classes
        )
    path = require_file(Path(names), f"`names` is none of {', '.join(NAMES)}, and the file")
    lines = [line for line in _lines(path) if line]
    by_key = dict(_pair(line) for line in lines if "\t" in line)
    if not by_key:
        by_key = _in_order(lines, classes, path)
    missing = [each.key for each in classes if each.key not in by_key]
    if missing:
        raise InputError(f"{path} has no name for {len(missing)} classes, such as {quoted(missing[0])}")
    return tuple(each._replace(name=by_key[each.key]) for each in classes)


def _in_order(lines: Sequence[str], classes: Sequence[Class], path: Path) -> dict[str, str]:
    every = imagenet.wnids()
    keys = every if len(lines) == len(every) else [each.key for each in classes]
    if len(lines) != len(keys):
        raise InputError(
            f"{path} has {len(lines)} names for {len(keys)} classes; give one for each, or lines of key, tab and name"
        )
    return dict(zip(keys, lines, strict=True))


def _pair(line: str) -> tuple[str, str]:
    key, _, name = line.partition("\t")
    return key.strip(), name.strip()


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip(" \r") for line in path.read_text(encoding="utf-8-sig").split("\n")]
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file in UTF-8; save it as one") from None
