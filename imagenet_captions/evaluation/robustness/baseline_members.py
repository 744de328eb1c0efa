"""The models of a baseline: ordinary models of the imagenet-testbed (Taori et al. 2020), or a table of the user's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.robustness.results import Result, Results, read_testbed
from imagenet_captions.evaluation.robustness.shifts import IMAGENET

BASELINES = ("auto", "standard", "imagenet-only")
LEAST_STANDARD = 55.0  # the testbed's own plots fit the models of at least so many percent
_REPEATED_RUNS = ("aws", "batch64", "subsample")  # retrained or cut-down copies, which the testbed leaves out too


@dataclass(frozen=True)
class Baseline:
    """The models that a baseline is fitted to, and whether by local curves, if there are enough, or by lines."""

    name: str
    models: tuple[Result, ...]
    local: bool
    over: str


@cache
def named_baseline(name: str) -> Baseline:
    """Return a baseline of the testbed: `auto`, or one of the two published definitions.

    >>> [len(named_baseline(name).models) for name in BASELINES]
    [195, 85, 195]
    """
    if name not in BASELINES:
        raise InputError(f"the baseline must be one of {', '.join(BASELINES)}, not {name!r:.40}")
    types = ("standard",) if name == "standard" else ("standard", "low_accuracy_cnn")
    least = LEAST_STANDARD if name == "standard" else 0.0
    models = tuple(
        result
        for result in read_testbed().rows
        if result.training in types
        and not any(word in result.model for word in _REPEATED_RUNS)
        and result.accuracies.get(IMAGENET, -1.0) >= least
    )
    over = {
        "auto": "local curves in logit space over standard and low-accuracy ImageNet models",
        "standard": "lines in logit space over standard ImageNet models of at least 55 %",
        "imagenet-only": "lines in logit space over standard and low-accuracy ImageNet models, down to 0 %",
    }
    return Baseline(name, models, name == "auto", over[name])


def own_baseline(table: Results, name: str) -> Baseline:
    """Return a baseline of the models of a table, which `name` says in a sentence."""
    return Baseline(name, table.rows, True, f"in logit space over the models of {name}")
