"""Effective robustness once more, in plain Python, straight from the shipped file: the package is held against it."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import imagenet_captions

TESTBED = Path(imagenet_captions.__file__).parent / "data" / "testbed_top1.csv"


def logit(percent: float) -> float:
    return math.log(percent / (100 - percent))


def points(baseline: str, x_column: str, y_column: str) -> list[tuple[float, float]]:
    """Pairs of logits of the models that a baseline is fitted over."""
    found = []
    with TESTBED.open(encoding="utf-8", newline="") as opened:
        for row in csv.DictReader(opened):
            wanted = {"standard"} if baseline == "standard" else {"standard", "low_accuracy_cnn"}
            copied = "aws" in row["model"] or "batch64" in row["model"] or "subsample" in row["model"]
            if row["training"] not in wanted or copied or not row["imagenet"]:
                continue
            if baseline == "standard" and float(row["imagenet"]) < 55:
                continue
            if row[x_column] and row[y_column]:
                x, y = float(row[x_column]), float(row[y_column])
                if 0 < x < 100 and 0 < y < 100:
                    found.append((logit(x), logit(y)))
    return found


def line(pairs: list[tuple[float, float]]) -> tuple[float, float, float]:
    """Slope, intercept and r by the textbook's sums."""
    n = len(pairs)
    x_mean, y_mean = sum(x for x, _ in pairs) / n, sum(y for _, y in pairs) / n
    xx = sum((x - x_mean) ** 2 for x, _ in pairs)
    yy = sum((y - y_mean) ** 2 for _, y in pairs)
    xy = sum((x - x_mean) * (y - y_mean) for x, y in pairs)
    return xy / xx, y_mean - xy / xx * x_mean, xy / math.sqrt(xx * yy) if xx * yy else math.nan


def predict(baseline: str, x_column: str, y_column: str, imagenet: float) -> float:
    slope, intercept, _ = line(points(baseline, x_column, y_column))
    return 100 / (1 + math.exp(-(slope * logit(imagenet) + intercept)))


def local(pairs: list[tuple[float, float]], x: float, counts: list[float] | None = None) -> float:
    """Loess of degree 1 at one place: a line over the nearest 30 %, weighted by tricube, drawn `counts` times."""
    away = [abs(x - each) for each, _ in pairs]
    reach = sorted(away)[math.ceil(0.3 * len(pairs)) - 1]
    weights = [max(0.0, 1 - (distance / reach) ** 3) ** 3 for distance in away]
    if counts is not None:
        weights = [weight * count for weight, count in zip(weights, counts, strict=True)]
    total = sum(weights)
    x_mean = sum(weight * each for weight, (each, _) in zip(weights, pairs, strict=True)) / total
    y_mean = sum(weight * each for weight, (_, each) in zip(weights, pairs, strict=True)) / total
    xx = sum(weight * (each - x_mean) ** 2 for weight, (each, _) in zip(weights, pairs, strict=True))
    xy = sum(weight * (a - x_mean) * (b - y_mean) for weight, (a, b) in zip(weights, pairs, strict=True))
    return y_mean + (xy / xx if xx else 0.0) * (x - x_mean)


def percent(logit_value: float) -> float:
    return 100 / (1 + math.exp(-logit_value))
