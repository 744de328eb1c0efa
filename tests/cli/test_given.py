"""Every path and URL of the command line arrives as it was typed."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from imagenet_captions.cli.app import command
from imagenet_captions.cli.commands import COMMANDS
from imagenet_captions.options import REQUIRED
from imagenet_captions.storage.places import Place
from tests.command_line import invoke

NEEDS_TORCH = pytest.mark.skipif(find_spec("torch") is None, reason="needs the extra `train`")
OTHERS = {"--on": "imagenet=val"}
HERE_ONLY = {
    *("train", "evaluate", "compare", "score", "ablate", "robustness", "trajectories", "frequency", "export-model"),
    "publish",
}
PLACES = [(name, flag) for name in COMMANDS for flag, one in command(name).options.items() if one.kind in (Path, Place)]


def arguments(name: str, place: str, text: str) -> list[str]:
    """A command with one of its places, and whatever else it requires."""
    given = [name]
    for flag, one in command(name).options.items():
        value = text if flag == place else OTHERS.get(flag, one.choices[0] if one.choices else "x")
        if flag == place or one.default is REQUIRED:
            given += [value] if one.is_argument else [flag, value]
    return given


def test_every_place_is_found() -> None:
    assert len(PLACES) > 50


UNKNOWN = "imagenet-captions: nosuch:// cannot be read .Protocol not known: nosuch"
HERE_ALONE = "memory://b/[a-z.]+ is a URL, and"
NAMED = [
    "evaluate m --on imagenet=memory://b/val --out m.json",
    "train x --out run --objective contrastive --on val=memory://b/val",
    "train x --out run --objective contrastive --on memory://b/val",
    "ablate size memory://b/data --out ablation",
    "ablate size mine=memory://b/data --out ablation",
    "ablate size x --on imagenet=memory://b/val --out ablation",
    "robustness memory://b/results.csv",
]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        *((arguments(*place, "nosuch://bucket/name"), UNKNOWN) for place in PLACES),
        *((arguments(*place, "memory://b/name"), HERE_ALONE) for place in PLACES if place[0] in HERE_ONLY),
        *(pytest.param(words.split(), HERE_ALONE, marks=NEEDS_TORCH) for words in NAMED),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_url_arrives_with_both_its_slashes_and_is_refused(
    given: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, told = invoke(*given)
    assert code == 2, told
    assert re.search(sentence, told), told
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
