"""Every path and URL of the command line arrives as it was typed, whatever typer makes of a `pathlib.Path`."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagenet_captions.cli.main import SPECS
from imagenet_captions.storage.places import Place
from tests.storage.conftest import invoke

OTHERS = {"to": "slim", "on": "imagenet=val", "model": "m", "factor": "size", "data": "x", "results": "x"}
OTHERS_OF = {"export-model": {"to": "timm"}}
HERE_ONLY = {
    *("train", "evaluate", "compare", "score", "ablate", "robustness", "trajectories", "frequency", "export-model"),
    "publish",
}
PLACES = [(command, flag.name) for command, spec in SPECS.items() for flag in spec.flags if flag.kind in (Path, Place)]


def arguments(command: str, place: str, text: str) -> list[str]:
    """A command with one of its places, and whatever else it requires."""
    given = [command]
    for flag in SPECS[command].flags:
        value = text if flag.name == place else {**OTHERS, **OTHERS_OF.get(command, {})}.get(flag.name, "x")
        if flag.name == place or flag.required:
            given += [value] if flag.is_argument else [flag.spelled, value]
    return given


def test_no_flag_is_a_path_to_typer() -> None:
    kinds = {str(flag.for_typer().annotation) for spec in SPECS.values() for flag in spec.flags}
    assert not any("Path" in kind for kind in kinds)
    assert len(PLACES) > 50


@pytest.mark.parametrize(("command", "name"), PLACES)
def test_a_url_keeps_both_its_slashes(command: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, told = invoke(*arguments(command, name, "nosuch://bucket/name"))
    assert code == 2, told
    assert told.startswith("imagenet-captions: nosuch:// is not a kind of URL that fsspec knows")
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("command", "name"), [place for place in PLACES if place[0] in HERE_ONLY])
def test_a_command_that_works_on_this_machine_alone_refuses_a_url(
    command: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, told = invoke(*arguments(command, name, "memory://bucket/name"))
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
