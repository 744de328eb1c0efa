"""Accuracies of the factor `domain`: those on the held-out classes alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imagenet_captions.ablations.arms import TrainingSet
from imagenet_captions.ablations.domain.mixtures import Domains
from imagenet_captions.ablations.inputs import Inputs
from imagenet_captions.ablations.reports.results import RunResult
from imagenet_captions.ablations.table import Table

Masks = Mapping[str, npt.NDArray[np.bool_]]


def held_out_images(domains: Domains, inputs: Inputs, tests: Mapping[str, Path], micro: bool) -> Masks:
    """Return which images of each test set are of held-out classes.

    Test sets of other names than the domains', such as imagenet, are left whole; in miniature all are of domains.
    """
    named = {*domains.others, domains.natural}
    held = {domains.classes[label] for label in domains.held_out}
    masks = {}
    for name, path in tests.items():
        if micro or name in named:
            examples = inputs.examples(path)
            inside = [label for label, each in enumerate(examples.classes or ()) if each.name in held]
            masks[name] = np.isin(examples.labels[examples.labels >= 0], inside)
    return {name: mask for name, mask in masks.items() if mask.any()}


def mixture_notes(inputs: Inputs, mixed: TrainingSet, table: Table) -> list[str]:
    """Return a note on the held-out classes, and one on each arm: its rows by domain, and the list of their ids."""
    assert mixed.domains is not None
    held = ", ".join(mixed.domains.classes[label] for label in mixed.domains.held_out)
    lines = [f"Accuracies on test sets of domains are those on the held-out classes alone: {held}."]
    for arm, runs in table.arms().items():
        ids = inputs.rows(mixed.name, runs[0].pick).ids
        counted = mixed.domains.describe(runs[0].pick, inputs.seed)
        lines.append(f"- {arm} trains on {counted} (inputs/rows/{ids.name}).")
    return lines


def on_held_out(result: RunResult, masks: Masks) -> RunResult:
    """Return a run's results on the held-out classes."""
    answers = {name: found[masks[name]] if name in masks else found for name, found in result.answers.items()}
    sets = dict(result.metrics["test_sets"])
    for name in masks.keys() & answers.keys():
        sets[name] = {**sets[name], "top1": float(np.mean(answers[name])), "n": len(answers[name])}
    return replace(result, answers=answers, metrics={**result.metrics, "test_sets": sets})
