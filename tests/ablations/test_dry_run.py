"""What a dry run and the docs say, and the report of the paper's preset, without training a ResNet-50."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagenet_captions.ablations.comparing import FactorResult, RunResult, factor_sentence, sentence
from imagenet_captions.ablations.factors import make_table
from imagenet_captions.ablations.inputs import Rows
from imagenet_captions.ablations.plan import describe, plan_runs
from imagenet_captions.ablations.report import Report
from imagenet_captions.ablations.runs import PRESETS, Ask, TrainingSet
from imagenet_captions.ablations.settings import EVERY_FACTOR, FACTORS, AblateSettings
from imagenet_captions.errors import InputError
from tests.ablations.made import read_rows, write_micro_set
from tests.command_line import understood


@pytest.fixture
def settings(tmp_path: Path) -> AblateSettings:
    return AblateSettings(("loss",), {"yfcc15m": write_micro_set(tmp_path / "y.parquet", 8)}, tmp_path / "out")


def test_the_papers_dry_run_has_runs_hours_and_published_numbers(settings: AblateSettings) -> None:
    shown = describe(replace(settings, precision="16-mixed", devices=2))
    assert not settings.out.exists()
    lines = shown.splitlines()
    assert lines[0] == "loss: 7 runs"
    assert "GPU, reported" in lines[1]
    told = " ".join(shown.split())
    assert "contrastive RN50, recipe contrastive, data yfcc15m, test zero-shot 80" in told
    assert "from yfcc15m-simclr-s0" in told
    clip = next(line for line in lines if line.startswith("  yfcc15m-clip-s0 "))
    assert re.split("  +", clip)[2:5] == ["up to 24", "up to 32", "up to 768"], "fewer than a batch, in 32 epochs"
    assert "768  ≤ 0.1 min V100" in shown
    assert "yfcc15m-clip-s0 will be compared with: imagenet 32.75 % (open_clip docs/openclip_results.csv" in told
    assert "GPU hours from what others reported of one V100: 252 images/s (open_clip issue 15" in told


def test_a_plan_estimates_no_time_without_a_report(settings: AblateSettings) -> None:
    shown = describe(settings)
    assert "GPU hours were reported for `precision='16-mixed'` and RN50 alone" in shown
    assert "reported" not in describe(replace(settings, model="ViT-B-32")), "others reported a ResNet-50"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model": "RN5"}, "no model to build is called 'RN5'; did you mean RN50"),
        ({"model": "timm:resnet5"}, "no timm model is called 'resnet5'"),
        ({"tests": {"imagenet": Path("nowhere")}}, "`tests` imagenet: nowhere does not exist"),
        ({"devices": 3, "nodes": 2}, "`batch_size` 1024 cannot be split into 6 equal"),
        ({"factors": ("domain",), "data": {"a": Path("463622")}}, "is not there; give data that is"),
    ],
)
def test_a_plan_refuses_what_a_run_would(settings: AblateSettings, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        describe(replace(settings, **change))


@pytest.mark.parametrize("factor", FACTORS)
def test_every_factor_has_a_plan(settings: AblateSettings, tmp_path: Path, factor: str) -> None:
    data = {**settings.data}
    if factor == "distribution":
        data["cc12m"] = write_micro_set(tmp_path / "c.parquet", 9)
    told = " ".join(describe(replace(settings, factors=(factor,), data=data)).split())
    assert told.startswith(f"{factor}: ")
    assert "imagenet 32.75 %" in told or factor == "train-language", "there the run needs titles, and is another"
    assert "test linear-probe, of yfcc15m-clip-s0, not trained" in told or factor != "test-language"


def test_images_that_are_not_there_yet_can_be_planned_for(settings: AblateSettings) -> None:
    shown = describe(AblateSettings(("loss",), {"yfcc15m": Path("14829396")}, settings.out, precision="16-mixed"))
    clip = next(line for line in shown.splitlines() if line.startswith("  yfcc15m-clip-s0 "))
    assert re.split("  +", clip)[2:5] == ["up to 14,829,396", "up to 463,392", "up to 474,513,408"]
    assert clip.endswith("474,513,408  ≤ 523 h V100"), "252 images a second"
    changed = replace(settings, factors=("train-language",), data={"imagenet-captions": Path("463622")})
    told = " ".join(describe(changed).split())
    assert "clip and supervised-matched: Do captions" in told, "these have labels"


def test_bounds_are_not_compared_as_equal(settings: AblateSettings) -> None:
    data = {"yfcc": Path("14829396"), "imagenet-captions": Path("463622")}
    told = " ".join(describe(AblateSettings(("distribution",), data, settings.out)).split())
    assert "yfcc-clip-463622-s0 463,622 14,464 14,811,136" in told, "a part of more rows is no bound"
    assert "yfcc-text-labels-463622-s0 up to 463,622 14,464 14,811,136" in told, "as many steps as CLIP's"
    assert "imagenet-captions-clip-s0 up to 463,622 up to 14,464 up to 14,811,136" in told
    assert "images: 463,622 and up to 463,622; data: yfcc and imagenet-captions;" in told
    labels = told.partition("On imagenet-captions: do captions do better than labels, on the same images?")[2]
    assert labels.startswith(" They differ in one thing: objective: "), "one rule chooses the rows of both"
    assert "5 trainings, up to 74,055,680 images seen" in told


def write_report(folder: Path, factor: str, data: TrainingSet, sets: tuple[str, ...]) -> str:
    """The report of the paper's preset of models with random answers, the fewer right the later the set."""
    table = make_table(factor, Ask((data,), PRESETS["paper"], (0,)))
    generator = np.random.default_rng(0)
    settings = AblateSettings((factor,), {}, folder)
    results = {}
    for name, planned in plan_runs(settings, [table], lambda *_: Rows(data.rows, "ids")).items():
        answers = {each: generator.random(2000) < 0.3 / (at + 1) for at, each in enumerate(sets)}
        results[name] = RunResult(**vars(planned), answers=answers)
    result = FactorResult(table, results, {})
    Report(folder, False, 1, {data.name: data.rows}, sets).write(folder / "report.md", [result])
    return (folder / "report.md").read_text(encoding="utf-8")


