"""Write report.md: for each factor its table, figure, samples, and a sentence for each comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imagenet_captions.ablations.domain.mixtures import DOMAIN
from imagenet_captions.ablations.micro.figure import Point, draw_shifts
from imagenet_captions.ablations.micro.robustness import FEWEST, above_line, intervals
from imagenet_captions.ablations.reports.comparisons import compare_arms, comparison_lines
from imagenet_captions.ablations.reports.markdown import escape, table
from imagenet_captions.ablations.reports.paper_robustness import draw_paper
from imagenet_captions.ablations.reports.published import published_for
from imagenet_captions.ablations.reports.results import FactorResult, RunResult, TextSample
from imagenet_captions.ablations.reports.sentences import Row, write_rows
from imagenet_captions.evaluation.intervals import clopper_pearson
from imagenet_captions.storage.files import write_text

if TYPE_CHECKING:
    from imagenet_captions.ablations.run import Experiment

_MICRO = (
    "This is the micro preset: small images, a small model, minutes. **The shifts are blur, noise and less contrast on "
    "the test images themselves; they stand in for the natural shifts of the paper, and are not natural.** A seeded "
    "function makes the captions from the class and the looks of each image. The results show that the experiment "
    "works; they are not evidence for or against the paper's claims."
)
_INTERVALS = (
    "Intervals are at 95 %: about one in twenty excludes 0 even if there is no difference. Those of accuracies are "
    "Clopper and Pearson's; those of differences in accuracy are Bonett and Price's for the same test images; those of "
    "differences in effective robustness come from a bootstrap over test images, seeds and the baseline's fit. "
    "comparisons.csv has every number. Accuracy alone is not robustness; it is listed beside it. "
    "Intervals cover the choice of test images and the fit; only several seeds show how much a number varies from one "
    "training to the next"
)
COMPARISONS = "comparisons.csv"
_QUESTIONS = {
    "size": "Does the number of training images matter?",
    "distribution": "Does it matter where the training images come from?",
    "train-language": "Does language at training time matter?",
    "test-language": "Does language at test time matter?",
    "loss": "Does the contrastive loss matter?",
    DOMAIN: "Do the domains seen in training matter?",
}


@dataclass(frozen=True)
class ReportFacts:
    """The facts of the whole report: the preset, the data, the test sets in order, and the number of seeds."""

    preset: str
    data: Mapping[str, int]
    tests: tuple[str, ...]
    seeds: int
    samples: str = "samples"

    @property
    def micro(self) -> bool:
        """Whether the shifts are the clean set's own images."""
        return self.preset == "micro"

    @classmethod
    def of(cls, experiment: Experiment) -> ReportFacts:
        """Return the facts of an experiment."""
        settings = experiment.settings
        data = {name: len(experiment.inputs.examples(path)) for name, path in experiment.inputs.datasets.items()}
        return cls(settings.preset, data, tuple(experiment.tests), settings.seeds)


def write_report(path: Path, factors: Sequence[FactorResult], facts: ReportFacts) -> None:
    """Write the report, its figures, and comparisons.csv, from which its sentences are made."""
    lines = ["# Ablation report", ""]
    if facts.micro:
        lines += [_MICRO, ""]
    data = ", ".join(f"{escape(name)} ({rows:,} images)" for name, rows in facts.data.items())
    lines += [f"Data: {data}. Test sets: {escape(', '.join(facts.tests))}. Trainings an arm: {facts.seeds}.", ""]
    spread = "" if facts.seeds > 1 else ", and there is one training an arm"
    lines += [f"{_INTERVALS}{spread}.", ""]
    baseline = _baseline(factors) if facts.micro else {}
    rows: list[Row] = []
    for factor in factors:
        line = {} if factor.table.factor == DOMAIN else baseline  # the line is about all classes, not the held-out ones
        found = compare_arms(factor, facts.tests, facts.micro, line)
        lines += _section(factor, facts, path.parent, line, found)
        rows += found
    write_text(path.with_name(COMPARISONS), write_rows(rows))
    write_text(path, "\n".join(lines).rstrip() + "\n")


def _section(
    factor: FactorResult, facts: ReportFacts, folder: Path, baseline: Mapping[str, RunResult], rows: Sequence[Row]
) -> list[str]:
    name = factor.table.factor
    lines = [f"## {name}: {_QUESTIONS[name]}", "", f"### {name}: runs", "", _runs(factor, facts), ""]
    lines += [*factor.notes, ""] if factor.notes else []
    failures = [result for result in factor.results.values() if result.failure]
    lines += [f"- **{escape(result.run.name)} failed:** {escape(result.failure)}" for result in failures]
    lines += ["" for _ in failures[:1]]
    if factor.tested_arms():
        lines += [f"### {name}: effective robustness", ""]
        lines += _micro_robustness(factor, facts, folder, baseline) if facts.micro else draw_paper(factor, folder)
    lines += [f"### {name}: what the models were given", "", _samples(factor.samples, facts), ""]
    lines += [f"### {name}: comparisons", *comparison_lines(factor, rows), ""]
    return lines


