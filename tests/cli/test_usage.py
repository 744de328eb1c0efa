"""What the command line says to a user who typed something wrong, and its help."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.cleaner.settings import CleanSettings
from imagenet_captions.cli.app import command
from imagenet_captions.cli.commands import COMMANDS
from imagenet_captions.cli.messages import BesideBars
from imagenet_captions.engines.local import EngineSettings, count_readers
from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.settings import check_test_sets
from imagenet_captions.pipeline.settings import BuildSettings
from tests.command_line import invoke as run


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("bild", "'bild' is not a command (did you mean build?); `imagenet-captions --help` lists them all"),
        ("--foo", "there is no flag --foo; `imagenet-captions --help` lists commands"),
        ("--", "give a command; `imagenet-captions --help` lists them"),
        (
            "build --ot x",
            "build has no flag --ot (did you mean --out?); `imagenet-captions build --help` lists what it takes",
        ),
        ("build", "--out is missing; give --out PATH"),
        ("evaluate m --as", "--as needs a value; give --as TEXT"),
        ("verify", "DATASET is missing; give DATASET"),
        ("verify a b", "verify takes no argument 'b'; `imagenet-captions verify --help` lists what it takes"),
        ("filter d --names-class=yes", "--names-class takes no value; give --names-class alone, or leave it out"),
        ("filter d --out --overwrit", "--out needs a value, and --overwrit is a flag; give --out PATH"),
        ("filter d --val-fraction 0.2 --out o", "--val-fraction has no effect without --split; leave it out"),
        ("filter d --seed 1 --seed 2 --out o", "--seed is given 2 times; give it once"),
        (
            "filter d \N{EN DASH}-has title --out o",
            "'\N{EN DASH}-has' begins with a dash that is not a hyphen; type --has",
        ),
        (
            "build --urls a --out x --caption title tags",
            "build takes no argument 'tags'; a value of several words needs quotes, as in --caption \"title tags\"",
        ),
        (
            "package --images train/a train/b --out x",
            "package takes no argument 'train/b'; --images takes one path: give the folder, or put a pattern in quotes",
        ),
        ("build rel.json --out x", "build takes no argument 'rel.json'; did you mean --release rel.json?"),
        ("export d --to slim --seed 1 --out x", "--seed has no effect for --to slim; leave it out"),
        ("robustness r.csv --without-published", "--without-published has no effect without --plot; leave it out"),
        ("frequency r --caption title", "--ids and --caption are about --data; give it too"),
        (
            "train d --out x --objective simclr --steps 3 --epochs 2",
            "--steps and --epochs both end the run; give one of them",
        ),
        ("clean --release r --workers 0", "--workers must be at least 1, not 0"),
        ("crawl --limit many", "--limit must be a whole number, not 'many'"),
        ("package --out x --missing keep", "--missing must be one of report, skip, fail, not 'keep'"),
    ],
)
def test_a_usage_error_is_one_line_in_our_words(arguments: str, sentence: str) -> None:
    assert run(*arguments.split()) == (2, f"imagenet-captions: {sentence}\n")


def test_the_help_lists_every_command_in_the_order_of_the_flow() -> None:
    code, told = run("--help")
    assert code == 0
    assert re.findall(r"^  ([a-z][a-z-]+)  +[A-Z]", told, re.MULTILINE) == [*COMMANDS]
    assert [*COMMANDS][:6] == ["demo", "build", "match", "extract-yfcc", "crawl", "clean"]
    words = " ".join(told.split())
    assert all(entry.about in words for entry in COMMANDS.values())
    assert "..." not in words
    assert run() == (code, told)
    assert re.match(r"imagenet-captions \d+\.\d+", run("--version")[1])


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_help_has_every_flag_with_its_text(name: str) -> None:
    code, told = run(name, "--help")
    assert code == 0
    assert told.startswith(f"Usage: imagenet-captions {name} ")
    words = " ".join(told.split())
    for flag, one in command(name).options.items():
        assert flag in words
        assert len(one.help) > 8
        assert " ".join(one.help.split()) in words
    assert "<" not in told, "a type's name in place of a word"
    assert max(map(len, told.splitlines())) <= 80


def test_workers_mean_one_thing_and_default_to_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagenet_captions.engines.local.default_workers", lambda: 8)
    flags = {name: command(name).flags.get("--workers") for name in COMMANDS}
    assert len({(one.help, one.default, one.least) for one in flags.values() if one is not None}) == 1
    assert {name for name, one in flags.items() if one is not None} == {
        *("build", "clean", "package", "filter", "export", "label-by-text", "score", "train", "evaluate", "ablate"),
        "trajectories",
    }
    assert [count_readers(number) for number in (None, 1, 3)] == [8, 0, 3]
    assert [count_readers(None, devices) for devices in (2, 8, 16)] == [4, 0, 0]


@pytest.mark.parametrize(
    ("call", "arguments", "in_python", "typed"),
    [
        (
            lambda: CleanSettings(caption=CaptionTemplate(("title",)), as_published=True),
            "clean --as-published --caption title",
            "`as_published=True` makes the caption of the raw title, tags and description; leave `caption` out",
            "--as-published makes the caption of the raw title, tags and description; leave --caption out",
        ),
        (
            lambda: EngineSettings(ray_address="head:6379"),
            "match --urls x --ray-address head:6379",
            "`ray_address` means nothing without `engine='ray'`; give both, or neither",
            "--ray-address means nothing without --engine ray; give both, or neither",
        ),
        (
            lambda: BuildSettings(release=Path("x"), ask_flickr=False),
            "build --release x --no-crawl --out y",
            "`ask_flickr=False` has no effect with `release`, which names its images and has their texts; leave it out",
            "--no-crawl has no effect with --release, which names its images and has their texts; leave it out",
        ),
        pytest.param(
            lambda: check_test_sets([("imagenet", Path("a")), ("imagenet", Path("b"))]),
            "evaluate m --on imagenet=a --on imagenet=b --out m.json",
            "`test_sets` imagenet is given twice; give each test set a name of its own",
            "--on imagenet is given twice; give each test set a name of its own",
            marks=pytest.mark.skipif(find_spec("torch") is None, reason="evaluate needs torch"),
        ),
    ],
)
def test_the_library_names_parameters_and_the_command_line_flags(
    call: Callable[[], object], arguments: str, in_python: str, typed: str
) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == in_python
    assert run(*arguments.split()) == (2, f"imagenet-captions: {typed}\n")


def test_a_line_of_the_log_names_flags_too() -> None:
    line = logging.LogRecord("imagenet_captions.x", logging.INFO, "x.py", 1, "leave `images` out", (), None)
    other = logging.LogRecord("lightning", logging.INFO, "x.py", 1, "leave `images` out", (), None)
    handler = BesideBars(command("build"))
    assert [handler.format(line), handler.format(other)] == ["leave --images out", "leave `images` out"]
