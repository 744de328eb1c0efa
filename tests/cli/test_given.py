"""Every path and URL of the command line arrives as it was typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagenet_captions.cli.app import command
from imagenet_captions.cli.commands import COMMANDS
from imagenet_captions.options import REQUIRED
from imagenet_captions.storage.places import Place
from tests.command_line import invoke

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


@pytest.mark.parametrize(("name", "flag"), PLACES)
def test_a_url_keeps_both_its_slashes(name: str, flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, told = invoke(*arguments(name, flag, "nosuch://bucket/name"))
    assert code == 2, told
    assert told.startswith("imagenet-captions: nosuch:// is not a kind of URL that fsspec knows")
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "flag"), [place for place in PLACES if place[0] in HERE_ONLY])
def test_a_command_that_works_on_this_machine_alone_refuses_a_url(
    name: str, flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, told = invoke(*arguments(name, flag, "memory://bucket/name"))
    assert code == 2, told
    assert "memory://bucket/name is a URL, and" in told
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "given",
    [
        ["evaluate", "m", "--on", "imagenet=memory://b/val", "--out", "m.json"],
        ["train", "x", "--out", "run", "--objective", "contrastive", "--on", "val=memory://b/val"],
        ["train", "x", "--out", "run", "--objective", "contrastive", "--on", "memory://b/val"],
        ["ablate", "size", "memory://b/data", "--out", "ablation"],
        ["ablate", "size", "mine=memory://b/data", "--out", "ablation"],
        ["ablate", "size", "x", "--on", "imagenet=memory://b/val", "--out", "ablation"],
        ["robustness", "memory://b/results.csv"],
    ],
    ids=" ".join,
)
def test_a_named_place_on_this_machine_refuses_a_url(
    given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    code, told = invoke(*given)
    assert code == 2, told
    assert "memory://b/" in told
    assert "is a URL, and" in told
    assert list(tmp_path.iterdir()) == []
