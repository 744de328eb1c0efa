"""Settings: a declaration is the parameter in Python, the flag in a shell, the check and the record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.cli.app import command
from imagenet_captions.cli.commands import COMMANDS
from imagenet_captions.crawler.settings import MatchSettings
from imagenet_captions.dataset.settings import FilterSettings, RowConditions
from imagenet_captions.errors import InputError
from imagenet_captions.exports.settings import ExportSettings
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.options import Given, Option, make, options_of, record
from imagenet_captions.pipeline.settings import BuildSettings
from imagenet_captions.training.recipes import Recipe
from imagenet_captions.training.settings import TrainSettings
from tests.command_line import understood


def test_a_shared_flag_reaches_every_part() -> None:
    made = make(BuildSettings, {"--urls": ("a",), "--classes": ClassSet.ALL})
    assert {made.match.classes, made.clean.classes} == {ClassSet.ALL}


def parts_of(kind: type) -> list[Option]:
    """Every declaration of a class and its parts, those of one flag too."""
    found: list[Option] = []
    for each in kind.__dataclass_fields__.values():  # type: ignore[attr-defined]
        found += parts_of(each.metadata["part"]) if "part" in each.metadata else []
    own = {each.flag: each for each in options_of(kind)}
    return [*found, *own.values()]


@pytest.mark.parametrize("name", COMMANDS)
def test_declarations_that_two_parts_share_agree(name: str) -> None:
    seen: dict[str, Option] = {}
    for each in command(name).parameters.values():
        kind = each.kind if isinstance(each, Given) else each
        for one in [each] if isinstance(each, Option) else parts_of(kind):
            other = seen.setdefault(one.flag, one)
            assert other._replace(default=one.default) == one
            assert other.default == one.default
    assert len({one.name for one in command(name).options.values()}) == len(command(name).options)


def test_words_become_values() -> None:
    given = "filter ds --class a --class=-1 --score-above -1e-3 --scores s --by class --balance 3 --out o".split()
    values = understood(*given)
    assert (values["dataset"], values["out"]) == (Path("ds"), Path("o"))
    settings = values["settings"]
    assert settings.wanted.classes == ("a", "-1")
    assert (settings.score_above, settings.by, settings.scores) == (-0.001, "class", Path("s"))
    assert record(settings) == {
        "class": ["a", "-1"], "balance": 3, "by": "class", "scores": "s", "score-above": -0.001,
    }  # fmt: skip


def test_a_switch_that_is_on_is_switched_off() -> None:
    assert understood("build", "--urls", "u", "--no-crawl", "--out", "x")["settings"].ask_flickr is False
    for flag, drawn in ((["--with-published"], True), (["--without-published"], False), ([], True)):
        settings = understood("robustness", "r.csv", "--plot", "f.svg", *flag)["settings"]
        assert settings.with_published is drawn


def test_a_preset_is_changed_by_what_was_given_alone() -> None:
    values = understood("train", "ds", "--preset", "micro", "--lr", "0.5", "--log", "csv", "--out", "r")
    assert values["changes"] == {"lr": 0.5}
    assert values["settings"] == {"log": ("csv",)}
    assert all(one.default is None for one in command("train").options.values() if one in Given(Recipe, True).options())


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: FilterSettings(per_class="x"), "`per_class` must be a whole number, not 'x'"),
        (lambda: FilterSettings(trim_tail=3), "`trim_tail` must be classes and rows, such as 100:1, not 3"),
        (lambda: FilterSettings(sample=[]), "`sample` must be a number of rows such as 1000, or a share such as 0.1"),
        (lambda: FilterSettings(local_labels="yes"), "`local_labels` must be True or False, not 'yes'"),
        (lambda: RowConditions(classes="dog"), r"`classes` must be a list such as \['dog'\], not 'dog'"),
        (lambda: BuildSettings(urls=("u",), match="ids"), "`match` must be MatchSettings, not 'ids'"),
        (lambda: FilterSettings(seed=None), "`seed` must be a whole number, not None"),
        (lambda: ExportSettings("csv"), "`to` must be one of open-clip-csv, .*, not 'csv'"),
        (lambda: TrainSettings(Path("d"), Path("o"), None, devices=0), "`devices` must be at least 1, not 0"),
    ],
)
def test_python_is_checked_alike(call: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        call()


def test_texts_become_what_is_held() -> None:
    assert MatchSettings("file:///ids.txt", classes="all") == MatchSettings(Path("/ids.txt"), classes=ClassSet.ALL)
    assert ExportSettings("slim", caption="title", columns="label, wnid") == ExportSettings(
        "slim", caption=CaptionTemplate(("title",)), columns=("label", "wnid")
    )
    assert record(MatchSettings()) == {}
