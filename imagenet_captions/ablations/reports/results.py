"""The results of an ablation: for every run its training data and accuracies, or why it failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imagenet_captions.ablations.planning import Amount
from imagenet_captions.ablations.reports.compare import Answers
from imagenet_captions.ablations.reports.differences import Apart
from imagenet_captions.ablations.table import Run, Table


@dataclass(frozen=True)
class TextSample:
    """One training sample as the model got it: pictures by file, the text, and the class."""

    pictures: tuple[str, ...]
    text: str
    label: str


@dataclass(frozen=True)
class RunResult:
    """One run's results; `metrics` is metrics.json; it and `answers` are empty for a stage without a test."""

    run: Run
    amount: Amount
    model: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    answers: Answers = field(default_factory=dict)
    failure: str = ""

    @property
    def tested(self) -> bool:
        """Whether the run has accuracies."""
        return bool(self.metrics)

    def top1(self, test_set: str) -> tuple[float, int]:
        """Return the accuracy in percent on a test set, and its number of images."""
        entry = self.metrics["test_sets"][test_set]
        return 100 * float(entry["top1"]), int(entry["n"])


@dataclass(frozen=True)
class FactorResult:
    """One factor's table with its results.

    For each comparison `shared` says what its arms share and `apart` in what they differ; `notes` are what else a
    reader should know.
    """

    table: Table
    results: Mapping[str, RunResult]
    samples: Mapping[str, Sequence[TextSample]]
    shared: Sequence[str]
    apart: Sequence[Sequence[Apart]]
    notes: Sequence[str] = ()

    def arm(self, name: str) -> list[RunResult]:
        """Return the results of an arm, one for each seed."""
        return [self.results[run.name] for run in self.table.arms()[name]]

    def tested_arms(self) -> dict[str, list[RunResult]]:
        """Return the arms all of whose seeds have accuracies."""
        arms = {name: self.arm(name) for name in self.table.arms()}
        return {name: found for name, found in arms.items() if all(result.tested for result in found)}
