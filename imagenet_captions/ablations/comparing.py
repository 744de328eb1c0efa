"""Compare arms on the same test images: differences in accuracy and in effective robustness, and sentences about them.

Accuracies: the interval is Bonett and Price's for paired proportions; means over seeds or shifts take the same formula.
Effective robustness: the interval is a bootstrap's over test images, seeds and the baseline's fit, by the testbed's
curves, or in miniature by the line through the micro's own supervised runs.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from imagenet_captions.ablations.plan import Planned, Values
from imagenet_captions.ablations.runs import Run, Table
from imagenet_captions.ablations.testing import Answers, TextSample
from imagenet_captions.evaluation.intervals import DRAWS, Floats, middle, paired_interval
from imagenet_captions.evaluation.robustness.fits import EXTRAPOLATED, SPARSE, fit_baseline
from imagenet_captions.evaluation.robustness.measure import worst
from imagenet_captions.evaluation.robustness.tables import IMAGENET, SHIFTS

BASELINE = "auto"
EFFECTIVE, ACCURACY = "effective robustness", "accuracy"
POINTS, LOG_ODDS = "points", "log-odds"
FEWEST = 3  # runs that the micro line is drawn through
ON_LINE = "effective robustness (above the micro line, mean of the shifts)"
IN_LOG_ODDS = "what is kept of the log-odds under the shifts (their mean; there is no line to measure from)"
MEAN = "the mean of"
_COLUMNS = "factor first second kind quantity unit headline value low high images by_seed mark".split()
_MARKS = {
    EXTRAPOLATED: "an arm is outside the accuracies of the baseline's models, where the curve is extrapolated",
    SPARSE: "the baseline has few models of an arm's accuracy",
}


@dataclass(frozen=True)
class RunResult:
    """One run's results; `metrics` is metrics.json; it and `answers` are empty for a stage without a test."""

    planned: Planned
    metrics: Mapping[str, Any] = field(default_factory=dict)
    answers: Answers = field(default_factory=dict)
    failure: str = ""

    @property
    def run(self) -> Run:
        """The run."""
        return self.planned.run

    def top1(self, test_set: str) -> tuple[float, int]:
        """Return the accuracy in percent on a test set, and its number of images."""
        entry = self.metrics["test_sets"][test_set]
        return 100 * float(entry["top1"]), int(entry["n"])

    def on_images(self, masks: Mapping[str, npt.NDArray[np.bool_]]) -> RunResult:
        """Return the results on some images of the test sets that have a mask."""
        answers = {name: found[masks[name]] if name in masks else found for name, found in self.answers.items()}
        sets = dict(self.metrics["test_sets"])
        for name in masks.keys() & answers.keys():
            sets[name] = {
                **sets[name],
                "top1": float(np.mean(answers[name])),
                "n": len(answers[name]),
            }
        return replace(self, answers=answers, metrics={**self.metrics, "test_sets": sets})


@dataclass(frozen=True)
class FactorResult:
    """One factor's table with its results, and samples of what each arm was given.

    For each comparison `shared` says what its arms share and `apart` in what they differ; `notes` are what else a
    reader should know.
    """

    table: Table
    results: Mapping[str, RunResult]
    samples: Mapping[str, Sequence[TextSample]]
    shared: Sequence[str]
    apart: Sequence[Mapping[str, Values]]
    notes: Sequence[str] = ()

    def tested_arms(self) -> dict[str, list[RunResult]]:
        """Return the results of the arms all of whose seeds have accuracies, one for each seed."""
        arms = {name: [self.results[run.name] for run in runs] for name, runs in self.table.arms().items()}
        return {name: found for name, found in arms.items() if all(result.metrics for result in found)}


@dataclass(frozen=True)
class Difference:
    """How far one arm is above another, with the interval at 95 %; `by_seed` holds the difference of each seed."""

    value: float
    low: float
    high: float
    images: int
    by_seed: tuple[float, ...]

    @property
    def settled(self) -> bool:
        """Whether the difference is significant: the interval excludes 0, and all seeds agree on the sign."""
        same_way = all(value > 0 for value in self.by_seed) or all(value < 0 for value in self.by_seed)
        return (self.low > 0 or self.high < 0) and same_way


@dataclass(frozen=True, kw_only=True)
class Row(Difference):
    """One quantity of one comparison, a row of comparisons.csv.

    `kind` is effective robustness or accuracy, `quantity` says on what, and `headline` marks the rows that a factor's
    sentence is about. `mark` says `extrapolated` or `sparse` where the baseline has no models of an arm's accuracy, or
    few.
    """

    factor: str
    first: str
    second: str
    kind: str
    quantity: str
    unit: str = POINTS
    headline: bool = False
    mark: str = ""


