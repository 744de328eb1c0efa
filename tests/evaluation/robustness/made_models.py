"""Models whose accuracies under shift follow a planted plane of their accuracies on three ID sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from imagenet_captions.evaluation.robustness.fits import Baseline, inverse_logit
from imagenet_captions.evaluation.robustness.tables import Result
from imagenet_captions.storage.files import csv_text

IDS = ("imagenet", "yfcc", "laion")
SLOPES, INTERCEPT = np.array([0.7, 0.4, -0.2]), -0.5


def made(
    models: int = 30, noise: float = 0.0, seed: int = 0, shifts: tuple[str, ...] = ("imagenet-v2",)
) -> list[Result]:
    """Models whose accuracies under shift follow the planted plane, with noise in logits."""
    generator = np.random.default_rng(seed)
    x = generator.uniform(-1.5, 1.5, (models, 3))
    y = INTERCEPT + x @ SLOPES + noise * generator.standard_normal(models)
    accuracies = inverse_logit(np.column_stack([x, *[y] * len(shifts)]))
    return [
        Result(f"model {number}", dict(zip((*IDS, *shifts), map(float, row), strict=True)))
        for number, row in enumerate(accuracies)
    ]


def baseline_of(models: list[Result]) -> Baseline:
    return Baseline("made", tuple(models), "over the models of made")


def write_table(path: Path, models: list[Result], without: str = "") -> None:
    columns = [column for column in models[0].accuracies if column != without]
    rows = [["model", *columns]]
    rows += [[model.model, *model.row(columns)] for model in models]
    path.write_text(csv_text(rows))