def _runs(factor: FactorResult, facts: ReportFacts) -> str:
    columns = ["arm", "seed", "images", "steps", "images seen", "objective", "starts from", "classifier"]
    columns += [escape(name) for name in facts.tests] + ["published"]
    rows = []
    for result in factor.results.values():
        run, amount = result.run, result.amount
        how = " ".join(filter(None, (run.classifier, run.prompts))) or "none: a stage"
        row = [run.arm, str(run.seed), f"{amount.images:,}"]
        row += [
            f"{amount.steps:,}",
            f"{amount.seen:,}",
            run.objective,
            run.init or run.model_of or "random weights",
            how,
        ]
        rows.append([*map(escape, row), *(_accuracy(result, each) for each in facts.tests), _published(result, facts)])
    return table(columns, rows, right=(1, 2, 3, 4))


def _accuracy(result: RunResult, test_set: str) -> str:
    if not result.tested:
        return "failed" if result.failure else "—"
    value, images = result.top1(test_set)
    low, high = clopper_pearson(value, images)
    return f"{value:.1f} \\[{low:.1f}, {high:.1f}\\]"


def _published(result: RunResult, facts: ReportFacts) -> str:
    run = result.run
    if run.pick.rows is not None and run.pick.rows < facts.data.get(run.data, 0):
        return "—"
    return escape("; ".join(map(str, published_for(run.data, run.stem, result.model)))) or "—"


def _baseline(factors: Sequence[FactorResult]) -> dict[str, RunResult]:
    """Return the runs on labels by their own recipe, of all factors; the micro line goes through them."""
    return {
        result.run.name: result
        for factor in factors
        for result in factor.results.values()
        if result.tested and result.run.recipe == "micro-supervised"
    }


def _micro_robustness(
    factor: FactorResult, facts: ReportFacts, folder: Path, baseline: Mapping[str, RunResult]
) -> list[str]:
    clean, *shifts = facts.tests
    tested = {result.run.name: result for arm in factor.tested_arms().values() for result in arm}
    points = [_point(result, facts, result.run.arm, name in baseline) for name, result in tested.items()]
    others = [result for name, result in baseline.items() if name not in tested]
    points += [_point(result, facts, f"{result.run.arm} (other factor)", True) for result in others]
    figure = f"figure-{factor.table.factor}.svg"
    draw_shifts(points, clean, shifts, folder / figure)
    lines = [f"![accuracy under the shifts against accuracy without]({figure})", ""]
    answers = {name: result.answers for name, result in {**baseline, **tested}.items()}
    measured = above_line(answers, list(baseline), clean, shifts)
    above = intervals(measured)
    if factor.table.factor == DOMAIN:
        return [*lines, "Points are accuracies on the held-out classes, for which there is no line.", ""]
    if not above:
        return [
            *lines,
            f"Effective robustness was not measured: a line needs {FEWEST} supervised runs of different accuracy, and "
            f"there are {len(baseline)}. Run `ablate size` with the same --out to add them.",
            "",
        ]
    rows = []
    for name, result in tested.items():
        found = above[name]
        note = "outside the line's runs" if found.outside else "in the line" if name in baseline else ""
        rows.append(
            [
                escape(result.run.arm),
                str(result.run.seed),
                f"{found.value:+.1f} \\[{found.low:+.1f}, {found.high:+.1f}\\]",
                note,
            ]
        )
    return [
        *lines,
        f"Values are percentage points above the line through the {len(baseline)} supervised runs, averaged over "
        f"{len(shifts)} shifts. The intervals come from resampling test images, and seeds if there are several. "
        "If an interval includes 0, the arm may lie on the line. Outside the accuracies of those runs, the line is "
        "extrapolated and less reliable.",
        "",
        table(["arm", "seed", "effective robustness, in miniature", ""], rows, right=(1,)),
        "",
    ]


def _point(result: RunResult, facts: ReportFacts, arm: str, baseline: bool) -> Point:
    accuracies = {name: result.top1(name)[0] for name in facts.tests}
    return Point(arm, accuracies, result.top1(facts.tests[0])[1], baseline)


def _samples(samples: Mapping[str, Sequence[TextSample]], facts: ReportFacts) -> str:
    rows = []
    for arm, found in samples.items():
        for sample in found:
            pictures = " ".join(f'<img src="{facts.samples}/{name}" width="96">' for name in sample.pictures)
            rows.append([escape(arm), pictures or "—", escape(sample.text) or "—", escape(sample.label) or "—"])
    return table(["arm", "image", "text", "class"], rows)