@dataclass(frozen=True, eq=False)
class Measured:
    """A quantity of each run by name, over so many images: its value, then its bootstrap draws; marks as of a row."""

    values: Mapping[str, Floats]
    images: int
    marks: Mapping[str, str] = field(default_factory=dict)

    def difference(self, pairs: Sequence[tuple[str, str]]) -> Difference:
        """Return the mean difference of two arms, of which each pair holds the runs of a seed.

        A draw is the same images, and the same fit of the baseline, for both arms; seeds are drawn anew too.
        """
        gaps = np.stack([self.values[first] - self.values[second] for first, second in pairs], axis=1)
        drawn = (draw_seeds(len(pairs)) * gaps[1:]).sum(axis=1) / len(pairs)
        return Difference(float(gaps[0].mean()), *middle(drawn), self.images, tuple(gaps[0].tolist()))


def difference(first: npt.ArrayLike, second: npt.ArrayLike) -> Difference:
    """Return the mean difference between two arms' scores, [seeds, images], on the same images.

    >>> right, wrong = np.ones(100), np.zeros(100)
    >>> found = difference([right], [np.concatenate([right[:90], wrong[:10]])])
    >>> round(found.value, 1), round(found.low, 1), round(found.high, 1), found.settled
    (10.0, 3.4, 16.2, True)
    """
    gaps = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    by_image = gaps.mean(axis=0)
    low, high = paired_interval(by_image)
    by_seed = tuple((100 * gaps.mean(axis=1)).tolist())
    return Difference(100 * float(by_image.mean()), 100 * low, 100 * high, len(by_image), by_seed)


def draw_seeds(count: int) -> Floats:
    """Return how often each seed is drawn in each draw of a bootstrap."""
    chances = np.full(count, 1 / count)
    return np.random.default_rng(4).multinomial(count, chances, size=DRAWS).astype(np.float64)


def _accuracies(answers: Mapping[str, Answers], sets: Sequence[str], seed: int = 0) -> Floats:
    """Return the runs' accuracies on sets of the same images, [1 + draws, runs, sets].

    The first are those on all images. A draw takes images anew, the same of each set and for each run. Images on which
    all answers are alike are drawn together.
    """
    right = np.stack([np.asarray(each[name], np.uint8) for each in answers.values() for name in sets])
    patterns, counts = np.unique(right, axis=1, return_counts=True)
    images = right.shape[1]
    draws = np.random.default_rng([3, seed]).multinomial(images, counts / images, size=DRAWS)
    found = np.concatenate([counts[None], draws]).astype(np.float64) @ patterns.T / images
    return np.asarray(found.reshape(-1, len(answers), len(sets)), dtype=np.float64)


def above_line(
    answers: Mapping[str, Answers], baseline: Sequence[str], clean: str, shifts: Sequence[str]
) -> Measured | None:
    """Return each run's effective robustness in miniature: mean points above the line through the baseline's runs.

    The line is logit against logit, as in Taori et al. 2020; draws are over test images and the seeds of its runs.
    None where the baseline has fewer than `FEWEST` runs, or all of them the same accuracy.
    """
    names = list(answers)
    base = [names.index(name) for name in baseline]
    accuracies = _accuracies(answers, (clean, *shifts))
    ends = accuracies[0, base, 0]
    if len(base) < FEWEST or np.ptp(ends) == 0:
        return None
    seeds = [name.rpartition("-s")[2] for name in baseline]  # runs of one seed are drawn together
    by_seed = dict(zip(dict.fromkeys(seeds), draw_seeds(len(set(seeds))).T, strict=True))
    drawn = np.stack([by_seed[seed] for seed in seeds], axis=1)
    weights = np.concatenate([np.ones((1, len(base))), drawn])
    shares = (weights / weights.sum(axis=1, keepdims=True))[..., None]
    logits = logit(accuracies)
    x, y = logits[:, base, :1], logits[:, base, 1:]
    x_mean, y_mean = ((shares * each).sum(axis=1, keepdims=True) for each in (x, y))
    covariance = (shares * (x - x_mean) * (y - y_mean)).sum(axis=1, keepdims=True)
    variance = (shares * (x - x_mean) ** 2).sum(axis=1, keepdims=True)
    predicted = y_mean + covariance / np.maximum(variance, 1e-12) * (logits[..., :1] - x_mean)
    above = 100 * (accuracies[..., 1:] - 1 / (1 + np.exp(-predicted))).mean(axis=2)
    within = (ends.min() <= accuracies[0, :, 0]) & (accuracies[0, :, 0] <= ends.max())
    marks = {name: "" if inside else EXTRAPOLATED for name, inside in zip(names, within, strict=True)}
    return Measured(_by_run(answers, above), len(answers[names[0]][clean]), marks)


