"""Estimate how long a training takes: from a measured step, and from reported throughputs of GPUs."""

from __future__ import annotations

from dataclasses import dataclass

from imagenet_captions.ablations.reports.published import throughput_of
from imagenet_captions.training.recipe import Recipe


@dataclass(frozen=True)
class StepTime:
    """The seconds that a training step takes for each image, and the device that they were measured on."""

    seconds: float
    batch_size: int
    device: str
    gpu: bool

    def hours(self, images: int) -> float:
        """Return the hours for this number of images."""
        return self.seconds * images / 3600


def reported_hours(recipe: Recipe, images: int) -> str:
    """Return the GPU hours for this number of images at the reported throughput, or "" where none was reported."""
    found = throughput_of(recipe.objective, recipe.model, recipe.precision)
    return f"{format_hours(images / found.images_per_second / 3600)} {found.gpu}" if found else ""


def format_hours(hours: float) -> str:
    """Return a time in readable units.

    >>> format_hours(0.02), format_hours(3.04), format_hours(1234)
    ('1.2 min', '3.0 h', '1,234 h')
    """
    if hours < 1:
        return f"{60 * hours:.1f} min"
    return f"{hours:.1f} h" if hours < 100 else f"{hours:,.0f} h"
