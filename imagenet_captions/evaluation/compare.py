"""Compare evaluated models image by image, as a table and a figure: each with the first, on every common test set."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from imagenet_captions.errors import InputError, aligned, shortened
from imagenet_captions.evaluation.accuracy import Labels
from imagenet_captions.evaluation.drawing import (
    COLORS,
    LINE,
    add_grid,
    add_legend,
    check_figure_path,
    legend_text,
    new_figure,
)
from imagenet_captions.evaluation.intervals import (
    Pairs,
    image_variances,
    mcnemar,
    over_seeds_and_images,
    smallest_detectable,
)
from imagenet_captions.evaluation.results import Evaluated, answers_path, differing, image_keys, read_evaluated
from imagenet_captions.imagenet import classes
from imagenet_captions.images.examples import class_of
from imagenet_captions.storage.outputs import producing
from imagenet_captions.storage.places import local_place


class ClassChange(NamedTuple):
    """One class: its images, and how many of them each of two models gets right."""

    key: str
    images: int
    first: int
    second: int


@dataclass(frozen=True)
class Comparison:
    """Two models on one test set; accuracies and differences are in percent and percentage points.

    The interval is at 95 % (Bonett and Price), the p-value is McNemar's mid-p, and `detectable` is the smallest
    difference that a test set of these images detects with 80 % power at 5 %. Of arms with several runs, interval and
    p-value are for new runs and new images, `detectable` is NaN, and counts are sums over the runs. `only_first` and
    `only_second` count the images that one of the two gets right. `protocol` lists in what the two protocols differ.
    `classes` begins with those that moved by most images.
    """

    first: str
    second: str
    test_set: str
    images: int
    only_first: int
    only_second: int
    first_top1: float
    second_top1: float
    difference: float
    interval: tuple[float, float]
    p_value: float
    detectable: float
    protocol: tuple[str, ...]
    classes: tuple[ClassChange, ...]

    @property
    def of_runs(self) -> bool:
        """Whether each arm has several runs."""
        return math.isnan(self.detectable)


Arm = str | Path | Sequence[str | Path]  # the result of a model, or those of several runs of one recipe


def compare(
    first: Arm,
    *others: Arm,
    across_protocols: bool = False,
    out: str | Path | None = None,
    plot: str | Path | None = None,
    overwrite: bool = False,
) -> tuple[Comparison, ...]:
    """Compare evaluated models with the first one, image by image, on every test set that both have.

        (found,) = ic.compare("runs/a/metrics.json", "runs/b/metrics.json", out="compare.csv")
        found.difference, found.interval, found.p_value, found.detectable

    Each model is a metrics.json or a folder that holds one, or a list of them: the runs of one recipe with several
    seeds, in the same order for all. Differences are then estimates for new runs and new images. `out` gets a table
    with a row for each test set and class, `plot` a figure (.png or .svg). `overwrite` allows replacing files that
    exist. Raises InputError for models that were measured by different protocols, unless `across_protocols` allows
    them; then only the images that both have are compared.
    """
    arms = [_places(arm) for arm in (first, *others)]
    table, figure = (None if path is None else local_place(str(path)) for path in (out, plot))
    if len(arms) < 2:
        raise InputError("a comparison needs two models; give another metrics.json or run")
    if len({len(arm) for arm in arms}) > 1:
        raise InputError("arms of several runs are compared run by run; give as many runs of each")
    if figure is not None:
        check_figure_path(figure, "plot")
    models = [[read_evaluated(place) for place in arm] for arm in arms]
    inputs = [file for arm in models for model in arm for file in (model.file, answers_path(model.file))]
    written = [path for path in (table, figure) if path is not None]
    with producing(written, inputs, overwrite) as partials:
        found = tuple(each for model in models[1:] for each in _pairwise(models[0], model, across_protocols))
        if table is not None:
            write_comparisons(partials[0], found)
        if figure is not None:
            draw_comparisons(found, partials[-1], figure.suffix)
    return found


def _places(arm: Arm) -> list[Path]:
    """Return the places of an arm's runs; a text may list several with commas between them."""
    if isinstance(arm, str | Path):
        arm = [arm] if Path(arm).exists() else str(arm).split(",")
    return [local_place(str(place)) for place in arm]


