"""Every path and URL of the command line arrives as it was typed, whatever typer makes of a `pathlib.Path`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer

from imagenet_captions.cli import app
from imagenet_captions.commands.given import Given, GivenHere
from tests.storage.conftest import invoke

OTHERS = {"to": "slim", "on": "imagenet=val", "model": "m", "factor": "size", "data": "x", "results": "x"}
HERE_ONLY = {"train", "evaluate", "ablate", "robustness"}
COMMANDS = {info.callback.__name__: info.callback for info in app.registered_commands if info.callback}


def parameters(command: str) -> Iterator[tuple[str, Any, Any, Any]]:
    """The name, type, typer's description and default of every parameter of a command."""
    for name, parameter in inspect.signature(COMMANDS[command]).parameters.items():
        kind, described = get_args(parameter.annotation)
        yield name, kind, described, parameter.default


def is_place(kind: Any) -> bool:
    kinds = [inner for each in (get_args(kind) or [kind]) for inner in (get_args(each) or [each])]
    return any(isinstance(each, type) and issubclass(each, Given) for each in kinds)


PLACES = [(command, name) for command in COMMANDS for name, kind, _, _ in parameters(command) if is_place(kind)]


def arguments(command: str, place: str, text: str) -> list[str]:
    """A command with one of its places, and whatever else it requires."""
    given = [command.replace("_", "-")]
    for name, _, described, default in parameters(command):
        value = text if name == place else OTHERS.get(name, "x")
        if name != place and default is not inspect.Parameter.empty:
            continue
        if isinstance(described, typer.models.ArgumentInfo):
            given.append(value)
        else:
            flag = (described.param_decls or [f"--{name.replace('_', '-')}"])[0]
            given += [flag, value]
    return given


def test_no_flag_is_a_path_to_typer() -> None:
    found = [(command, name) for command in COMMANDS for name, kind, _, _ in parameters(command) if "Path" in str(kind)]
    assert found == []
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
        ["train", "x", "--out", "run", "--objective", "contrastive", "--test", "val=memory://b/val"],
        ["train", "x", "--out", "run", "--objective", "contrastive", "--test", "memory://b/val"],
        ["ablate", "size", "memory://b/data", "--out", "ablation"],
        ["ablate", "size", "mine=memory://b/data", "--out", "ablation"],
        ["ablate", "size", "x", "--test", "imagenet=memory://b/val", "--out", "ablation"],
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


def test_what_is_no_url_is_a_path_as_it_was_typed() -> None:
    assert Given("a//b") == "a//b"
    assert issubclass(GivenHere, Given)
