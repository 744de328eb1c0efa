"""Differences with their intervals, against a naive reference, and what sentences say of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from imagenet_captions.ablations.compare import Difference, difference, mean_score, sentence
from imagenet_captions.ablations.markdown import escape, table
from imagenet_captions.ablations.micro_robustness import above_line
from imagenet_captions.errors import InputError


def bonett_and_price(only_first: int, only_second: int, images: int) -> tuple[float, float]:
    """Bonett and Price 2012, formula 2, as the paper writes it."""
    p12, p21 = (only_first + 1) / (images + 2), (only_second + 1) / (images + 2)
    half = 1.959963984540054 * math.sqrt((p12 + p21 - (p12 - p21) ** 2) / (images + 2))
    return 100 * (p12 - p21 - half), 100 * (p12 - p21 + half)


@pytest.mark.parametrize(("only_first", "only_second", "both"), [(0, 0, 60), (10, 3, 40), (200, 150, 500), (0, 9, 1)])
def test_the_interval_is_bonett_and_prices(only_first: int, only_second: int, both: int) -> None:
    neither = 7
    first = np.array([1] * only_first + [0] * only_second + [1] * both + [0] * neither)
    second = np.array([0] * only_first + [1] * only_second + [1] * both + [0] * neither)
    found = difference([first], [second])
    assert (found.low, found.high) == pytest.approx(bonett_and_price(only_first, only_second, len(first)))
    assert found.value == pytest.approx(100 * (only_first - only_second) / len(first))


def test_the_interval_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        hard = generator.random(200)  # images are hard for both alike, so that the arms agree on many
        found = difference([hard < 0.6], [hard + generator.normal(0, 0.2, 200) < 0.55])
        covered += found.low <= TRUE_GAP <= found.high
    assert 925 <= covered <= 985


_HARD = np.random.default_rng(1).random(2_000_000)
TRUE_GAP = 60 - 100 * float((_HARD + np.random.default_rng(2).normal(0, 0.2, len(_HARD)) < 0.55).mean())


def test_seeds_are_averaged_and_have_to_agree() -> None:
    right, wrong = np.ones(400), np.zeros(400)
    half = np.concatenate([right[:200], wrong[:200]])
    agreeing = difference([right, right], [half, half])
    assert agreeing.by_seed == (50.0, 50.0)
    assert agreeing.settled
    apart = difference([right, half], [half, np.concatenate([right[:240], wrong[:160]])])
    assert apart.low > 0
    assert not apart.settled
    assert "not all seeds point the same way: these runs do not tell them apart; by seed +50.0, -10.0" in sentence(
        "a", "b", "accuracy", apart
    )


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Difference(3.0, 0.4, 5.6, 1000, (3.0,)), "a is 3.0 points above b in accuracy on clean"),
        (Difference(-3.0, -5.6, -0.4, 1000, (-3.0,)), "a is 3.0 points below b in accuracy on clean"),
        (Difference(3.0, -0.1, 6.1, 1000, (3.0,)), "which includes 0: this run does not tell them apart"),
        (Difference(0.0, 0.0, 0.0, 1000, (0.0,)), "which includes 0: this run does not tell them apart"),
    ],
)
def test_a_sentence_is_never_stronger_than_its_interval(found: Difference, said: str) -> None:
    text = sentence("a", "b", "accuracy on clean", found)
    assert said in text
    assert f"{found.low:+.1f} to {found.high:+.1f} (n = 1,000)" in text
    assert ("above" in text or "below" in text) == (found.low > 0 or found.high < 0)


def test_other_images_and_other_seeds_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="different images"):
        difference([np.ones(3)], [np.ones(4)])
    with pytest.raises(InputError, match="2 seeds cannot be compared with 1"):
        difference([np.ones(3)] * 2, [np.ones(3)])
    with pytest.raises(InputError, match="no mean over images"):
        mean_score({"a": np.ones(3, bool), "b": np.ones(4, bool)}, ["a", "b"])


def test_the_line_goes_through_the_baseline_and_tells_what_is_above() -> None:
    generator = np.random.default_rng(0)
    hard = generator.random(4000)
    shifts = ("blur", "noise")
    answers = {}
    for name, clean, shifted in (("s1", 0.4, 0.3), ("s2", 0.5, 0.39), ("s3", 0.6, 0.49), ("robust", 0.5, 0.49)):
        answers[name] = {"clean": hard < clean, **dict.fromkeys(shifts, hard < shifted)}
    found = above_line(answers, ["s1", "s2", "s3"], "clean", shifts)
    assert all(abs(found[name].value) < 0.5 for name in ("s1", "s2", "s3"))
    assert found["robust"].value == pytest.approx(10, abs=0.7)
    assert found["robust"].low > 0
    assert not any(each.outside for each in found.values())
    assert above_line(answers, ["s1", "s2"], "clean", shifts) == {}
    same = dict.fromkeys(("a", "b", "c"), answers["s1"])
    assert above_line(same, ["a", "b", "c"], "clean", shifts) == {}


HOSTILE = (
    "<script>alert(1)</script> | [x](javascript:alert(1)) **b** `c` ![i](http://e.example/i.png)\n# h\x1b[31m\u202e"
)


def test_a_hostile_caption_makes_no_markup() -> None:
    shown = escape(HOSTILE)
    assert "\n" not in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "<" not in shown
    assert ">" not in shown
    for mark in "|[]*`:#":
        assert all(shown[at - 1] == "\\" for at, letter in enumerate(shown) if letter == mark), mark
    assert len(table(["a"], [[shown]]).splitlines()) == 3
    assert escape("x" * 600).endswith("… (600 characters)")
