"""Compare arms on the same test images in accuracy and in effective robustness, and tell it in sentences."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain

import numpy as np
import numpy.typing as npt

from imagenet_captions.ablations.plan import Planned
from imagenet_captions.ablations.runs import FEWEST_SIZES, Table
from imagenet_captions.ablations.testing import Answers, TextSample
from imagenet_captions.evaluation.intervals import (
    DRAWS,
    Estimate,
    Floats,
    Pairs,
    holm,
    image_variances,
    mcnemar,
    middle,
    over_seeds_and_images,
    paired_interval,
)
from imagenet_captions.evaluation.robustness.fits import EXTRAPOLATED, SPARSE, fit_baseline, inverse_logit
from imagenet_captions.evaluation.robustness.measure import worst
from imagenet_captions.evaluation.robustness.tables import IMAGENET, SHIFTS
from imagenet_captions.storage.files import csv_text

BASELINE = "auto"
EFFECTIVE, ACCURACY = "effective robustness", "accuracy"
HELD_OUT = "accuracy of the held-out classes"
SIGNIFICANT = 0.05
FEWEST = 3  # runs that the micro line is drawn through
_AT_ONCE = 100  # draws in memory, each with a number for every image
ON_LINE = "effective robustness (above the micro line, mean of the shifts)"
MEAN, MEAN_SHIFTED = "the mean of", "mean accuracy under the shifts"
MATCHED, NO_OVERLAP = "accuracy at a matched accuracy", "no overlap"  # along sizes
_COLUMNS = "factor first second kind quantity unit headline value low high images by_seed p_value p_holm mark".split()
_MARKS = {
    EXTRAPOLATED: "an arm is outside the accuracies of the baseline's models, where the curve is extrapolated",
    SPARSE: "the baseline has few models of an arm's accuracy",
}


@dataclass(frozen=True)
class RunResult(Planned):
    """A planned run with its results; `answers` are empty for a stage without a test."""

    answers: Answers = field(default_factory=dict)
    failure: str = ""

    def top1(self, test_set: str) -> tuple[float, int]:
        """Return the accuracy in percent on a test set, and its number of images."""
        return 100 * float(np.mean(self.answers[test_set])), len(self.answers[test_set])


@dataclass(frozen=True)
class FactorResult:
    """One factor's table with its results, samples of what each arm was given, and notes for the reader.

    `held_out` are the test sets whose results are those on the held-out classes alone.
    """

    table: Table
    results: Mapping[str, RunResult]
    samples: Mapping[str, Sequence[TextSample]]
    notes: Sequence[str] = ()
    held_out: Collection[str] = ()

    def tested_arms(self) -> dict[str, list[RunResult]]:
        """Return the results of the arms all of whose seeds have accuracies, one for each seed."""
        arms = {name: [self.results[run.name] for run in runs] for name, runs in self.table.arms().items()}
        return {name: found for name, found in arms.items() if all(result.answers for result in found)}


@dataclass(frozen=True, kw_only=True)
class Row(Estimate):
    """How far one arm is above another in one quantity, in points over so many images; a row of comparisons.csv.

    `kind` is effective robustness or accuracy, `quantity` says on what, and `headline` marks the rows that get a
    verdict: their `p_holm` is adjusted for their number in the report (`adjust`). `mark` says `extrapolated` or
    `sparse` where the baseline has no models of an arm's accuracy, or few.
    """

    factor: str
    first: str
    second: str
    kind: str
    quantity: str
    images: int
    unit: str = "points"
    headline: bool = False
    mark: str = ""
    p_holm: float | None = None

    @property
    def is_different(self) -> bool:
        """Whether the verdict is that the arms differ."""
        return self.p_holm is not None and self.p_holm < SIGNIFICANT


@dataclass(frozen=True, eq=False)
class Measured:
    """A quantity of each run by name, over so many images: its value, then its bootstrap draws; marks as of a row."""

    values: Mapping[str, Floats]
    images: int
    marks: Mapping[str, str] = field(default_factory=dict)


def mean_difference(gaps: Floats) -> Estimate:
    """Return the mean difference of two arms, from the gaps of their seeds and then those in draws, [1 + draws, seeds].

    A draw is the same images, and the same fit of the baseline, for both arms.
    """
    by_seed, drawn = tuple(gaps[0].tolist()), gaps[1:]
    mean = drawn.mean(axis=1)
    if len(by_seed) == 1:
        return Estimate(by_seed[0], *middle(mean), _normal_p(by_seed[0], float(mean.std(ddof=1))), by_seed)
    apart = (drawn - mean[:, None]).var(axis=0, ddof=1).sum() / (len(by_seed) - 1) / len(by_seed)
    return over_seeds_and_images(by_seed, float(mean.var(ddof=1)), float(apart))


def difference(first: npt.ArrayLike, second: npt.ArrayLike) -> Estimate:
    """Return the mean difference between two arms' scores, [seeds, images], on the same images.

    With several seeds it is one for new seeds and images. With one it is between two trained models, by McNemar's test
    and Bonett and Price's interval.

    >>> right, wrong = np.ones(100), np.zeros(100)
    >>> found = difference([right], [np.concatenate([right[:90], wrong[:10]])])
    >>> round(found.value, 1), round(found.low, 1), round(found.high, 1), round(found.p_value, 4)
    (10.0, 3.4, 16.2, 0.001)
    """
    gaps = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    by_seed = (100 * gaps.mean(axis=1)).tolist()
    if len(gaps) > 1:
        return over_seeds_and_images(by_seed, *image_variances(100 * gaps))
    low, high = paired_interval(gaps[0])
    if np.isin(gaps, (-1, 0, 1)).all():
        p_value = mcnemar(Pairs(gaps.size, int((gaps > 0).sum()), int((gaps < 0).sum())))
    else:
        p_value = _normal_p(float(gaps.mean()), (high - low) / (2 * 1.96))
    return Estimate(by_seed[0], 100 * low, 100 * high, p_value, tuple(by_seed))


def _normal_p(value: float, error: float) -> float:
    return math.erfc(abs(value) / error / math.sqrt(2)) if error else float(value == 0)


def adjust(rows: Iterable[Row]) -> list[Row]:
    """Return the rows of a report, the headlines with p-values adjusted by Holm for how many they are."""
    found = list(rows)
    headlines = [at for at, row in enumerate(found) if row.headline]
    for at, p_value in zip(headlines, holm([found[at].p_value for at in headlines]), strict=True):
        found[at] = replace(found[at], p_holm=p_value)
    return found


def _accuracies(answers: Mapping[str, Answers], sets: Sequence[str], seed: int = 0) -> Floats:
    """Return the runs' accuracies on sets of the same images, [1 + draws, runs, sets].

    The first are those on all images. A draw takes images anew, the same of each set and for each run. Images on which
    all answers are alike are drawn together.
    """
    right = np.stack([np.asarray(each[name], np.uint8) for each in answers.values() for name in sets])
    patterns, counts = np.unique(right, axis=1, return_counts=True)
    images, generator = right.shape[1], np.random.default_rng([3, seed])
    drawn = (generator.multinomial(images, counts / images, size=_AT_ONCE) for _ in range(DRAWS // _AT_ONCE))
    sums = [each.astype(np.float64) @ patterns.T for each in chain([counts[None]], drawn)]
    return np.asarray(np.concatenate(sums).reshape(-1, len(answers), len(sets)) / images, dtype=np.float64)


def above_line(
    answers: Mapping[str, Answers], baseline: Sequence[str], clean: str, shifts: Sequence[str]
) -> Measured | None:
    """Return each run's effective robustness in miniature: mean points above the line through the baseline's runs.

    The line is logit against logit, as in Taori et al. 2020; draws are over test images and the seeds of its runs.
    None where the baseline has fewer than `FEWEST` runs, or where their line does not rise in 95 % of the draws, so
    that they lie closer than their noise.
    """
    names = list(answers)
    base = [names.index(name) for name in baseline]
    accuracies = _accuracies(answers, (clean, *shifts))
    ends = accuracies[0, base, 0]
    if len(base) < FEWEST or np.ptp(ends) == 0:
        return None
    named = [name.rpartition("-s")[2] for name in baseline]  # runs of one seed are drawn together
    seeds = list(dict.fromkeys(named))
    drawn = np.random.default_rng(4).multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), size=DRAWS)
    weights = np.concatenate([np.ones((1, len(base))), drawn[:, [seeds.index(seed) for seed in named]]])
    shares = (weights / weights.sum(axis=1, keepdims=True))[..., None]
    logits = logit(accuracies)
    x, y = logits[:, base, :1], logits[:, base, 1:]
    x_mean, y_mean = ((shares * each).sum(axis=1, keepdims=True) for each in (x, y))
    covariance = (shares * (x - x_mean) * (y - y_mean)).sum(axis=1, keepdims=True)
    variance = (shares * (x - x_mean) ** 2).sum(axis=1, keepdims=True)
    slope = covariance / np.maximum(variance, 1e-12)
    if middle(slope.mean(axis=(1, 2)))[0] <= 0:
        return None
    predicted = y_mean + slope * (logits[..., :1] - x_mean)
    above = 100 * (accuracies[..., 1:] - 1 / (1 + np.exp(-predicted))).mean(axis=2)
    within = (ends.min() <= accuracies[0, :, 0]) & (accuracies[0, :, 0] <= ends.max())
    marks = {name: "" if inside else EXTRAPOLATED for name, inside in zip(names, within, strict=True)}
    return Measured(dict(zip(answers, above.T, strict=True)), len(answers[names[0]][clean]), marks)


def line_through(x: npt.ArrayLike, y: npt.ArrayLike) -> Callable[[npt.ArrayLike], Floats]:
    """Return the line in logit space through accuracies between 0 and 1, as a function of such."""
    slope, intercept = np.polyfit(logit(x), logit(y), 1)
    return lambda at: np.asarray(1 / (1 + np.exp(-(slope * logit(at) + intercept))), dtype=np.float64)


def logit(p: npt.ArrayLike) -> Floats:
    """Return the log-odds of accuracies between 0 and 1, of which the ends are brought in a little."""
    kept = np.clip(p, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(kept / (1 - kept)), dtype=np.float64)


def effective_robustness(answers: Mapping[str, Answers], tests: Sequence[str]) -> dict[str, Measured]:
    """Return each run's effective robustness by the testbed's curves, for each shift and then for the paper's mean.

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
        found[f"{EFFECTIVE} on {shift.column}"] = Measured(dict(zip(answers, above.T, strict=True)), images, marks)
    averaged = [shift.column for shift in shifts if shift.averaged]
    if len(averaged) > 1:
        parts = [found[f"{EFFECTIVE} on {name}"] for name in averaged]
        found[f"{EFFECTIVE}, {MEAN} {', '.join(averaged)}"] = Measured(
            {run: np.mean([part.values[run] for part in parts], axis=0) for run in answers},
            sum(part.images for part in parts),
            {run: worst([part.marks[run] for part in parts]) for run in answers},
        )
    return found


