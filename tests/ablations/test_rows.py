"""Which rows runs train on: nested samples, skewed ones, labels read off texts, and mixtures of domains."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imagenet_captions.ablations.ablate import ablate
from imagenet_captions.ablations.factors import make_table
from imagenet_captions.ablations.inputs import (
    Domains,
    Inputs,
    Rows,
    assign_domains,
    choose_rows,
    long_tail_counts,
    nested_order,
    plan_mixed,
    text_labels,
)
from imagenet_captions.ablations.micro import read_pixels, shift_pixels, with_texts
from imagenet_captions.ablations.plan import check_fairness, differences, plan_runs
from imagenet_captions.ablations.runs import DARK, LONG_TAIL, PRESETS, UNIFORM, Ask, Pick, Run, Table, TrainingSet
from imagenet_captions.ablations.settings import AblateSettings
from imagenet_captions.ablations.testing import read_answers
from imagenet_captions.errors import InputError
from imagenet_captions.images.examples import Class, Texts, open_examples
from tests.ablations.made import read_rows, write_micro_set

CLASSES = [f"class {number}" for number in range(10)]
SIZES = {"natural": 60, "sketch": 20, "clipart": 10, "painting": 30}  # rows a class


def made_domains() -> Domains:
    rows = [(name, label, at) for name, size in SIZES.items() for label in range(10) for at in range(size)]
    ids = [f"{name}_{label}_{at}" for name, label, at in rows]
    labels = np.array([label for _, label, _ in rows], np.int64)
    return Domains(ids, labels, [name for name, _, _ in rows], CLASSES)


def table_of(preset: str = "micro") -> Table:
    domains = made_domains()
    mixed = TrainingSet("mixed", len(domains.ids), True, domains)
    return make_table("domain", Ask((mixed,), PRESETS[preset].for_rows(1200), (0, 1), mixed=mixed))


def seen(run: Run) -> Counter[tuple[str, int]]:
    """How many rows of each domain and class a run trains on."""
    domains = made_domains()
    rows = domains.choose(run.pick)
    return Counter((str(domains.names[row]), int(domains.labels[row])) for row in rows)


@pytest.mark.parametrize("preset", ["micro", "paper"])
def test_each_arm_sees_its_domains_and_never_an_unseen_combination(preset: str) -> None:
    arms = {arm: seen(runs[0]) for arm, runs in table_of(preset).arms().items()}
    held, tests = set(made_domains().held_out), {"sketch", "clipart", "painting"}
    assert len(held) == 2
    assert len(arms) == 1 + 3 * 3
    assert len({found.total() for found in arms.values()}) == 1
    wanted = {"clip-natural-only": set()}
    for test in tests:
        others = tests - {test}
        wanted |= {f"clip-leave-out-{test}": others, f"clip-low-diversity-{test}": {test}}
        wanted[f"clip-high-diversity-{test}"] = tests
        for kind in ("low", "high"):
            found = arms[f"clip-{kind}-diversity-{test}"]
            assert {label for name, label in found if name == test} == set(range(10)) - held
        for name, label in product(others, range(10)):
            assert arms[f"clip-high-diversity-{test}"][name, label], "held out in one domain alone"
    assert {arm: {name for name, _ in found} - {"natural"} for arm, found in arms.items()} == wanted


def test_a_smaller_sample_keeps_the_shares_of_domains_and_classes() -> None:
    first, second = table_of("paper").arms()["clip-low-diversity-painting"]
    pool = 600 + 8 * 30
    assert seen(first).total() == 600, "as many as there are natural images"
    for (name, _), count in seen(first).items():
        assert count == pytest.approx(SIZES[name] * 600 / pool, abs=1)
    assert seen(first) != seen(second), "each seed draws its own"


@pytest.mark.parametrize(("preset", "before"), [("micro", "micro-"), ("paper", "")])
def test_every_comparison_differs_in_the_mixture_alone(preset: str, before: str) -> None:
    table, settings = table_of(preset), AblateSettings(("domain",), {}, Path("out"))
    planned = plan_runs(settings, [table], lambda _, pick: Rows(pick.rows or 0, repr(pick)))
    assert len(check_fairness(table, planned)) == len(table.comparisons) == 3 * 4
    for comparison in table.comparisons:
        assert list(differences(comparison, table, planned)) == ["rows"]
        assert comparison.on.removeprefix(before) in SIZES


def test_the_papers_classes_are_held_out_of_domainnet() -> None:
    names = ["The_Eiffel_Tower", "aircraft_carrier", "axe", "banana", "barn", "bed", "candle", "lion", "mountain"]
    names += ["necklace", "penguin", "pizza", "saxophone", "television", "tractor", "traffic_light", "zebra", "zigzag"]
    labels = np.arange(3 * len(names)) % len(names)
    domains = np.repeat(["real", "quickdraw", "sketch"], len(names)).tolist()
    found = Domains([str(at) for at in range(len(labels))], labels, domains, names)
    assert found.held_out == list(range(1, 16))
    assert found.natural == "real"
    assert found.others == ("quickdraw", "sketch")


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({}, "needs labels and a column `domain`, and"),
        ({"domain": ["photo", "sketch", "clipart"]}, "needs 'natural' or 'real' and two other domains, and it has"),
        ({"domain": ["natural", "sketch", "natural"]}, "two other domains, and it has natural, sketch"),
    ],
)
def test_data_without_domains_is_one_sentence(tmp_path: Path, columns: dict[str, list[str]], sentence: str) -> None:
    path = write_micro_set(tmp_path / "set.parquet", 4)
    table = pq.read_table(path)
    for name, values in columns.items():
        table = table.append_column(name, pa.array([values[at % 3] for at in range(len(table))]))
    pq.write_table(table, path)
    with pytest.raises(InputError, match=sentence):
        plan_mixed("set", open_examples(path), micro=False, need="")


def test_a_column_of_domains_is_read_beside_the_images(tmp_path: Path) -> None:
    path = write_micro_set(tmp_path / "set.parquet", 20)
    table = pq.read_table(path)
    names = [["real", "sketch", "clipart", None][at % 4] for at in range(len(table))]
    images = table["image"].to_pylist()
    images[0] = None  # a row without an image is left out with its domain
    table = table.set_column(0, "image", pa.array(images)).append_column("domain", pa.array(names))
    pq.write_table(table, path)
    mixed = plan_mixed("set", open_examples(path), micro=False, need="")
    assert mixed.domains is not None
    assert mixed.domains.names.tolist() == [name or "" for name in names[1:]]
    chosen = mixed.domains.choose(Pick(domains=("real", "sketch")))
    assert {str(mixed.domains.names[row]) for row in chosen} == {"real", "sketch"}
    with pytest.raises(InputError, match=r"makes domains of its own, and .* has a column `domain`; rename it"):
        plan_mixed("set", open_examples(path), micro=True)


def test_micro_domains_are_the_shifts_and_half_stays_natural(tmp_path: Path) -> None:
    path = with_texts(write_micro_set(tmp_path / "set.parquet", 24), tmp_path / "texts.parquet")
    before = open_examples(path)
    Inputs(tmp_path, {"set": path}).mix("set", micro=True)
    after = open_examples(tmp_path / "set-domains.parquet")
    names = assign_domains(before)
    assert Counter(names) == {"natural": 36, "blur": 12, "noise": 12, "contrast": 12}
    assert pq.read_table(tmp_path / "set-domains.parquet")["domain"].to_pylist() == names
    for row, name in enumerate(names):
        image_id = before.image_id(row)
        assert (after.image_id(row), after.texts(row)) == (image_id, before.texts(row))
        pixels = read_pixels(before.image(row), image_id)
        wanted = pixels if name == "natural" else shift_pixels(name, pixels, image_id)
        assert np.array_equal(read_pixels(after.image(row), image_id), wanted)
    assert after.classes == before.classes


@pytest.mark.slow
def test_a_whole_micro_ablation_measures_the_held_out_classes(tmp_path: Path) -> None:
    data = write_micro_set(tmp_path / "squares.parquet", per_class=16)
    test = write_micro_set(tmp_path / "test.parquet", per_class=6, seed=1)
    asked = AblateSettings(
        ("domain",), {"squares": data}, tmp_path / "out", "micro", {"test": test}, epochs=1, workers=1
    )
    ablate(asked)
    ablate(replace(asked, factors=("test-language",)))
    report = (asked.out / "report.md").read_text(encoding="utf-8")
    assert "## test-language: " in report
    assert "those on the held-out classes alone: sea." in report
    rows = [row for row in read_rows((asked.out / "comparisons.csv").read_text()) if row.factor == "domain"]
    assert all(row.quantity.startswith("accuracy of the held-out classes on") for row in rows)
    assert [row.headline for row in rows] == [at % 2 == 0 for at in range(len(rows))], "the paper's measure comes first"
    high, low = (f"clip-{kind}-diversity-blur" for kind in ("high", "low"))
    folders = [asked.out / "runs" / f"squares-domains-{arm}-s0" for arm in (high, low)]
    seas = pq.read_table(test)["class_name"].to_numpy() == "sea"
    first, second = (read_answers(folder / "metrics.json")["micro-blur"][seas].mean() for folder in folders)
    (row,) = (row for row in rows if (row.first, row.second, row.headline) == (high, low, True))
    assert row.images == seas.sum() == 6
    assert row.value == pytest.approx(100 * (first - second))
    (listed,) = (line for line in report.splitlines() if line.startswith(f"- {high} trains on"))
    ids = (asked.out / "inputs" / listed.partition("(inputs/")[2].rstrip(").")).read_text().split()
    made = pq.read_table(asked.out / "inputs" / "squares-domains.parquet").to_pylist()
    trained = {(row["class_name"], row["domain"]) for row in made if row["image_id"] in ids}
    assert ("sea", "noise") in trained
    assert ("sea", "blur") not in trained


ROW_LABELS = np.repeat(np.arange(4), [100, 100, 50, 10])
ROW_IDS = [f"image_{number:04d}" for number in range(len(ROW_LABELS))]


def no_light(row: int) -> float:
    raise AssertionError("brightness is not needed here")


def test_each_seed_draws_its_own_rows_in_which_smaller_samples_lie() -> None:
    def drawn(rows: int, seed: int) -> set[int]:
        return set(choose_rows(ROW_IDS, ROW_LABELS, Pick(kind=UNIFORM, rows=rows).seeded(seed), no_light))

    assert sorted(nested_order(ROW_IDS, ROW_LABELS, seed=0)) == list(range(len(ROW_IDS)))
    assert drawn(26, 1) < drawn(130, 1)
    assert len(drawn(26, 1)) == 26
    counts = np.bincount(ROW_LABELS[sorted(drawn(52, 1))], minlength=4)
    assert np.abs(counts - np.array([100, 100, 50, 10]) * 52 / 260).max() <= 1, "the classes keep their shares"
    assert drawn(26, 1) != drawn(26, 2)
    assert Pick().seeded(3) == Pick(), "of all rows there is nothing to draw"


def test_a_long_tail_really_is_one() -> None:
    with pytest.raises(InputError, match="the data has no labels"):
        choose_rows(ROW_IDS, np.full(len(ROW_IDS), -1), Pick(kind=LONG_TAIL, rows=7), no_light)
    labels = np.repeat(np.arange(10), 400)
    counts = sorted(long_tail_counts(labels, 1500, seed=0).values(), reverse=True)
    assert sum(counts) == 1500
    assert counts[0] == 400
    ratios = [later / earlier for earlier, later in pairwise(counts)]
    assert max(ratios) - min(ratios) < 0.05, "each class has the same share of the one before"
    ids = [f"i{number}" for number in range(4000)]
    chosen = labels[choose_rows(ids, labels, Pick(kind=LONG_TAIL, rows=1500), no_light)]
    assert sorted(np.bincount(chosen), reverse=True) == counts
    for rows in (2, 5, 6, 12, 23):
        few = long_tail_counts(np.repeat(np.arange(3), 8), rows, seed=0)
        assert (sum(few.values()), max(few.values()) <= 8) == (rows, True), "as many as asked for"


def test_the_darkest_of_each_class_are_taken() -> None:
    light = np.random.default_rng(0).uniform(0, 255, len(ROW_IDS))
    chosen = choose_rows(ROW_IDS, ROW_LABELS, Pick(kind=DARK, rows=130), lambda row: float(light[row]))
    for label, size in enumerate([50, 50, 25, 5]):
        own = np.array([row for row, own_label in enumerate(ROW_LABELS) if own_label == label])
        darkest = own[np.argsort(light[own])[:size]]
        assert set(darkest) == {row for row in chosen if ROW_LABELS[row] == label}


def test_more_rows_than_there_are_is_refused_or_all() -> None:
    assert choose_rows(ROW_IDS, ROW_LABELS, Pick(kind=UNIFORM, rows=300), no_light) == list(range(260))
    with pytest.raises(InputError, match="300 rows are asked for and 260 can be trained on"):
        choose_rows(ROW_IDS, ROW_LABELS, Pick(kind=LONG_TAIL, rows=300), no_light)


ANIMALS = [Class("cat", "cat"), Class("dog", "dog"), Class("sea lion", "sea lion")]


@pytest.mark.parametrize(
    ("texts", "label"),
    [
        (Texts(title="A Cat."), 0),
        (Texts(title="two dogs"), 1),
        (Texts(description="category"), -1),
        (Texts(tags=("sea lion",)), 2),
        (Texts(tags=("sea", "lion")), -1),
        (Texts(title="cat and dog"), -1),
        (Texts(title="cat", caption="my dog"), -1),
        (Texts(), -1),
    ],
)
def test_a_text_counts_for_the_one_class_that_it_names(texts: Texts, label: int) -> None:
    assert text_labels([texts], ANIMALS).tolist() == [label]


def test_imagenets_classes_go_by_all_their_names() -> None:
    some = [Class("n01440764", "tench"), Class("n02012849", "crane bird")]
    titles = ("Tinca tinca", "a tench and a goldfish", "restaurant")
    assert text_labels([Texts(title) for title in titles], some).tolist() == [0, 0, -1]
