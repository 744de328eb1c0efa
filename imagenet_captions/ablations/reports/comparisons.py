"""The comparisons of a factor as rows: differences in effective robustness and in accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from imagenet_captions.ablations.micro.robustness import Measured, above_line, kept_log_odds
from imagenet_captions.ablations.reports.compare import Difference, difference, drawn_difference, mean_score
from imagenet_captions.ablations.reports.differences import describe_differences
from imagenet_captions.ablations.reports.markdown import escape
from imagenet_captions.ablations.reports.paper_effective import MEAN, effective_robustness, worst
from imagenet_captions.ablations.reports.results import FactorResult, RunResult
from imagenet_captions.ablations.reports.sentences import (
    ACCURACY,
    EFFECTIVE,
    LOG_ODDS,
    POINTS,
    Row,
    factor_sentence,
    sentence,
)
from imagenet_captions.ablations.table import Comparison

ON_LINE = "effective robustness (above the micro line, mean of the shifts)"
IN_LOG_ODDS = "what is kept of the log-odds under the shifts (their mean; there is no line to measure from)"


def compare_arms(
    factor: FactorResult, tests: Sequence[str], micro: bool, baseline: Mapping[str, RunResult]
) -> list[Row]:
    """Return the rows of every comparison whose arms were tested."""
    tested = factor.tested_arms()
    rows: list[Row] = []
    for comparison in factor.table.comparisons:
        if comparison.first in tested and comparison.second in tested:
            pairs = list(zip(factor.arm(comparison.first), factor.arm(comparison.second), strict=True))
            about = (tests[0], comparison.on) if comparison.on in tests[1:] else tests
            measured = _micro(pairs, about, baseline) if micro else _paper(pairs, tests)
            rows += _effective(factor.table.factor, comparison, pairs, measured)
            rows += _accuracies(factor.table.factor, comparison, pairs, about, micro and about is tests)
    return rows


def comparison_lines(factor: FactorResult, rows: Sequence[Row]) -> list[str]:
    """Return the report's lines: a sentence on the factor, then each comparison's question, differences and results."""
    summary = factor_sentence(rows)
    lines = ["", escape(summary, longest=4000)] if summary else []
    for comparison, shared, apart in zip(factor.table.comparisons, factor.shared, factor.apart, strict=True):
        lines += [
            "",
            f"**{comparison.question}** ({shared}.)",
            "",
            escape(describe_differences(apart), longest=4000),
            "",
        ]
        arms = comparison.first, comparison.second
        found = [sentence(row) for row in rows if (row.first, row.second) == arms]
        lines += [f"- {line}" for line in found] or ["- Not compared: one of the arms failed."]
    return lines


_Pairs = Sequence[tuple[RunResult, RunResult]]


class _Quantity(NamedTuple):
    """A quantity that arms are compared in; the factor's sentence is about the headline."""

    kind: str
    name: str
    unit: str
    headline: bool = False


_Effective = tuple[_Quantity, int, Measured]  # with the number of images, and each run's value


def _micro(pairs: _Pairs, tests: Sequence[str], baseline: Mapping[str, RunResult]) -> list[_Effective]:
    """Compare by the line through the micro's own supervised runs, or in log-odds if there is none."""
    clean, *shifts = tests
    if not shifts:
        return []
    runs = {result.run.name: result for pair in pairs for result in pair}
    answers = {name: result.answers for name, result in {**baseline, **runs}.items()}
    images = len(next(iter(answers.values()))[clean])
    measured = above_line(answers, list(baseline), clean, shifts)
    if measured.values:
        return [(_Quantity(EFFECTIVE, ON_LINE, POINTS, headline=True), images, measured)]
    quantity = _Quantity(EFFECTIVE, IN_LOG_ODDS, LOG_ODDS, headline=True)
    return [(quantity, images, kept_log_odds(answers, clean, shifts))]


def _paper(pairs: _Pairs, tests: Sequence[str]) -> list[_Effective]:
    """Compare by the curves of the report's table and figure; the factor's sentence is about the mean or one shift."""
    answers = {result.run.name: result.answers for pair in pairs for result in pair}
    found = effective_robustness(answers, tests)
    headline = next((name for name in found if name.startswith(MEAN)), next(iter(found), ""))
    sizes = {name: len(next(iter(answers.values()))[name]) for name in tests}
    return [
        (
            _Quantity(
                EFFECTIVE,
                f"{EFFECTIVE}, {name}" if name.startswith(MEAN) else f"{EFFECTIVE} on {name}",
                POINTS,
                name == headline,
            ),
            sizes.get(name, sum(sizes[each] for each in found if each in sizes)),
            measured,
        )
        for name, measured in found.items()
    ]


def _effective(factor: str, comparison: Comparison, pairs: _Pairs, measured: Iterable[_Effective]) -> Iterable[Row]:
    for quantity, images, values in measured:
        names = [(first.run.name, second.run.name) for first, second in pairs]
        found = drawn_difference(
            [(values.values[first], values.values[second]) for first, second in names],
            [(values.draws[first], values.draws[second]) for first, second in names],
            images,
        )
        mark = worst([values.marks.get(name, "") for pair in names for name in pair])
        yield replace(_row(factor, comparison, quantity, found), mark=mark)


def _accuracies(
    factor: str, comparison: Comparison, pairs: _Pairs, tests: Sequence[str], same_images: bool
) -> Iterable[Row]:
    """Compare accuracies on each test set, and their mean on shifts that are the clean set's own images."""
    quantities: list[tuple[str, tuple[str, ...]]] = [(f"accuracy on {name}", (name,)) for name in tests]
    if same_images and len(tests) > 1:
        quantities = [quantities[0], ("mean accuracy under the shifts", tuple(tests[1:]))]
    for words, sets in quantities:
        first, second = ([mean_score(pair[side].answers, sets) for pair in pairs] for side in (0, 1))
        yield _row(factor, comparison, _Quantity(ACCURACY, words, POINTS), difference(first, second))


def _row(factor: str, comparison: Comparison, quantity: _Quantity, found: Difference) -> Row:
    return Row(
        factor=factor,
        first=comparison.first,
        second=comparison.second,
        kind=quantity.kind,
        quantity=quantity.name,
        unit=quantity.unit,
        headline=quantity.headline,
        value=found.value,
        low=found.low,
        high=found.high,
        images=found.images,
        by_seed=found.by_seed,
    )