def kept_log_odds(answers: Mapping[str, Answers], clean: str, shifts: Sequence[str]) -> Measured:
    """Return the change of each run's log-odds under the shifts, averaged; this needs no line.

    A weak model has less to lose in points, and not in log-odds.
    """
    logits = logit(_accuracies(answers, (clean, *shifts)))
    kept = logits[..., 1:].mean(axis=-1) - logits[..., 0]
    return Measured(_by_run(answers, kept), len(next(iter(answers.values()))[clean]))


def line_through(x: npt.ArrayLike, y: npt.ArrayLike) -> Callable[[npt.ArrayLike], Floats]:
    """Return the line in logit space through accuracies between 0 and 1, as a function of such."""
    slope, intercept = np.polyfit(logit(x), logit(y), 1)
    return lambda at: np.asarray(1 / (1 + np.exp(-(slope * logit(at) + intercept))), dtype=np.float64)


def logit(p: npt.ArrayLike) -> Floats:
    """Return the log-odds of accuracies between 0 and 1, of which the ends are brought in a little."""
    kept = np.clip(p, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(kept / (1 - kept)), dtype=np.float64)


def effective_robustness(answers: Mapping[str, Answers], tests: Sequence[str]) -> dict[str, Measured]:
    """Return each run's effective robustness by the testbed's curves, for each shift and for the paper's mean.

    All are compared on all 1000 classes, by the very fits of the report's table and figure.
    """
    shifts = [shift for shift in SHIFTS if shift.column in tests] if IMAGENET in tests else []
    percent = {name: 100 * _accuracies(answers, [name], at)[..., 0] for at, name in enumerate(tests)}
    found: dict[str, Measured] = {}
    for shift in shifts:
        fit, x = fit_baseline(BASELINE, shift, IMAGENET), percent[IMAGENET]
        drawn = np.stack([fit.predict_draws(column) for column in x[1:].T], axis=1)
        above = percent[shift.column] - np.concatenate([fit.predict_all(x[:1]), drawn])
        marks = {run: fit.mark(at) for run, at in zip(answers, x[0], strict=True)}
        images = len(next(iter(answers.values()))[shift.column])
        found[shift.column] = Measured(_by_run(answers, above), images, marks)
    averaged = [shift.column for shift in shifts if shift.averaged]
    if len(averaged) > 1:
        parts = [found[name] for name in averaged]
        found[f"{MEAN} {', '.join(averaged)}"] = Measured(
            {run: np.mean([part.values[run] for part in parts], axis=0) for run in answers},
            sum(each.images for each in found.values()),
            {run: worst([part.marks[run] for part in parts]) for run in answers},
        )
    return found


def _by_run(answers: Mapping[str, Answers], columns: Floats) -> dict[str, Floats]:
    return dict(zip(answers, columns.T, strict=True))


def compare_arms(
    factor: FactorResult, tests: Sequence[str], micro: bool, baseline: Mapping[str, RunResult]
) -> Iterator[Row]:
    """Yield the rows of every comparison whose arms were tested."""
    tested = factor.tested_arms()
    for comparison in factor.table.comparisons:
        if not {comparison.first, comparison.second} <= tested.keys():
            continue
        row = partial(Row, factor=factor.table.factor, first=comparison.first, second=comparison.second)
        first, second = tested[comparison.first], tested[comparison.second]
        pairs = [(one.run.name, other.run.name) for one, other in zip(first, second, strict=True)]
        about = (tests[0], comparison.on) if comparison.on in tests[1:] else tuple(tests)
        runs = {result.run.name: result.answers for result in (*first, *second)}
        if micro:
            line = {name: result.answers for name, result in baseline.items()}
            quantities = _in_miniature({**line, **runs}, about, list(line))
        else:
            quantities = _by_testbed(runs, tests)
        for cells, measured in quantities:
            mark = worst([measured.marks.get(name, "") for name in runs])
            yield row(kind=EFFECTIVE, **cells, mark=mark, **asdict(measured.difference(pairs)))
        accuracies = {f"accuracy on {name}": [name] for name in about}
        if micro and about == tuple(tests) and len(tests) > 1:  # the shifts are the clean set's own images
            accuracies = {f"accuracy on {tests[0]}": [tests[0]]}
            accuracies["mean accuracy under the shifts"] = list(tests[1:])
        for quantity, sets in accuracies.items():
            scores = [[mean_score(each.answers, sets) for each in arm] for arm in (first, second)]
            yield row(kind=ACCURACY, quantity=quantity, **asdict(difference(*scores)))