def _pairwise(arm: Sequence[Evaluated], other: Sequence[Evaluated], across_protocols: bool) -> Iterator[Comparison]:
    """Yield the comparisons of two arms, after a check of all protocols."""
    first, second = arm[0], other[0]
    runs = [*arm, *other]
    common = [name for name in first.answers if all(name in run.answers for run in runs)]
    if not common:
        raise InputError(
            f"{first.name} and {second.name} have no test set in common ({shortened(', '.join(first.answers))}; "
            f"{shortened(', '.join(second.answers))}); evaluate both on the same sets"
        )
    differences = {
        name: tuple(dict.fromkeys(what for run in runs[1:] for what in differing(first, run, name))) for name in common
    }
    if any(differences.values()) and not across_protocols:
        said = "; ".join(f"{name}: {', '.join(found)}" for name, found in differences.items() if found)
        raise InputError(
            f"{second.name} was measured by another protocol than {first.name} ({shortened(said, 200)}); evaluate both "
            "alike, or compare with `across_protocols=True`"
        )
    more = f" and {len(arm) - 1} more" if len(arm) > 1 else ""
    names = [first.name + more, second.name + more]
    for test_set in common:
        joined = _rows(first, test_set)
        for number, run in enumerate(runs):
            rows = _rows(run, test_set)[["key", "nth", "correct"]]
            joined = joined.merge(rows, on=["key", "nth"], suffixes=("", f"_{number}"))
        if joined.empty:
            raise InputError(f"{names[0]} and {names[1]} have no image of {test_set} in common; evaluate again")
        right = joined[[f"correct_{number}" for number in range(len(runs))]].to_numpy(np.int64).T
        yield _compare(names, test_set, joined["label"], right, differences[test_set])


def _compare(
    names: Sequence[str], test_set: str, labels: pd.Series, right: Labels, protocol: tuple[str, ...]
) -> Comparison:
    """Compare two arms by which of their runs are right on each image, [runs of both, images]."""
    runs = len(right) // 2
    first, second = right[:runs], right[runs:]
    gaps = (second - first).astype(np.float64)
    counts = {"images": runs, "first": first.sum(axis=0), "second": second.sum(axis=0)}
    by_class = pd.DataFrame(counts).groupby(labels).sum()
    changes = [ClassChange(str(key), *map(int, row)) for key, *row in by_class.itertuples()]
    pairs = Pairs(gaps.size, int((gaps < 0).sum()), int((gaps > 0).sum()))
    if runs > 1:
        points = 100.0 * gaps
        found = over_seeds_and_images(points.mean(axis=1).tolist(), *image_variances(points))
        low, high, p_value, detectable = found.low, found.high, found.p_value, math.nan
    else:
        low, high = (100 * end for end in pairs.interval)
        p_value, detectable = mcnemar(pairs), 100 * smallest_detectable(pairs)
    return Comparison(
        first=names[0],
        second=names[1],
        test_set=test_set,
        images=pairs.images,
        only_first=pairs.only_first,
        only_second=pairs.only_second,
        first_top1=100 * float(first.mean()),
        second_top1=100 * float(second.mean()),
        difference=100 * pairs.difference,
        interval=(low, high),
        p_value=p_value,
        detectable=detectable,
        protocol=protocol,
        classes=tuple(sorted(changes, key=lambda each: -abs(each.second - each.first))),
    )


def _rows(model: Evaluated, test_set: str) -> pd.DataFrame:
    """Return the answers by image; several images of one name are paired in their order."""
    table = model.answers[test_set]
    ids, labels = table["image_id"].to_pylist(), table["label"].to_pylist()
    frame = pd.DataFrame({"key": image_keys(ids, labels), "label": labels, "correct": table["correct"].to_pylist()})
    return frame.assign(nth=frame.groupby("key").cumcount())


_COLUMNS = (
    "first model test_set class class_name images first_top1 model_top1 difference difference_low difference_high "
    "only_first only_model p_value p_from detectable protocols_differ_in"
).split()
_HEADER = (
    "model", "test set", "images", "first's top-1", "top-1", "difference (95 %)", "p", "only first", "only model",
    "detectable",
)  # fmt: skip
_LEGEND = "p: McNemar's test (mid-p); detectable: the smallest difference found with 80 % power at 5 %"
_OF_RUNS = "intervals and p are for new runs and images, wide for two runs; images and counts are summed"
_CLASSES_SHOWN = 3
_SMALLEST_P = 1e-4