def _headline(quantities: Iterable[str]) -> str:
    """Return the quantity that a verdict is about: a mean over shifts if there is one, else the first."""
    names = list(quantities)
    return next((name for name in names if MEAN in name), names[0] if names else "")


def compare_arms(
    factor: FactorResult, tests: Sequence[str], micro: bool, baseline: Mapping[str, RunResult]
) -> Iterator[Row]:
    """Yield the rows of every comparison whose arms were tested."""
    tested, line = factor.tested_arms(), {name: result.answers for name, result in baseline.items()}
    for comparison in factor.table.comparisons:
        if not {comparison.first, comparison.second} <= tested.keys():
            continue
        row = partial(Row, factor=factor.table.factor, first=comparison.first, second=comparison.second)
        arms = tested[comparison.first], tested[comparison.second]
        pairs = [(one.run.name, other.run.name) for one, other in zip(*arms, strict=True)]
        runs = {result.run.name: result.answers for arm in arms for result in arm}
        if micro:  # without a sound line, arms are compared in accuracy alone
            on_line = above_line({**line, **runs}, list(line), tests[0], tests[1:]) if tests[1:] else None
            robustness = {} if on_line is None else {ON_LINE: on_line}
        else:
            robustness = effective_robustness(runs, tests)
        leads = comparison.on in tests  # then the accuracy there answers the question
        found = []
        for name, measured in robustness.items():
            gaps = [measured.values[first] - measured.values[second] for first, second in pairs]
            values = {
                "headline": name == _headline(robustness) and not leads,
                "mark": worst([measured.marks.get(run, "") for run in runs]),
                "images": measured.images,
                **asdict(mean_difference(np.stack(gaps, axis=1))),
            }
            found.append(row(kind=EFFECTIVE, quantity=name, **values))
        about = (comparison.on, tests[0]) if comparison.on in tests[1:] else tuple(tests)
        accuracies = {f"{HELD_OUT if name in factor.held_out else ACCURACY} on {name}": [name] for name in about}
        if micro and about == tuple(tests) and len(tests) > 1:  # the shifts are the clean set's own images
            accuracies = {f"{ACCURACY} on {tests[0]}": [tests[0]], MEAN_SHIFTED: list(tests[1:])}
        headline = "" if found and not leads else list(accuracies)[-1 if micro and not leads else 0]
        measured_on = []
        for quantity, sets in accuracies.items():
            # of each image the share of test sets in which it was recognized; all hold the same images in order
            scores = [[np.mean([each.answers[name] for name in sets], axis=0) for each in arm] for arm in arms]
            values = {"headline": quantity == headline, "images": len(scores[0][0]), **asdict(difference(*scores))}
            measured_on.append(row(kind=ACCURACY, quantity=quantity, **values))
        yield from (*measured_on, *found) if leads else (*found, *measured_on)


