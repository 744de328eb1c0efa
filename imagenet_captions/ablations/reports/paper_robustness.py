"""Effective robustness of an ablation's arms by the testbed's line, if they were tested on ImageNet's sets."""

from __future__ import annotations

from pathlib import Path

from imagenet_captions.ablations.reports.markdown import escape
from imagenet_captions.ablations.reports.paper_effective import BASELINE
from imagenet_captions.ablations.reports.results import FactorResult, RunResult
from imagenet_captions.evaluation.evaluate import results_of
from imagenet_captions.evaluation.robustness.figure import draw_robustness
from imagenet_captions.evaluation.robustness.measure import measure_robustness, write_notes
from imagenet_captions.evaluation.robustness.output import format_robustness
from imagenet_captions.evaluation.robustness.tables import IMAGENET, SHIFTS, Result, read_published


def draw_paper(factor: FactorResult, folder: Path) -> list[str]:
    """Draw the figure of a factor beside the report, and return the lines that show it and the table."""
    results = [as_result(result) for arm in factor.tested_arms().values() for result in arm]
    columns = set.intersection(*(set(result.accuracies) for result in results))
    if IMAGENET not in columns or not any(shift.column in columns for shift in SHIFTS):
        wanted = ", ".join(shift.column for shift in SHIFTS)
        return [f"Not measured: give --on {IMAGENET}=PATH and at least one of {escape(wanted)}.", ""]
    figure = f"figure-{factor.table.factor}.svg"
    report = measure_robustness(
        results, BASELINE, all_classes=True
    )  # as the published models in the figure are measured
    draw_robustness(report, folder / figure, read_published().rows)
    table = format_robustness(report).replace("```", "'''")
    return [
        f"![effective robustness]({figure})",
        "",
        *(f"- {escape(note)}" for note in write_notes(report)),
        "",
        "```text",
        table,
        "```",
        "",
    ]


def as_result(result: RunResult) -> Result:
    """Return one run as a row of a results table, in percent; each seed is a model in its arm's family."""
    found = results_of(result.metrics)
    return Result(
        model=f"{result.run.arm} (seed {result.run.seed})",
        accuracies={name: 100 * top1 for name, (top1, _) in found.items()},
        family=result.run.arm,
        images={name: images for name, (_, images) in found.items()},
    )
