"""Compare evaluated models image by image: each with the first, on every test set that both have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from imagenet_captions.errors import InputError, shortened
from imagenet_captions.evaluation.answers import answers_path
from imagenet_captions.evaluation.comparison.evaluated import Evaluated, differing, read_evaluated
from imagenet_captions.evaluation.comparison.paired import (
    FEW,
    Pairs,
    mcnemar,
    smallest_detectable,
)
from imagenet_captions.evaluation.protocol import image_keys
from imagenet_captions.storage.outputs import producing
from imagenet_captions.storage.places import local_place


@dataclass(frozen=True)
class ClassChange:
    """One class: its images, and how many of them each of two models gets right."""

    key: str
    images: int
    first: int
    second: int


@dataclass(frozen=True)
class Comparison:
    """Two models on one test set; accuracies and differences are in percent and percentage points.

    `classes` begins with those that moved by most images. `protocol` lists in what the two protocols differ.
    """

    first: str
    second: str
    test_set: str
    pairs: Pairs
    first_top1: float
    second_top1: float
    classes: tuple[ClassChange, ...]
    protocol: tuple[str, ...] = ()

    @property
    def difference(self) -> float:
        """The second model's accuracy minus the first one's."""
        return 100 * self.pairs.difference

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the difference, by Bonett and Price."""
        low, high = self.pairs.interval
        return 100 * low, 100 * high

    @property
    def p_value(self) -> float:
        """The p-value of McNemar's test."""
        return mcnemar(self.pairs)

    @property
    def exact(self) -> bool:
        """Whether McNemar's test is exact, as it is for few discordant images."""
        return self.pairs.discordant < FEW

    @property
    def detectable(self) -> float:
        """The smallest difference that a test set of these images detects: 80 % power at 5 %."""
        return 100 * smallest_detectable(self.pairs)


def compare(
    first: str | Path,
    *others: str | Path,
    across_protocols: bool = False,
    out: str | Path | None = None,
    plot: str | Path | None = None,
    overwrite: bool = False,
) -> tuple[Comparison, ...]:
    """Compare evaluated models with the first one, image by image, on every test set that both have.

        (found,) = ic.compare("runs/a/metrics.json", "runs/b/metrics.json", out="compare.csv")
        found.difference, found.interval, found.p_value, found.detectable

    Each model is a metrics.json or a folder that holds one. `out` gets a table with a row for each test set and class,
    `plot` a figure (.png or .svg). `overwrite` allows replacing files that exist. Raises InputError for
    models that were measured by different protocols, unless `across_protocols` allows them; then only the images that
    both have are compared.
    """
    from imagenet_captions.evaluation.comparison.figure import check_figure_path, draw_comparisons
    from imagenet_captions.evaluation.comparison.table import write_comparisons

    places = [local_place(str(place)) for place in (first, *others)]
    table, figure = (None if path is None else local_place(str(path)) for path in (out, plot))
    if len(places) < 2:
        raise InputError("a comparison needs two models; give another metrics.json or run")
    if figure is not None:
        check_figure_path(figure, "plot")
    models = [read_evaluated(place) for place in places]
    inputs = [file for model in models for file in (model.file, answers_path(model.file))]
    written = [path for path in (table, figure) if path is not None]
    with producing(written, inputs, overwrite) as partials:
        found = tuple(
            comparison for model in models[1:] for comparison in _pairwise(models[0], model, across_protocols)
        )
        new = dict(zip(written, partials, strict=True))
        if table is not None:
            write_comparisons(new[table], found)
        if figure is not None:
            draw_comparisons(found, new[figure], figure.suffix)
    return found


def _pairwise(first: Evaluated, second: Evaluated, across_protocols: bool) -> Iterator[Comparison]:
    """Yield the comparisons of two models, after a check of all protocols."""
    common = [name for name in first.answers if name in second.answers]
    if not common:
        raise InputError(
            f"{first.name} and {second.name} have no test set in common ({_some(first)}; {_some(second)}); evaluate "
            "both on the same sets"
        )
    differences = {name: differing(first, second, name) for name in common}
    if any(differences.values()) and not across_protocols:
        said = "; ".join(f"{name}: {', '.join(found)}" for name, found in differences.items() if found)
        raise InputError(
            f"{second.name} was measured by another protocol than {first.name} ({shortened(said, 200)}); evaluate both "
            "alike, or compare with `across_protocols=True`"
        )
    for name in common:
        yield _compare(first, second, name, differences[name])


def _some(model: Evaluated) -> str:
    return shortened(", ".join(model.answers))


def _compare(first: Evaluated, second: Evaluated, test_set: str, protocol: tuple[str, ...]) -> Comparison:
    joined = _rows(first, test_set).merge(_rows(second, test_set), on=["key", "nth"], suffixes=("_first", "_second"))
    if joined.empty:
        raise InputError(f"{first.name} and {second.name} have no image of {test_set} in common; evaluate again")
    one, other = joined["correct_first"], joined["correct_second"]
    by_class = joined.groupby("label_first", sort=True)[["correct_first", "correct_second"]].agg(["size", "sum"])
    classes = [
        ClassChange(str(key), *map(int, (row[0], row[1], row[3])))
        for key, row in zip(by_class.index, by_class.to_numpy(), strict=True)
    ]
    return Comparison(
        first.name,
        second.name,
        test_set,
        Pairs(len(joined), int((one & ~other).sum()), int((other & ~one).sum())),
        100 * float(one.mean()),
        100 * float(other.mean()),
        tuple(sorted(classes, key=lambda each: -abs(each.second - each.first))),
        protocol,
    )


def _rows(model: Evaluated, test_set: str) -> pd.DataFrame:
    """Return the answers by image; several images of one name are paired in their order."""
    table = model.answers[test_set]
    ids, labels = table["image_id"].to_pylist(), table["label"].to_pylist()
    frame = pd.DataFrame({"key": image_keys(ids, labels), "label": labels, "correct": table["correct"].to_pylist()})
    return frame.assign(nth=frame.groupby("key").cumcount())