def compare_curves(factor: FactorResult, tests: Sequence[str], micro: bool) -> Iterator[Row]:
    """Yield the rows of comparisons along sizes, of arms whose runs are all finished.

    Two curves are compared at one accuracy without shift: the middle, in log-odds, of what both cover with every seed.
    """
    known = [shift for shift in SHIFTS if shift.column in tests]
    clean, *shifts = tests if micro else [IMAGENET, *(shift.column for shift in known)]
    if clean not in tests or not shifts:
        return
    quantities = {f"{ACCURACY} on {shift}": [shift] for shift in shifts}
    averaged = [shift.column for shift in known if shift.averaged]
    if micro:  # the shifts are the clean set's own images
        quantities = {MEAN_SHIFTED: shifts}
    elif len(averaged) > 1:
        quantities[f"{ACCURACY}, {MEAN} {', '.join(averaged)},"] = averaged
    tested = factor.tested_arms()
    for curves in factor.table.curves:
        both = [[tested[arm] for arm in arms if arm in tested] for arms in curves.arms]
        if min(map(len, both)) < FEWEST_SIZES:
            continue
        row = partial(Row, factor=factor.table.factor, first=curves.first, second=curves.second, kind=MATCHED)
        points = _points(both, [[clean, *shifts]] if micro else [[name] for name in (clean, *shifts)])
        covered = []
        for curve in points:
            x = [seed[:, 0, 0] for seed in curve]
            covered.append((max(each.min() for each in x), min(each.max() for each in x)))
        low, high = max(low for low, _ in covered), min(high for _, high in covered)
        if low > high:
            ranges = [f"{inverse_logit(start):.1f} to {inverse_logit(end):.1f}" for start, end in covered]
            quantity = f"{ACCURACY} on {clean} ({' and '.join(ranges)} %)"
            nothing = asdict(Estimate(math.nan, math.nan, math.nan, math.nan, ()))
            yield row(quantity=quantity, images=0, mark=NO_OVERLAP, **nothing)
            continue
        at = (low + high) / 2
        for quantity, sets in quantities.items():
            columns = [1 + shifts.index(name) for name in sets]
            gaps = []
            for both_curves in zip(*points, strict=True):  # those of a seed
                found = [interpolate(each[..., 0], each[..., columns], at) for each in both_curves]
                one, other = (inverse_logit(values).mean(axis=1) for values in found)
                gaps.append(one - other)
            images = [len(both[0][0][0].answers[name]) for name in sets]
            yield row(
                quantity=f"{quantity} at {inverse_logit(at):.2f} % on {clean}",
                headline=quantity == _headline(quantities),
                images=images[0] if micro else sum(images),
                **asdict(mean_difference(np.stack(gaps, axis=1))),
            )


