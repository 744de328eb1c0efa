"""What the command line says to a user who typed something wrong, and its help."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imagenet_captions.cli.group import RENAMED, SECTIONS
from imagenet_captions.cli.main import SPECS, app
from imagenet_captions.cli.options import count_readers, count_workers

LISTED = [name for names in SECTIONS.values() for name in names]


def run(*arguments: str) -> tuple[int, str]:
    told = CliRunner().invoke(app, list(arguments))
    return told.exit_code, told.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("bild", "there is no command 'bild' (did you mean build?); `imagenet-captions --help` lists them all"),
        ("--foo", "imagenet-captions has no flag --foo; `imagenet-captions --help` lists what it takes"),
        ("--", "give a command; `imagenet-captions --help` lists them"),
        (
            "build --ot x",
            "build has no flag --ot (did you mean --out?); `imagenet-captions build --help` lists what it takes",
        ),
        ("build -x", "build has no flag -x; `imagenet-captions build --help` lists what it takes"),
        ("build", "--out is missing; give --out PATH"),
        ("build --out", "--out needs a value; give --out PATH"),
        ("evaluate m --as", "--as needs a value; give --as TEXT"),
        ("verify", "DATASET is missing; give a DATASET"),
        ("verify a b", "verify takes no argument 'b'; `imagenet-captions verify --help` lists what it takes"),
        (
            "filter d --names-class=yes",
            "--names-class takes no value; give --names-class alone, or leave it out",
        ),
        (
            "robustness published --without-published=1",
            "--without-published takes no value; give --without-published alone, or leave it out",
        ),
        ("crawl --limit many", "--limit must be a whole number, not 'many'"),
        ("filter d --val-fraction much", "--val-fraction must be a number, not 'much'"),
        ("package --out x --missing keep", "--missing must be one of report, skip, fail, not 'keep'"),
        ("train d --out x --log csv --log xml", "--log must be one of csv, tensorboard, wandb, not 'xml'"),
        (
            "train d --out memory://bucket/run",
            "the place memory://bucket/run is a URL, and this command reads and writes on this machine alone; give a "
            "path on this machine",
        ),
    ],
)
def test_a_usage_error_is_one_line_in_our_words(arguments: str, sentence: str) -> None:
    assert run(*arguments.split()) == (2, f"imagenet-captions: {sentence}\n")


@pytest.mark.parametrize(("command", "old"), RENAMED)
def test_a_renamed_flag_is_named(command: str, old: str) -> None:
    new = RENAMED[command, old]
    assert run(command, old, "x") == (2, f"imagenet-captions: {old} of {command} is called {new} now\n")
    assert SPECS[command].find(new) is not None
    assert SPECS[command].find(old) is None
    table = (Path(__file__).parents[2] / "CHANGELOG.md").read_text(encoding="utf-8").split("### Renamed flags")[1]
    assert any(f"`{command}`" in line and old in line and new in line for line in table.splitlines())


def test_the_help_lists_every_command_in_the_order_of_the_flow() -> None:
    code, told = run("--help")
    assert code == 0
    assert sorted(LISTED) == sorted(SPECS)
    assert re.findall(r"^  ([a-z-]+)  +[A-Z]", told, re.MULTILINE) == LISTED
    assert LISTED[:6] == ["demo", "build", "match", "extract-yfcc", "crawl", "clean"]


def test_the_help_cuts_no_description() -> None:
    words = " ".join(run("--help")[1].split())
    for spec in SPECS.values():
        assert " ".join(spec.about.split()) in words
    assert "..." not in words


def test_no_arguments_show_the_help() -> None:
    assert run() == run("--help")


@pytest.mark.parametrize("command", LISTED)
def test_a_commands_help_has_every_flag_with_its_text(command: str) -> None:
    code, told = run(command, "--help")
    assert code == 0
    assert told.startswith(f"Usage: imagenet-captions {command} ")
    words = " ".join(told.split())
    for flag in SPECS[command].flags:
        assert flag.spelled in words
        assert len(flag.declared.help) > 8
        assert " ".join(flag.declared.help.split()) in words
    assert "<" not in told, "a type's name in place of a word"
    assert max(map(len, told.splitlines())) <= 100


def test_workers_mean_one_thing_and_default_to_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagenet_captions.engines.local.default_workers", lambda: 8)
    flags = {name: spec.find("--workers") for name, spec in SPECS.items()}
    assert len({(flag.declared.help, flag.default) for flag in flags.values() if flag is not None}) == 1
    assert {name for name, flag in flags.items() if flag is not None} == {
        *("build", "clean", "package", "filter", "export", "label-by-text", "train", "evaluate", "ablate")
    }
    assert (count_workers(None), count_workers(3)) == (8, 3)
    assert [count_readers(number) for number in (None, 1, 3)] == [8, 0, 3]
    assert [count_readers(None, devices) for devices in (2, 8, 16)] == [4, 0, 0]


@pytest.mark.parametrize("arguments", ["train d --objective simclr", "evaluate m --on a=b", "ablate size d"])
def test_no_worker_at_all_is_refused(arguments: str) -> None:
    pytest.importorskip("torch")
    told = "imagenet-captions: --workers 0 is not possible; give 1 or more\n"
    assert run(*arguments.split(), "--out", "x", "--workers", "0") == (2, told)
