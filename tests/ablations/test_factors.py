"""The five tables: what varies in each really does, and what has to stand still does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imagenet_captions.ablations.factors import make_table, make_tables
from imagenet_captions.ablations.inputs import Rows
from imagenet_captions.ablations.plan import (
    Planned,
    Values,
    check_fairness,
    describe_differences,
    differences,
    make_recipe,
    plan_runs,
    published_for,
)
from imagenet_captions.ablations.runs import (
    DARK,
    FROM_TEXT,
    LONG_TAIL,
    OWN,
    PRESETS,
    UNIFORM,
    Ask,
    Pick,
    Run,
    Table,
    TrainingSet,
)
from imagenet_captions.ablations.settings import FACTORS, AblateSettings
from imagenet_captions.errors import InputError

LABELLED = TrainingSet("micro", 4000, True)
TEXTS_ONLY = TrainingSet("yfcc15m", 14_829_396, False)


def ask(*datasets: TrainingSet, preset: str = "micro", seeds: tuple[int, ...] = (0,)) -> Ask:
    return Ask(datasets, PRESETS[preset].for_rows(min(each.rows for each in datasets)), seeds, named=1200)


SETTINGS = AblateSettings(("size",), {}, Path("out"))


def planned(table: Table, rows: int) -> dict[str, Planned]:
    """As many rows as each run asks for, with the pick in place of the ids' digest; 3 in 4 texts name a class."""

    def rows_of(_: str, pick: Pick) -> Rows:
        asked = min(pick.rows or rows, rows)
        count = pick.named_rows or (asked * 3 // 4 if pick.reads_texts else asked)
        return Rows(count, repr(replace(pick, rows=None, labels=OWN, named=pick.reads_texts)))

    return plan_runs(SETTINGS, [table], rows_of)


def by_arm(table: Table) -> dict[str, Run]:
    return {arm: runs[0] for arm, runs in table.arms().items()}


@pytest.mark.parametrize("preset", ["micro", "paper"])
def test_every_table_is_in_order_and_compares_arms_that_differ_in_what_is_asked(preset: str) -> None:
    same: dict[str, Run] = {}
    for factor in FACTORS:
        several = factor == "distribution" and preset == "paper"
        datasets = (LABELLED, TrainingSet("other", 5000, True)) if several else (LABELLED,)
        table = make_table(factor, ask(*datasets, preset=preset, seeds=(0, 1)))
        names = [run.name for run in table.runs]
        assert len(set(names)) == len(names)
        for at, run in enumerate(table.runs):
            needed = {run.init, run.model_of, run.steps_of} - {None}
            assert needed <= set(names[:at]), f"{run.name} comes before what it needs"
            unnamed = replace(run, arm="")
            assert same.setdefault(run.name, unnamed) == unnamed, "one training has one name in every table"
        assert all([run.seed for run in runs] == [0, 1] for runs in table.arms().values())
        made = planned(table, 4000)
        assert len(check_fairness(table, made)) == len(table.comparisons) > 0
        found = [differences(comparison, table, made) for comparison in table.comparisons]
        assert all(found), "no comparison is of an arm with itself"
        assert any(len(apart) == 1 for apart in found)


def test_the_size_table_changes_the_images_and_not_the_steps() -> None:
    for data, sizes, batch in ((LABELLED, [4000, 2000, 1000], 50), (TrainingSet("tiny", 40, True), [40, 20, 10], 10)):
        table = make_table("size", ask(data))
        made = planned(table, data.rows)
        assert [made[run.name].trained.count for run in table.runs if run.objective == "contrastive"] == sizes
        assert len({(made[run.name].steps, made[run.name].seen) for run in table.runs}) == 1
        assert {run.objective for run in table.runs} == {"contrastive", "supervised"}
        assert {run.batch_size for run in table.runs} == {batch}


def test_the_paper_keeps_its_recipes_epochs() -> None:
    table = make_table("size", ask(TEXTS_ONLY, preset="paper"))
    assert {run.objective for run in table.runs} == {"contrastive"}, "no labels, no supervised runs"
    assert {(run.batch_size, run.epochs) for run in table.runs} == {(1024, 32)}
    assert [run.pick.rows for run in table.runs] == [14_829_396, 7_414_698, 3_707_349, 1_853_674, 7_414_698]
    made = planned(table, 14_829_396)
    assert made[table.runs[4].name].steps == made["yfcc15m-clip-s0"].steps


def test_the_size_varies_on_the_largest_of_several_data_sets() -> None:
    tables = make_tables(FACTORS, ask(LABELLED, TEXTS_ONLY, preset="paper"))
    about = {table.factor: {run.data for run in table.runs} for table in tables}
    own = {"size": {"yfcc15m"}, "distribution": {"micro", "yfcc15m"}}
    assert about == {**{factor: {"micro"} for factor in FACTORS}, **own}


def test_the_distribution_table_changes_which_images_and_not_how_many() -> None:
    table = make_table("distribution", ask(LABELLED))
    for kind in ("clip", "labels", "text-labels"):
        runs = [run for run in table.runs if run.arm.startswith(f"{kind}-")]
        assert [run.pick.kind for run in runs] == [UNIFORM, LONG_TAIL, DARK]
        assert len({(run.pick.rows, run.pick.named_rows) for run in runs}) == 1
        assert len({(run.caption, run.recipe, run.epochs, run.objective) for run in runs}) == 1
    two = make_table("distribution", ask(LABELLED, TrainingSet("other", 3000, False), preset="paper"))
    assert [(run.arm, run.data, run.pick.rows, run.pick.named_rows) for run in two.runs] == [
        ("clip-micro", "micro", 3000, None),
        ("labels-micro", "micro", 3000, None),
        ("text-labels-micro", "micro", 3000, 1200),
        ("clip-other", "other", 3000, None),
        ("text-labels-other", "other", 3000, 1200),
    ]


def test_the_test_language_table_has_one_training() -> None:
    table = make_table("test-language", ask(LABELLED))
    assert [run.name for run in table.runs if run.trains] == ["micro-clip-s0"]
    asked = [(run.classifier, run.prompts) for run in table.runs]
    assert asked[:3] == [("zero-shot", "one"), ("zero-shot", "none"), ("zero-shot", "80")]
    assert {classifier for classifier, _ in asked[3:]} == {"linear-probe", "prototypes", "k-shot"}
    two = make_table("test-language", ask(TEXTS_ONLY, LABELLED, preset="paper"))
    assert {run.data for run in two.runs if run.classifier != "zero-shot"} == {"micro"}


def test_zero_shot_arms_have_the_prompts_of_published_models_unless_told_otherwise(tmp_path: Path) -> None:
    arms = by_arm(make_table("test-language", ask(LABELLED, preset="paper")))
    assert [arms[f"clip{arm}"].prompts for arm in ("", ".no-prompt", ".one-prompt")] == ["80", "none", "one"]
    own = tmp_path / "sentences.txt"
    own.write_text("a sketch of a {}\n")
    settings = AblateSettings(("test-language",), {}, tmp_path, "micro", prompts=str(own))
    table = make_table("test-language", settings.ask([LABELLED]))
    assert [run.prompts for run in table.runs if run.classifier == "zero-shot"] == [str(own), "none", "one", "80"]


def test_the_loss_table_has_noclip() -> None:
    arms = by_arm(make_table("loss", ask(TEXTS_ONLY, preset="paper")))
    assert list(arms) == ["clip", "simclr", "noclip", "clip-named", "text-matched"]
    assert arms["simclr"].pick == arms["clip"].pick
    assert arms["noclip"].init == arms["simclr"].name
    assert arms["noclip"].pick.labels == arms["text-matched"].pick.labels == FROM_TEXT
    assert arms["clip-named"].pick == replace(arms["clip"].pick, named=True)
    assert arms["noclip"].recipe == "finetune"
    scratch = arms["text-matched"]
    assert (scratch.recipe, scratch.init, scratch.steps_of) == ("supervised-matched", None, arms["clip"].name)


def differences_of(factor: str) -> dict[tuple[str, str], dict[str, Values]]:
    """What differs in each comparison at the paper's size, by the comparison's arms."""
    table = make_table(factor, ask(LABELLED, preset="paper"))
    made = planned(table, 4000)
    return {(each.first, each.second): differences(each, table, made) for each in table.comparisons}


def test_what_differs_is_read_off_the_recipes() -> None:
    language = differences_of("train-language")
    assert describe_differences(language["clip", "supervised-matched"]) == (
        "They differ in one thing: objective: contrastive on captions (title tags description), zero-shot (80) and "
        "supervised on labels, head."
    )
    own = language["clip", "supervised"]
    assert (own["optimiser"], own["nesterov"]) == (("adamw", "sgd"), ("-", "yes"))
    assert own["images"] == ("4,000, each seen 24.6 times", "4,000, each seen 86.4 times")
    assert not {"crop", "crop_scale", "flip", "mixup", "label_smoothing", "data", "rows"} & own.keys()
    noclip = differences_of("loss")["clip", "noclip"]
    assert noclip["starts from"] == ("random weights", "micro-simclr-s0")
    assert noclip["crop_scale"] == ("0.9 1", "0.08 1")


@pytest.mark.parametrize(
    ("change", "kind"), [({"trained": Rows(4000, "other ids")}, "images"), ({"steps": 1}, "steps")]
)
def test_arms_that_are_unequal_for_one_seed_are_refused(change: dict[str, Any], kind: str) -> None:
    table = make_table("train-language", ask(LABELLED, seeds=(0, 1)))
    made = planned(table, 4000)
    made["micro-supervised-s1"] = replace(made["micro-supervised-s1"], **change)
    with pytest.raises(InputError, match=f"have to share their {kind} and do not"):
        check_fairness(table, made)


def test_what_arms_share_is_said() -> None:
    table = make_table("loss", ask(LABELLED))
    made = planned(table, 4000)
    lines = check_fairness(table, made)
    assert lines[0] == "clip and supervised-matched share images, steps, seed"
    assert lines[2] == (
        "clip and noclip share seed; not images, steps; noclip starts from micro-simclr-s0, whose steps come on top"
    )


@pytest.mark.parametrize(
    ("factor", "datasets", "words"),
    [
        ("train-language", (LABELLED, LABELLED), "takes one labelled data set with captions, and 2 data sets were"),
        ("train-language", (TEXTS_ONLY,), "label-by-text"),
        ("test-language", (TEXTS_ONLY,), "give a labelled data set"),
        ("distribution", (LABELLED,), "give two data sets or more"),
        ("size", (TrainingSet("few", 6, True),), "6 images are too few"),
    ],
)
def test_a_table_of_wrong_data_is_refused(factor: str, datasets: tuple[TrainingSet, ...], words: str) -> None:
    preset = PRESETS["paper"]
    fewest = min(each.rows for each in datasets)
    with pytest.raises(InputError, match=words):
        make_table(factor, Ask(datasets, preset.for_rows(fewest), (0,)))


def test_recipes_keep_what_they_are_and_take_the_runs_sizes() -> None:
    arms = by_arm(make_table("train-language", ask(LABELLED, preset="paper")))
    equal, clip = (make_recipe(arms[arm], SETTINGS) for arm in ("supervised-matched", "clip"))
    assert replace(equal, objective="contrastive", caption=clip.caption) == clip
    shorter = make_recipe(replace(arms["supervised"], batch_size=1024, epochs=32), SETTINGS)
    assert (shorter.lr, shorter.milestones) == (0.4, (11, 18, 25))
    assert make_recipe(arms["clip-title"], SETTINGS).caption == "title"
    asked = replace(SETTINGS, model="ViT-B-32", precision="bf16-mixed", accumulate=2)
    changed = make_recipe(arms["clip"], asked)
    assert (changed.model, changed.precision, changed.accumulate) == ("ViT-B-32", "bf16-mixed", 2)


@pytest.mark.parametrize(
    ("data", "arm", "model", "top1"),
    [
        ("yfcc15m", "clip", "RN50", [32.75, 31.3]),
        ("yfcc", "noclip", "RN50", [35.7]),
        ("imagenet-captions", "clip", "RN50", [18.7]),
        ("yfcc15m", "clip-1853674", "RN50", []),
        ("yfcc15m", "clip", "micro", []),
    ],
)
def test_published_numbers_are_for_the_papers_model_on_known_data(
    data: str, arm: str, model: str, top1: list[float]
) -> None:
    run = replace(make_table("size", ask(TEXTS_ONLY, preset="paper")).runs[0], data=data, stem=arm)
    test_set = "objectnet" if data == "imagenet-captions" else "imagenet"
    found = [each for each in published_for(run, model, TEXTS_ONLY.rows) if each.test_set == test_set]
    assert [each.top1 for each in found] == top1
    assert all("unnamed loss" in each.source for each in found if each.top1 == 18.7)
    assert not published_for(run, model, TEXTS_ONLY.rows + 1), "a part of the data"
