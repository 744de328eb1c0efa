"""Write report.md: for each factor its table, figure, samples, and a sentence for each comparison."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from imagenet_captions.ablations.plan import describe_differences
from imagenet_captions.ablations.published import published_for
from imagenet_captions.ablations.settings import DOMAIN
from imagenet_captions.errors import shortened
from imagenet_captions.evaluation.drawing import (
    COLORS,
    IDENTITY,
    LINE,
    MARKERS,
    new_figure,
    set_axes,
    to_logits,
)
from imagenet_captions.evaluation.evaluate import results_of
from imagenet_captions.evaluation.intervals import clopper_pearson, middle
from imagenet_captions.evaluation.robustness.fits import inverse_logit, logit
from imagenet_captions.evaluation.robustness.measure import measure_robustness, write_notes
from imagenet_captions.evaluation.robustness.output import draw_robustness, format_robustness
from imagenet_captions.evaluation.robustness.tables import IMAGENET, SHIFTS, Result, read_published
from imagenet_captions.storage.files import write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
        baseline = {
            name: result
            for factor in factors
            for name, result in factor.results.items()
            if self.micro and result.metrics and result.run.recipe == "micro-supervised"
        }
        rows: list[Row] = []
        lines = [{} if factor.table.factor == DOMAIN else baseline for factor in factors]  # not on held-out classes
        for factor, line in zip(factors, lines, strict=True):
            rows += [
                *compare_arms(factor, self.tests, self.micro, line),
                *compare_curves(factor, self.tests, self.micro),
            ]
        rows = adjust(rows)
        for factor, line in zip(factors, lines, strict=True):
            own = [row for row in rows if row.factor == factor.table.factor]
            paragraphs += self._section(factor, line, own)
        write_text(path.with_name(COMPARISONS), write_rows(rows))
        write_text(path, "\n\n".join(filter(None, paragraphs)) + "\n")

    def _section(self, factor: FactorResult, baseline: Mapping[str, RunResult], rows: Sequence[Row]) -> list[str]:
        """Return the paragraphs of a factor."""
        name = factor.table.factor
        failures = [result for result in factor.results.values() if result.failure]
        parts = [
            f"## {name}: {_QUESTIONS[name]}",
            f"### {name}: runs",
            self._runs(factor),
            "\n".join(factor.notes),
        ]
        parts.append("\n".join(f"- **{escape(each.run.name)} failed:** {escape(each.failure)}" for each in failures))
        if factor.tested_arms():
            parts.append(f"### {name}: effective robustness")
            parts += self._in_miniature(factor, baseline) if self.micro else self._by_testbed(factor)
        parts += [
            f"### {name}: what the models were given",
            _samples(factor),
            f"### {name}: comparisons",
        ]
        parts.append(escape(factor_sentence(rows), longest=4000))
        for comparison, shared, apart in zip(factor.table.comparisons, factor.shared, factor.apart, strict=True):
            parts += [
                f"**{comparison.question}** ({shared}.)",
                escape(describe_differences(apart), longest=4000),
            ]
            own = [row for row in rows if (row.first, row.second) == (comparison.first, comparison.second)]
            parts.append("\n".join(f"- {sentence(row)}" for row in own) or "- Not compared: one of the arms failed.")
        for curves in factor.table.curves:
            own = [row for row in rows if (row.first, row.second) == (curves.first, curves.second)]
            sizes = " and ".join(map(str, map(len, curves.arms)))
            parts += [
                f"**{curves.question}** ({escape(curves.first)} and {escape(curves.second)}, along {sizes} sizes.)",
                "\n".join(f"- {sentence(row)}" for row in own)
                or "- Not compared: fewer than three sizes are finished, or no test set has a shift.",
            ]
        matched = [row for row in rows if row.kind == MATCHED and row.images]
        if matched:
            cells = [
                [
                    *map(escape, (row.first, row.second, row.quantity)),
                    f"{row.value:+.1f} \\[{row.low:+.1f}, {row.high:+.1f}\\]",
                ]
                for row in matched
            ]
            parts.append(table(["arm", "other arm", "quantity", "difference in points"], cells, right=(3,)))
        return parts

    def _runs(self, factor: FactorResult) -> str:
        columns = [
            "arm",
            "seed",
            "images",
            "steps",
            "images seen",
            "objective",
            "starts from",
            "classifier",
        ]
        rows = []
        for result in factor.results.values():
            run, planned = result.run, result.planned
            how = " ".join(filter(None, (run.classifier, run.prompts))) or "none: a stage"
            counts = [f"{count:,}" for count in (planned.images, planned.steps, planned.seen)]
            start = run.init or run.model_of or "random weights"
            published = published_for(run, planned.recipe.model, self.data.get(run.data, 0))
            cells = [run.arm, str(run.seed), *counts, run.objective, start, how]
            accuracies = [_accuracy(result, each) for each in self.tests]
            rows.append([*map(escape, cells), *accuracies, escape("; ".join(map(str, published))) or "—"])
        return table([*columns, *map(escape, self.tests), "published"], rows, right=(1, 2, 3, 4))

    def _in_miniature(self, factor: FactorResult, baseline: Mapping[str, RunResult]) -> list[str]:
        clean, *shifts = self.tests
        tested = {result.run.name: result for arm in factor.tested_arms().values() for result in arm}
        others = {name: result for name, result in baseline.items() if name not in tested}
        shown = [(result.run.arm, result) for result in tested.values()]
        shown += [(f"{result.run.arm} (other factor)", result) for result in others.values()]
        answers = {name: result.answers for name, result in {**baseline, **tested}.items()}
        measured = above_line(answers, list(baseline), clean, shifts)
        figure = f"figure-{factor.table.factor}.svg"
        line = [] if measured is None else list(baseline)
        draw_shifts(shown, line, clean, shifts, self.folder / figure)
        parts = [f"![accuracy under the shifts against accuracy without]({figure})"]
        if factor.table.factor == DOMAIN:
            return [
                *parts,
                "Points are accuracies on the held-out classes, for which there is no line.",
            ]
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
            value = f"{own:+.1f} \\[{low:+.1f}, {high:+.1f}\\]"
            rows.append([escape(result.run.arm), str(result.run.seed), value, note])
        return [
            *parts,
            f"Values are percentage points above the line through the {len(baseline)} supervised runs, averaged over "
            f"{len(shifts)} shifts. The intervals come from resampling test images, and seeds if there are several. "
            "If an interval includes 0, the arm may lie on the line. Outside the accuracies of those runs, the line is "
            "extrapolated and less reliable.",
            table(["arm", "seed", "effective robustness, in miniature", ""], rows, right=(1,)),
        ]

    def _by_testbed(self, factor: FactorResult) -> list[str]:
        """Draw the figure of a factor beside the report, and return the paragraphs that show it and the table."""
        families = {
            arm: name
            for curves in factor.table.curves
            for name, arms in zip((curves.first, curves.second), curves.arms, strict=True)
            for arm in arms
        }
        results = [
            _as_result(result, families.get(name, name)) for name, arm in factor.tested_arms().items() for result in arm
        ]
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


def _accuracy(result: RunResult, test_set: str) -> str:
    if not result.metrics:
        return "failed" if result.failure else "—"
    value, images = result.top1(test_set)
    low, high = clopper_pearson(value, images)
    return f"{value:.1f} \\[{low:.1f}, {high:.1f}\\]"


def _as_result(result: RunResult, family: str) -> Result:
    """Return one run as a row of a results table, in percent."""
    found = results_of(result.metrics)
    return Result(
        f"{result.run.arm} (seed {result.run.seed})",
        {name: 100 * top1 for name, (top1, _) in found.items()},
        family=family,
        images={name: images for name, (_, images) in found.items()},
    )


def _samples(factor: FactorResult) -> str:
    rows = []
    for arm, found in factor.samples.items():
        for sample in found:
            pictures = " ".join(f'<img src="samples/{name}" width="96">' for name in sample.pictures)
            rows.append(
                [
                    escape(arm),
                    pictures or "—",
                    escape(sample.text) or "—",
                    escape(sample.label) or "—",
                ]
            )
    return table(["arm", "image", "text", "class"], rows)


def escape(text: str, longest: int = 500) -> str:
    """Return a text that Markdown shows unchanged; invisible characters become their number, such as \\x0a.

    >>> escape("<b>*me*</b>")
    '&lt;b&gt;\\\\*me\\\\*&lt;/b&gt;'
    """
    cut = text if len(text) <= longest else f"{text[:longest]}… ({len(text):,} characters)"
    seen = _HIDDEN.sub(lambda found: f"\\x{ord(found[0]):02x}", cut)
    return html.escape(_MARKUP.sub(r"\\\1", seen), quote=False)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Return a table of cells that are Markdown already; the columns `right` are aligned right."""
    lines = ["| " + " | ".join(columns) + " |"]
    lines.append("|" + "|".join("---:" if at in right else "---" for at in range(len(columns))) + "|")
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def draw_shifts(
    shown: Sequence[tuple[str, RunResult]],
    baseline: Sequence[str],
    clean: str,
    shifts: Sequence[str],
    path: Path,
) -> None:
    """Draw a panel for each shift and one for their mean; the same results give the same bytes.

    `shown` are the runs by their name in the legend. The line through the baseline's is drawn where there are three.
    """
    arms = list(dict.fromkeys(arm for arm, _ in shown))
    panels = {shift: [shift] for shift in shifts}
    if len(shifts) > 1:
        panels["mean of the shifts"] = list(shifts)
    in_legend = 3 if max(map(len, arms)) < 34 else 2
    size = (4.0 * len(panels) + 0.4, 4.2 + 0.2 * math.ceil((len(arms) + 2) / in_legend))
    handles: dict[str, Any] = {}
    with new_figure(path, path.suffix, (1, len(panels)), size) as (figure, all_axes):
        for axes, (title, parts) in zip(all_axes, panels.items(), strict=True):
            handles |= _draw_panel(axes, shown, arms, baseline, clean, parts)
            axes.set_title(title, fontweight="bold")
            axes.set_xlabel(f"{clean} (top-1, %)")
            axes.set_ylabel(f"{title} (top-1, %)")
        names = [shortened(name, 60).replace("$", r"\$") for name in handles]
        figure.legend(
            list(handles.values()),
            names,
            loc="outside lower center",
            ncols=in_legend,
            frameon=False,
        )