def _points(both: Sequence[Sequence[Sequence[RunResult]]], parts: Sequence[Sequence[str]]) -> list[list[Floats]]:
    """Return the log-odds of each curve and seed, [sizes, 1 + draws, sets]; a part's sets have the same images."""
    answers = {result.run.name: result.answers for curve in both for arm in curve for result in arm}
    drawn = [_accuracies(answers, part, at) for at, part in enumerate(parts)]
    found = dict(zip(answers, logit(np.concatenate(drawn, axis=2)).transpose(1, 0, 2), strict=True))
    return [
        [np.stack([found[result.run.name] for result in seed]) for seed in zip(*curve, strict=True)] for curve in both
    ]


def interpolate(x: Floats, y: Floats, at: float) -> Floats:
    """Return the piecewise linear curve through points, [points, draws] and [points, draws, shifts], where x is `at`.

    A draw in which `at` lies beyond the last point goes on with the last piece, for as much as its length.
    """
    order = np.argsort(x, axis=0)  # a larger size may be less accurate
    x, y = np.take_along_axis(x, order, 0), np.take_along_axis(y, order[..., None], 0)
    end, draws = np.clip((x < at).sum(axis=0), 1, len(x) - 1), np.arange(x.shape[1])
    before, after = x[end - 1, draws], x[end, draws]
    share = np.divide(at - before, after - before, out=np.full(len(draws), 0.5), where=after > before)
    return np.asarray(y[end - 1, draws] + np.clip(share, -1, 2)[:, None] * (y[end, draws] - y[end - 1, draws]))