def test_the_papers_report_measures_by_the_testbeds_line(tmp_path: Path) -> None:
    sets = ("imagenet", "imagenet-v2", "imagenet-r", "imagenet-sketch", "objectnet")
    report = write_report(tmp_path, "train-language", TrainingSet("imagenet-captions", 448_896, True), sets)
    assert (tmp_path / "figure-train-language.svg").is_file()
    for words in (
        "objectnet 18.7 % (Fang et al. 2022",
        "clip and supervised share images, seed; not steps",
        "in accuracy on imagenet-v2",
        "In effective robustness, the mean of imagenet-v2, imagenet-r, imagenet-sketch, objectnet, ",
    ):
        assert words in report
    rows = read_rows((tmp_path / "comparisons.csv").read_text(encoding="utf-8"))
    assert all(sentence(row) in report for row in rows)
    assert factor_sentence(rows) in report
    assert "mean accuracy under the shifts" not in report, "the natural shifts are other images"


def test_without_imagenets_sets_the_paper_report_says_what_it_takes(tmp_path: Path) -> None:
    report = write_report(tmp_path, "size", TrainingSet("a", 100, False), ("mine",))
    assert "Not measured: give --on imagenet=PATH" in report


DOCS = Path(__file__).parents[2] / "docs"
HOW_TO = (DOCS / "how-to" / "ablate.md").read_text(encoding="utf-8")
DESIGN = (DOCS / "design" / "experiments.md").read_text(encoding="utf-8")


def test_every_factor_has_a_section_with_its_arms() -> None:
    sections = dict(re.findall(r"^## (\S+): .*?\n(.*?)(?=^## |\Z)", DESIGN, re.DOTALL | re.MULTILINE))
    assert sorted(sections) == sorted(EVERY_FACTOR)
    assert all("**The arms**" in text for text in sections.values())
    assert all(f"| `{factor}` |" in HOW_TO for factor in EVERY_FACTOR)


def test_the_commands_are_understood() -> None:
    blocks = "".join(re.findall(r"```\n(.*?)```", HOW_TO, re.DOTALL)).replace("\\\n", " ")
    for line in blocks.splitlines():
        program, name, *arguments = shlex.split(line)
        assert (program, name) == ("imagenet-captions", "ablate")
        values = understood(name, *arguments)
        assert values["settings"].data
        assert values.get("dry_run") or values["settings"].tests
