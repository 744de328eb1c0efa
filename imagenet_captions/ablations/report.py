"""Write report.md: for each factor its table, figure, samples, and a sentence for each comparison."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from imagenet_captions.ablations.comparing import (
    BASELINE,
    FEWEST,
    MATCHED,
    FactorResult,
    Row,
    RunResult,
    above_line,
    adjust,
    compare_arms,
    compare_curves,
    factor_sentence,
    line_through,
    sentence,
    write_rows,
)
from imagenet_captions.ablations.plan import check_fairness, describe_differences, differences, published_for
from imagenet_captions.ablations.runs import Comparison, Curves
from imagenet_captions.ablations.settings import DOMAIN
from imagenet_captions.errors import markdown_table
from imagenet_captions.evaluation.drawing import (
    COLORS,
    LINE,
    MARKERS,
    draw_identity,
    logit_panels,
    set_axes,
    to_logits,
)
from imagenet_captions.evaluation.intervals import clopper_pearson, middle
from imagenet_captions.evaluation.robustness.fits import inverse_logit, logit
from imagenet_captions.evaluation.robustness.measure import measure_robustness, write_notes
from imagenet_captions.evaluation.robustness.output import draw_robustness, format_robustness
from imagenet_captions.evaluation.robustness.tables import IMAGENET, SHIFTS, Result, read_published
from imagenet_captions.storage.files import write_text

COMPARISONS = "comparisons.csv"
_MICRO = (
    "This is the micro preset: small images, a small model, minutes. **The shifts are blur, noise and less contrast on "
    "the test images themselves; they stand in for the natural shifts of the paper, and are not natural.** A seeded "
    "function makes the captions from the class and the looks of each image. The results show that the experiment "
    "works; they are not evidence for or against the paper's claims."
)
_INTERVALS = (
    "Intervals are at 95 % and not adjusted for the number of comparisons. A verdict is given on the first quantity of "
    "each comparison: its p-value, adjusted by Holm for all verdicts of this report, is below 0.05. Intervals of "
    "accuracies are Clopper and Pearson's. comparisons.csv has every number. Accuracy alone is not robustness; it is "
    "listed beside it"
)
_SEVERAL = (
    "Differences are those of new trainings on new test images: their variance is that between seeds, and what images "
    "add to it (docs/how-to/ablate.md)."
)
_ONE = (
    "There is one training an arm, so a difference is one between two trained models and not between their recipes: "
    "another seed may turn it round. Intervals cover the choice of test images and the fit of the baseline."
)
_QUESTIONS = {
    "size": "Does the number of training images matter?",
    "distribution": "Does it matter where the training images come from?",
    "train-language": "Does language at training time matter?",
    "test-language": "Does language at test time matter?",
    "loss": "Does the contrastive loss matter?",
    DOMAIN: "Do the domains seen in training matter?",
}


_MARKUP = re.compile(r"([\\`*_\[\]{}|#~$@:])")
_HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


@dataclass(frozen=True)
class Report:
    """The report of an ablation in a folder: its preset and seeds, its data by size, and its test sets in order."""

    folder: Path
    micro: bool
    seeds: int
    data: Mapping[str, int]
    tests: Sequence[str]

    def write(self, path: Path, factors: Sequence[FactorResult]) -> None:
        """Write the report, its figures, and comparisons.csv, from which its sentences are made."""
        data = ", ".join(f"{escape(name)} ({rows:,} images)" for name, rows in self.data.items())
        paragraphs = [
            "# Ablation report",
            _MICRO if self.micro else "",
            f"Data: {data}. Test sets: {escape(', '.join(self.tests))}. Trainings an arm: {self.seeds}.",
            f"{_INTERVALS}. {_SEVERAL if self.seeds > 1 else _ONE}",
        ]
        # The micro line goes through the runs on labels by their own recipe, of all factors.
        results = {name: found for factor in factors for name, found in factor.results.items()}
        baseline = {
            name: found for name, found in results.items() if found.answers and found.run.recipe == "micro-supervised"
        }
        lines = [{} if factor.table.factor == DOMAIN else baseline for factor in factors]  # not on held-out classes
        rows: list[Row] = []
        for factor, line in zip(factors, lines, strict=True):
            rows += compare_arms(factor, self.tests, self.micro, line)
            rows += compare_curves(factor, self.tests, self.micro)
        rows = adjust(rows)
        for factor, line in zip(factors, lines, strict=True):
            own = [row for row in rows if row.factor == factor.table.factor]
            paragraphs += self._section(factor, line, own)
        write_text(path.with_name(COMPARISONS), write_rows(rows))
        write_text(path, "\n\n".join(filter(None, paragraphs)) + "\n")

    def _section(self, factor: FactorResult, baseline: Mapping[str, RunResult], rows: Sequence[Row]) -> list[str]:
        name = factor.table.factor
        failures = [result for result in factor.results.values() if result.failure]
        parts = [f"## {name}: {_QUESTIONS[name]}", f"### {name}: runs", self._runs(factor)]
        failed = [f"- **{escape(each.run.name)} failed:** {escape(each.failure)}" for each in failures]
        parts += ["\n".join(factor.notes), "\n".join(failed)]
        if factor.tested_arms():
            parts.append(f"### {name}: effective robustness")
            parts += self._in_miniature(factor, baseline) if self.micro else self._by_testbed(factor)
        samples = []
        for arm, sample in ((arm, sample) for arm, found in factor.samples.items() for sample in found):
            pictures = " ".join(f'<img src="samples/{name}" width="96">' for name in sample.pictures)
            texts = escape(arm), pictures, escape(sample.text), escape(sample.label)
            samples.append([text or "—" for text in texts])
        given = markdown_table(["arm", "image", "text", "class"], samples)
        parts += [f"### {name}: what the models were given", given]
        parts += [f"### {name}: comparisons", escape(factor_sentence(rows), longest=4000)]

        equal = check_fairness(factor.table, factor.results)
        compared: list[tuple[Comparison | Curves, str, str, str]] = []
        for comparison, shared in zip(factor.table.comparisons, equal, strict=True):
            apart = describe_differences(differences(comparison, factor.table, factor.results))
            compared.append((comparison, shared, apart, "one of the arms failed"))
        missing = "fewer than three sizes are finished, or no test set has a shift"
        compared += [(curves, curves.title, "", missing) for curves in factor.table.curves]
        for each, shared, apart, otherwise in compared:
            own = [row for row in rows if (row.first, row.second) == (each.first, each.second)]
            sentences = "\n".join(f"- {sentence(row)}" for row in own)
            parts += [f"**{each.question}** ({shared}.)", escape(apart, longest=4000)]
            parts.append(sentences or f"- Not compared: {otherwise}.")
        matched = [row for row in rows if row.kind == MATCHED and row.images]
        columns = ["arm", "other arm", "quantity", "difference in points"]
        cells = [[row.first, row.second, row.quantity, _within(row.value, row.low, row.high)] for row in matched]
        return [*parts, markdown_table(columns, cells) if cells else ""]

    def _runs(self, factor: FactorResult) -> str:
        columns = "arm,seed,images,steps,images seen,objective,starts from,classifier".split(",")
        rows = []
        for result in factor.results.values():
            run = result.run
            accuracies = dict.fromkeys(self.tests, "failed" if result.failure else "—")
            for name in result.answers.keys() & accuracies.keys():
                value, images = result.top1(name)
                low, high = clopper_pearson(value, images)
                accuracies[name] = f"{value:.1f} \\[{low:.1f}, {high:.1f}\\]"
            how = " ".join(filter(None, (run.classifier, run.prompts))) or "none: a stage"
            counts = [f"{count:,}" for count in (result.trained.count, result.steps, result.seen)]
            start = run.init or run.model_of or "random weights"
            published = published_for(run, result.recipe.model, self.data.get(run.data, 0))
            cells = [run.arm, str(run.seed), *counts, run.objective, start, how]
            cells = [*map(escape, cells), *accuracies.values()]
            rows.append([*cells, escape("; ".join(map(str, published))) or "—"])
        return markdown_table([*columns, *map(escape, self.tests), "published"], rows, right=(1, 2, 3, 4))

    def _in_miniature(self, factor: FactorResult, baseline: Mapping[str, RunResult]) -> list[str]:
        clean, *shifts = self.tests
        tested = {result.run.name: result for arm in factor.tested_arms().values() for result in arm}
        others = {name: result for name, result in baseline.items() if name not in tested}
        shown = [(result.run.arm, result) for result in tested.values()]
        shown += [(f"{result.run.arm} (other factor)", result) for result in others.values()]
        answers = {name: result.answers for name, result in {**baseline, **tested}.items()}
        measured = above_line(answers, list(baseline), clean, shifts)
        figure, line = f"figure-{factor.table.factor}.svg", [] if measured is None else list(baseline)
        draw_shifts(shown, line, clean, shifts, self.folder / figure)
        parts = [f"![accuracy under the shifts against accuracy without]({figure})"]
        if factor.table.factor == DOMAIN:
            return [*parts, "Points are accuracies on the held-out classes, for which there is no line."]
        if measured is None:
            return [
                *parts,
                f"Effective robustness was not measured: a line needs {FEWEST} supervised runs whose accuracies "
                f"differ by more than their noise, and there are {len(baseline)}. Arms are compared in accuracy. "
                "`ablate size` with the same --out, more --epochs and more --seeds add runs.",
            ]
        rows = []
        for name, result in tested.items():
            own, *draws = measured.values[name]
            low, high = middle(draws)
            note = "outside the line's runs" if measured.marks[name] else "in the line" if name in baseline else ""
            rows.append([escape(result.run.arm), str(result.run.seed), _within(own, low, high), note])
        return [
            *parts,
            f"Values are percentage points above the line through the {len(baseline)} supervised runs, averaged over "
            f"{len(shifts)} shifts. The intervals come from resampling test images, and seeds if there are several. "
            "If an interval includes 0, the arm may lie on the line. Outside the accuracies of those runs, the line is "
            "extrapolated and less reliable.",
            markdown_table(["arm", "seed", "effective robustness, in miniature", ""], rows, right=(1,)),
        ]

    def _by_testbed(self, factor: FactorResult) -> list[str]:
        """Draw the figure of a factor beside the report, and return the paragraphs that show it and the table."""
        families: dict[str, str] = {}
        for curves in factor.table.curves:
            families |= dict.fromkeys(curves.arms[0], curves.first) | dict.fromkeys(curves.arms[1], curves.second)
        results = []
        for result in chain.from_iterable(factor.tested_arms().values()):
            arm, found = result.run.arm, {test: result.top1(test) for test in result.answers}
            percent = {test: value for test, (value, _) in found.items()}
            images = {test: count for test, (_, count) in found.items()}
            model = f"{arm} (seed {result.run.seed})"
            results.append(Result(model, percent, family=families.get(arm, arm), images=images))
        columns = set.intersection(*(set(result.accuracies) for result in results))
        if IMAGENET not in columns or not any(shift.column in columns for shift in SHIFTS):
            wanted = escape(", ".join(shift.column for shift in SHIFTS))
            return [f"Not measured: give --on {IMAGENET}=PATH and at least one of {wanted}."]
        figure = f"figure-{factor.table.factor}.svg"
        report = measure_robustness(results, BASELINE, all_classes=True)  # as the published models in the figure are
        draw_robustness(report, self.folder / figure, read_published().rows)
        notes = "\n".join(f"- {escape(note)}" for note in write_notes(report))
        shown = format_robustness(report).replace("```", "'''")
        return [f"![effective robustness]({figure})", notes, f"```text\n{shown}\n```"]


def _within(value: float, low: float, high: float) -> str:
    return f"{value:+.1f} \\[{low:+.1f}, {high:+.1f}\\]"


def escape(text: str, longest: int = 500) -> str:
    """Return a text that Markdown shows unchanged; invisible characters become their number, such as \\x0a.

    >>> escape("<b>*me*</b>")
    '&lt;b&gt;\\\\*me\\\\*&lt;/b&gt;'
    """
    cut = text if len(text) <= longest else f"{text[:longest]}… ({len(text):,} characters)"
    seen = _HIDDEN.sub(lambda found: f"\\x{ord(found[0]):02x}", cut)
    return html.escape(_MARKUP.sub(r"\\\1", seen), quote=False)


def draw_shifts(
    shown: Sequence[tuple[str, RunResult]], baseline: Sequence[str], clean: str, shifts: Sequence[str], path: Path
) -> None:
    """Draw a panel for each shift and one for their mean; `shown` are the runs with their names in the legend."""
    arms = list(dict.fromkeys(arm for arm, _ in shown))
    panels = {shift: [shift] for shift in shifts}
    if len(shifts) > 1:
        panels["mean of the shifts"] = list(shifts)
    x = np.array([result.top1(clean)[0] for _, result in shown])
    base = np.array([result.run.name in baseline for _, result in shown])
    identity, line = "y = x: nothing is lost", "line through the supervised runs"
    with logit_panels(path, path.suffix, len(panels), [*arms, identity, line]) as (all_axes, handles):
        for axes, (title, parts) in zip(all_axes, panels.items(), strict=True):
            each = np.array([[result.top1(shift)[0] for shift in parts] for _, result in shown])
            y = each.mean(axis=1)
            for at_x, at_y, (arm, result) in zip(x, y, shown, strict=True):
                number = arms.index(arm)
                color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
                if len(parts) == 1:
                    ends = [(at_x, end) for end in clopper_pearson(at_y, result.top1(clean)[1])]
                    axes.plot(*to_logits(ends), color=color, linewidth=1, alpha=0.6, zorder=3)
                look: dict[str, Any] = {"color": color, "markersize": 6.5, "zorder": 4}
                point = to_logits([(at_x, at_y)])
                (handles[arm],) = axes.plot(*point, marker, markeredgecolor="white", **look)
            ends = [(float(at.min()) - 6, float(at.max()) + 6) for at in (x, y)]
            limits = [(max(0.2, low), min(99.8, high)) for low, high in ends]
            left, right = logit(limits[0]).tolist()
            grid = np.linspace(left, right, 60)
            handles[identity] = draw_identity(axes, grid)
            if base.any():
                lines = [line_through(x[base] / 100, column / 100) for column in each[base].T]
                curve = np.mean([through(inverse_logit(grid) / 100) for through in lines], axis=0)
                (handles[line],) = axes.plot(grid, logit(100 * curve), color=LINE, linewidth=1.4)
            set_axes(axes, title, clean, title, *limits)