def _draw_panel(
    axes: Axes,
    shown: Sequence[tuple[str, RunResult]],
    arms: Sequence[str],
    baseline: Sequence[str],
    clean: str,
    parts: Sequence[str],
) -> dict[str, Any]:
    """Draw the accuracies on one shift, or their mean over several, and return the entries of the legend."""
    handles: dict[str, Any] = {}
    x = np.array([result.top1(clean)[0] for _, result in shown])
    each = np.array([[result.top1(shift)[0] for shift in parts] for _, result in shown])
    y = each.mean(axis=1)
    for at_x, at_y, (arm, result) in zip(x, y, shown, strict=True):
        number = arms.index(arm)
        color = COLORS[number % len(COLORS)]
        if len(parts) == 1:
            low, high = clopper_pearson(at_y, result.top1(clean)[1])
            ends = to_logits([(at_x, low), (at_x, high)])
            axes.plot(*ends, color=color, linewidth=1, alpha=0.6, zorder=3)
        (handles[arm],) = axes.plot(
            *to_logits([(at_x, at_y)]),
            linestyle="",
            color=color,
            marker=MARKERS[number % len(MARKERS)],
            markersize=6.5,
            markeredgecolor="white",
            zorder=4,
        )
    left, right = max(0.2, float(x.min()) - 6), min(99.8, float(x.max()) + 6)
    bottom, top = max(0.2, float(y.min()) - 6), min(99.8, float(y.max()) + 6)
    grid = np.linspace(logit(left), logit(right), 60)
    identity, line = "y = x: nothing is lost", "line through the supervised runs"
    (handles[identity],) = axes.plot(grid, grid, color=IDENTITY, linewidth=1, linestyle=(0, (4, 3)))
    base = np.array([result.run.name in baseline for _, result in shown])
    if base.sum() >= FEWEST and np.ptp(x[base]):
        lines = [line_through(x[base] / 100, column / 100) for column in each[base].T]
        curve = np.mean([through(inverse_logit(grid) / 100) for through in lines], axis=0)
        (handles[line],) = axes.plot(grid, logit(100 * curve), color=LINE, linewidth=1.4)
    set_axes(axes, (left, right), (bottom, top))
    return handles