def write_comparisons(path: Path, found: Sequence[Comparison]) -> None:
    """Write a row for each model and test set, and below it one for each class, those that moved most first."""
    with path.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, _COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        for each in found:
            low, high = each.interval
            start = {"first": each.first, "model": each.second, "test_set": each.test_set}
            row = {
                "images": each.images,
                **_accuracies(each.first_top1, each.second_top1),
                "difference_low": f"{low:.4f}",
                "difference_high": f"{high:.4f}",
                "only_first": each.only_first,
                "only_model": each.only_second,
                "p_value": f"{each.p_value:.4g}",
                "p_from": "runs and images" if each.of_runs else "mid-p",
                "detectable": "" if each.of_runs else f"{each.detectable:.4f}",
                "protocols_differ_in": ", ".join(each.protocol),
            }
            writer.writerow({**start, **row})
            for moved in each.classes:
                one, other = (100 * count / moved.images for count in (moved.first, moved.second))
                known = classes.find(moved.key)
                named = {"class": moved.key, "class_name": known.name if known else ""}
                counted = {"images": moved.images, **_accuracies(one, other)}
                writer.writerow({**start, **named, **counted})


def _accuracies(first: float, second: float) -> dict[str, str]:
    return {"first_top1": f"{first:.4f}", "model_top1": f"{second:.4f}", "difference": f"{second - first:.4f}"}


def format_comparisons(found: Sequence[Comparison]) -> str:
    """Return the tables for the terminal: the differences, then the classes that moved most."""
    rows = [[*_HEADER, "protocols differ in" if any(each.protocol for each in found) else ""]]
    moved: list[str] = []
    for each in found:
        low, high = each.interval
        model, test_set = shortened(each.second, 40), shortened(each.test_set, 40)
        p_value = f"{each.p_value:.4f}" if each.p_value >= _SMALLEST_P else f"<{_SMALLEST_P}"
        cells = [
            model,
            test_set,
            f"{each.images:,}",
            f"{each.first_top1:.1f} %",
            f"{each.second_top1:.1f} %",
            f"{each.difference:+.2f} ({low:+.2f} to {high:+.2f})",
            p_value,
            f"{each.only_first:,}",
            f"{each.only_second:,}",
            "-" if each.of_runs else f"{each.detectable:.2f}",
            ", ".join(each.protocol),
        ]
        rows.append(cells)
        texts = [
            f"{one.second - one.first:+d} of {one.images:,} {shortened(class_of(one.key).name, 30)}"
            for one in each.classes[:_CLASSES_SHOWN]
            if one.first != one.second
        ]
        if texts:
            moved.append(f"  {model}, {test_set}: {', '.join(texts)}")
    title = f"Compared with {found[0].first} on the same images, in percentage points"
    legend = _OF_RUNS if found[0].of_runs else _LEGEND
    if moved:
        moved = ["", "Classes that moved most, in images:", *moved]
    return "\n".join([title, *aligned(rows, left=(0, 1, len(_HEADER))), "", legend, *moved])


def draw_comparisons(found: Sequence[Comparison], path: Path, kind: str) -> None:
    """Draw a row for each test set and model; the same input gives the same bytes. `kind` is .png or .svg."""
    sets = list(dict.fromkeys(each.test_set for each in found))
    models = list(dict.fromkeys(each.second for each in found))
    step = 0.8 / len(models)
    height = 1.5 + 0.25 * len(models) + max(0.35, 0.22 * len(models)) * len(sets)
    with new_figure(path, kind, (1, 1), (7.0, height)) as (figure, (axes,)):
        handles: dict[str, Any] = {}
        for each in found:
            number = models.index(each.second)
            row = sets.index(each.test_set) + (number - (len(models) - 1) / 2) * step
            color, marker = COLORS[number % 7], "osD^vPX"[number % 7]
            small = 0.0 if each.of_runs else each.detectable
            band = axes.barh(row, 2 * small, 0.9 * step, left=-small, color="#E3E3E3", zorder=1)
            axes.plot(each.interval, (row, row), color=color, linewidth=1.5, zorder=3)
            (handles[each.second],) = axes.plot(each.difference, row, marker, color=color, zorder=4)
        if not found[0].of_runs:
            handles["below the smallest detectable difference"] = band
        axes.axvline(0, color=LINE, linewidth=1, zorder=2)
        axes.set_yticks(range(len(sets)), [legend_text(name) for name in sets])
        axes.invert_yaxis()
        axes.set_xlabel(f"top-1 minus that of {legend_text(found[0].first)} (percentage points, 95 %)")
        add_grid(axes, "x")
        add_legend(figure, handles, 2)
