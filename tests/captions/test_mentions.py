"""Which classes a text names: cases, and a slow reference over many made-up texts."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_captions.captions.mentions import as_text, join_fields, matcher
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.spellings import rows, vocabulary
from tests.captions.naive_mentions import naive_labels, words_of

MARKS = [" "] * 30 + ["-"] * 4 + list("_'.,|/(\"\n\t1") + [
    "  ", "", ", ", ". ", " - ", "--", "'s ", "\u2019s ", "\u2019", "\u2014", "\u201c", "\u00a0", "\u3000", "\u2011",
    "\u00ad", "\u200b", "\u200d", "\ufeff", "\u0301", "\u00e9", "\u00df", "\u0130", "\u017f", "\u212a", "\ufb01", "猫",
    "ねこ", "는", "แมว", "зима ", "🐟", "&", "#", "\x00", "\x1f", "\x85", "\U0001f1e9", "\u093f", "²", "\u0640",
]  # fmt: skip
CASES: list[Callable[[str], str]] = [str, str, str, str.lower, str.upper, str.title, str.swapcase]


def made_up_texts(count: int, seed: int) -> list[str]:
    """Names, parts of names, words that decide between classes, and odd characters, side by side."""
    rng = random.Random(seed)
    names = list(vocabulary().readings)
    ambiguous = [name for name, *_ in rows()]
    cues = list(chain.from_iterable(words for _, _, _, words, _ in rows()))
    parts = [name.split(" ")[0] for name in names] + [name[: len(name) // 2] for name in names[::5]]
    texts = []
    for _ in range(count):
        words = []
        for _ in range(rng.randrange(1, 6)):
            words.append(rng.choice(CASES)(rng.choice(rng.choice([names, ambiguous, ambiguous, cues, parts]))))
            words.append(rng.choice(MARKS))
        texts.append("".join(words[: -1 if rng.random() < 0.5 else None]))
    return texts


def labels(text: str, **settings: bool) -> list[int]:
    found: list[int] = matcher(**settings).find(pa.array([text])).to_pylist()[0]
    return found


SETTINGS = [({}, 10_000), ({"case_sensitive": True}, 10_000), ({"curated_only": True}, 10_000)]


@pytest.mark.parametrize(("settings", "count"), [*SETTINGS, pytest.param({}, 100_000, marks=pytest.mark.slow)])
def test_the_same_as_a_naive_search(settings: dict[str, bool], count: int) -> None:
    texts = made_up_texts(count, seed=len(settings))
    found = matcher(**settings).find(pa.array(texts)).to_pylist()
    both = [(text, ours, naive_labels(text, **settings)) for text, ours in zip(texts, found, strict=True)]
    assert [each for each in both if each[1] != each[2]][:5] == []
    assert sum(map(bool, found)) > count / 20  # the texts do name something


@given(st.lists(st.one_of(st.none(), st.text(), st.sampled_from(made_up_texts(50, seed=9))), max_size=8))
def test_any_texts_at_all(texts: list[str | None]) -> None:
    column = pa.array([text and text.encode("utf-8", "replace").decode() for text in texts], pa.string())
    found = matcher().find(column).to_pylist()
    assert found == [naive_labels(text or "") for text in column.to_pylist()]
    padded = pa.concat_arrays([pa.array(["a tench"]), column])
    assert matcher().find(padded.slice(1)).to_pylist() == found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A tench!", [0]),
        ("tenches, and other fish", [0]),
        ("stench", []),
        ("tench_fishing", [0]),
        ("the tench's eye", [0]),
        ("the tench\u2019s eye", [0]),
        ("golden retriever", [207]),
        ("golden_retriever", [207]),
        ("golden\nretriever", [207]),
        ("golden, retriever", []),
        ("two Great Pyrenees", [257]),
        ("great white shark", [2]),
        ("a crane birdhouse", [134, 448, 517]),
        ("T-shirt and T shirts", [610]),
        ("jack-o'-lantern", [607]),
        ("St. Bernard", [247]),
        ("R.V.", [757]),
        ("geese", [99]),
        ("kite (bird of prey)", [21]),
        ("我的tench很可爱", [0]),
        ("tench는", [0]),
        ("tenché", []),
        ("tenche\u0301s", []),
        ("ten\u00adch", [0]),
        ("tench\u200bgoldfish", [0, 1]),
        ("GLA\u1e9eHOUSE", [580]),
        ("\u212aoala", [105]),
        ("go\ufb01sh, gold\ufb01sh", [1]),
        ("", []),
    ],
)
def test_words_and_names(text: str, expected: list[int]) -> None:
    assert labels(text) == expected == naive_labels(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A crane", [134, 517]),
        ("A crane on a building site", [517]),
        ("cranes in the wetlands", [134]),
        ("Ichabod Crane", []),
        ("a ram", []),
        ("a ram and its ewes", [348]),
        ("4 GB of RAM", []),
        ("bow and arrows", [456]),
        ("bow tie", [457]),
        ("blonde ringlets", []),
        ("sidewinder, a rattlesnake", [68]),
        ("maillot jaune", []),
        ("maillot for ballet", [638, 639]),
        ("traffic light", [920]),
        ("Zippo lighter", [626]),
        ("a panda", [387, 388]),
        ("missile", [657, 744]),
        ("tiger lily", []),
        ("Mac OS X Leopard", []),
    ],
)
def test_ambiguous_names(text: str, expected: list[int]) -> None:
    assert labels(text) == expected == naive_labels(text)


def test_case_can_count_and_curated_names_alone() -> None:
    texts = pa.array(["Great Dane", "great dane", "Goldfish", "goldfish", "goldfishes", "GOLDFISH"])
    assert matcher(case_sensitive=True).find(texts).to_pylist() == [[246], [], [], [1], [1], []]
    texts = pa.array(["Tinca tinca", "tench", "crane birds", "cranes"])
    assert matcher(curated_only=True).find(texts).to_pylist() == [[], [0], [134], []]


def test_no_name_runs_over_a_field() -> None:
    fields = [pa.array(["golden", None]), pa.array(["retriever", "x"]), pa.array([["red", "fox"], ["tench"]])]
    assert matcher().find(join_fields(fields)).to_pylist() == [[], [0]]
    sliced = [pa.concat_arrays([each, each]).slice(1, 2) for each in fields]
    assert matcher().find(join_fields(sliced)).to_pylist() == [[0], []]
    nothing = pa.array([None, [None, "lynx"]], pa.list_(pa.string()))
    assert matcher().find(join_fields([nothing])).to_pylist() == [[], [287]]


def test_stored_labels_answer_names_label_exactly() -> None:
    stored = as_text(pa.array([[5, 17], [55], [], [0, 999], [15, 51]], pa.list_(pa.int16())))
    table = pa.table({"mentions": stored})
    for label, expected in ((5, [0]), (17, [0]), (55, [1]), (0, [3]), (1, []), (999, [3]), (51, [4])):
        condition = pc.match_substring(pc.field("mentions"), f" {label} ")
        numbered = table.append_column("row", pa.array(range(5)))
        assert numbered.filter(condition)["row"].to_pylist() == expected


def test_the_table_of_ambiguous_names() -> None:
    known = {
        (name.casefold(), class_.wnid)
        for class_ in map(classes.by_wnid, classes.wnids())
        for name in (class_.name, class_.name.split(" (")[0], *class_.name.split(" / "), *class_.lemmas)
    }
    anything = {name for name, _ in known}
    seen = set()
    for name, wnid, rule, words, reason in rows():
        assert (name.casefold(), wnid) in known or (wnid == "*" and name.casefold() in anything), (name, wnid)
        assert rule in ("never", "needs", "unless", "inside", "also")
        assert bool(words) == (rule != "never"), name
        assert (wnid == "*") == (rule == "inside"), name
        assert reason.strip(), name
        assert (name, wnid, rule) not in seen
        seen.add((name, wnid, rule))
        if rule == "inside":
            assert all(words_of(name, False)[0][:3] in phrase.casefold() for phrase in words), (name, words)


def test_a_plural_that_is_a_name_of_its_own() -> None:
    assert set(vocabulary().readings["bars"]) == {702}
    assert "bar" not in vocabulary().readings