def mean_score(answers: Answers, sets: Sequence[str]) -> Floats:
    """Return for each image the share of test sets in which it was recognized; all hold the same images in order."""
    return np.asarray(np.mean([answers[name] for name in sets], axis=0), dtype=np.float64)


_Quantities = Iterator[tuple[dict[str, Any], Measured]]  # with the cells of its rows that say what it is


def _in_miniature(answers: Mapping[str, Answers], tests: Sequence[str], baseline: Sequence[str]) -> _Quantities:
    """Yield the quantity in which micro arms are compared: by the line, or in log-odds if there is none."""
    clean, *shifts = tests
    if not shifts:
        return
    measured = above_line(answers, baseline, clean, shifts)
    if measured is not None:
        yield {"quantity": ON_LINE, "headline": True}, measured
        return
    cells = {"quantity": IN_LOG_ODDS, "unit": LOG_ODDS, "headline": True}
    yield cells, kept_log_odds(answers, clean, shifts)


def _by_testbed(answers: Mapping[str, Answers], tests: Sequence[str]) -> _Quantities:
    """Yield effective robustness on each shift and their mean, which the factor's sentence is about if there is one."""
    found = effective_robustness(answers, tests)
    headline = next((name for name in found if name.startswith(MEAN)), next(iter(found), ""))
    for name, measured in found.items():
        before = f"{EFFECTIVE}," if name.startswith(MEAN) else f"{EFFECTIVE} on"
        yield {"quantity": f"{before} {name}", "headline": name == headline}, measured


def sentence(row: Row) -> str:
    """Return a row as a sentence, which is never stronger than its interval.

    >>> numbers = {"value": 1.0, "low": -0.7, "high": 2.7, "images": 1000, "by_seed": (1.0,)}
    >>> who = {"factor": "size", "first": "clip", "second": "labels", "kind": ACCURACY}
    >>> sentence(Row(**who, quantity="accuracy on clean", **numbers))
    'clip and labels: the difference of +1.0 points in accuracy on clean has an interval of -0.7 to +2.7 (n = 1,000), \
which includes 0: this run does not tell them apart.'
    """
    several = len(row.by_seed) > 1
    numbers = f"{_signed(row, row.low)} to {_signed(row, row.high)} (n = {row.images:,})"
    end = f"; by seed {', '.join(_signed(row, value) for value in row.by_seed)}" if several else ""
    end += f"; {_MARKS[row.mark]}." if row.mark else "."
    if row.settled:
        return f"{_above_text(row)} in {row.quantity}, with an interval of {numbers}{end}"
    why = "includes 0" if row.low <= 0 <= row.high else "excludes 0, but not all seeds agree on the sign"
    gap = f"the difference of {_signed(row, row.value)} {row.unit} in {row.quantity} has an interval of {numbers}"
    runs = "these runs do" if several else "this run does"
    return f"{row.first} and {row.second}: {gap}, which {why}: {runs} not tell them apart{end}"


def factor_sentence(rows: Sequence[Row]) -> str:
    """Return one sentence on a factor's comparisons of effective robustness, or "" if none was measured."""
    headlines = [row for row in rows if row.headline]
    if not headlines:
        return ""
    settled, others = ([row for row in headlines if row.settled is each] for each in (True, False))
    text = f"In {headlines[0].quantity}, {len(settled)} of {len(headlines)} comparisons show a difference"
    text += f": {'; '.join(map(_above_text, settled))}" if settled else ""
    if others:
        low = _signed(others[0], min(row.low for row in others))
        high = _signed(others[0], max(row.high for row in others))
        rest = f"the intervals of the {'others' if settled else 'differences'} lie within"
        text += f"; {rest} {low} and {high} {others[0].unit}"
    return f"{text}."


def _above_text(row: Row) -> str:
    way = "above" if row.value > 0 else "below"
    return f"{row.first} is {_signed(row, abs(row.value)).lstrip('+')} {row.unit} {way} {row.second}"


def _signed(row: Row, value: float) -> str:
    return f"{value:+.1f}" if row.unit == POINTS else f"{value:+.2f}"


def write_rows(rows: Iterable[Row]) -> str:
    """Write comparisons.csv with every digit of the numbers."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        cells = {
            "headline": "yes" if row.headline else "no",
            "by_seed": " ".join(map(repr, row.by_seed)),
        }
        writer.writerow({**asdict(row), **cells})
    return text.getvalue()