def sentence(row: Row) -> str:
    """Return a row as a sentence; only a headline has a verdict.

    >>> numbers = {"value": 1.0, "low": -0.7, "high": 2.7, "images": 1000, "by_seed": (1.0,), "p_value": 0.24}
    >>> row = Row(factor="size", first="clip", second="labels", kind=ACCURACY, quantity="accuracy on clean", **numbers)
    >>> sentence(row)
    'clip and labels: the difference in accuracy on clean is +1.0 points, with an interval of -0.7 to +2.7 (n = 1,000).'
    >>> sentence(replace(row, headline=True, p_holm=0.48))
    'clip and labels: the difference in accuracy on clean is +1.0 points, with an interval of -0.7 to +2.7 (n = 1,000; \
p = 0.48 by Holm): this run does not tell these two trained models apart.'
    """
    if row.mark == NO_OVERLAP:
        return f"{row.first} and {row.second}: no overlap in {row.quantity}, so they are not compared."
    several = len(row.by_seed) > 1
    models = "these trainings" if row.kind == MATCHED else "these two trained models"
    holm_text = "" if row.p_holm is None else f"; p = {row.p_holm:.2g} by Holm"
    numbers = f"{row.low:+.1f} to {row.high:+.1f} (n = {row.images:,}{holm_text})"
    end = f"; by seed {', '.join(f'{value:+.1f}' for value in row.by_seed)}" if several else ""
    end += f"; {_MARKS[row.mark]}." if row.mark else "."
    if row.is_different:
        about = "" if several else f"; that holds for {models}, not for their recipes"
        return f"{_above_text(row)} in {row.quantity}, with an interval of {numbers}{about}{end}"
    text = f"{row.first} and {row.second}: the difference in {row.quantity} is {row.value:+.1f} points"
    text += f", with an interval of {numbers}"
    if row.headline:
        text += ": these runs do not tell the arms apart" if several else f": this run does not tell {models} apart"
    return text + end


def factor_sentence(rows: Sequence[Row]) -> str:
    """Return one sentence on the verdicts of a factor's comparisons, or "" if there is none."""
    headlines = [row for row in rows if row.headline]
    if not headlines:
        return ""
    quantities = {HELD_OUT if row.quantity.startswith(HELD_OUT) else row.quantity for row in headlines}
    different, others = ([row for row in headlines if row.is_different is each] for each in (True, False))
    kinds = " and ".join(dict.fromkeys(row.kind for row in headlines))
    text = f"In {quantities.pop() if len(quantities) == 1 else kinds}, "
    text += f"{len(different)} of {len(headlines)} comparisons show a difference"
    text += f": {'; '.join(map(_above_text, different))}" if different else ""
    if others:
        low, high = min(row.low for row in others), max(row.high for row in others)
        rest = f"the intervals of the {'others' if different else 'differences'} lie within"
        text += f"; {rest} {low:+.1f} and {high:+.1f} points"
    return f"{text}."


def _above_text(row: Row) -> str:
    return f"{row.first} is {abs(row.value):.1f} points {'above' if row.value > 0 else 'below'} {row.second}"


def write_rows(rows: Iterable[Row]) -> str:
    """Write comparisons.csv with every digit of the numbers."""
    lines: list[Sequence[object]] = [_COLUMNS]
    for row in rows:
        values = asdict(row)
        values["headline"] = "yes" if row.headline else "no"
        values["by_seed"] = " ".join(map(repr, row.by_seed))
        lines.append([values[column] for column in _COLUMNS])
    return csv_text(lines)
