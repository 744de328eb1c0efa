"""The settings of trajectories; they are checked before PyTorch is loaded, which takes seconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.settings import LABELS, EvaluateSettings, Reading, parse_test_sets
from imagenet_captions.options import REQUIRED, argument, check, nested, option


@dataclass(frozen=True)
class TrajectorySettings:
    """Runs or ablations, test sets by name with the in-distribution one first, and the folder to write.

    `prompts` and `labels` are as in EvaluateSettings; without `prompts` an ablation's runs keep those of their test.
    """

    runs: tuple[Path, ...] = argument("Runs that `train --keep-every` made, or an ablation's folder.", metavar="RUN...")
    test_sets: tuple[tuple[str, Path], ...] = option(
        "A test set, as for `evaluate`: the in-distribution one first, then one or more shifts.",
        REQUIRED,
        flag="--on",
        metavar="NAME=PATH",
        reads=parse_test_sets,
    )
    out: Path = option("Metrics, trajectories.csv and .svg; the same folder again goes on.", REQUIRED)
    prompts: str | None = option(
        "Prompts of contrastive runs: none, one, 80, or a file of sentences with {} for the name. Default: those of "
        "the ablation, else 80."
    )
    labels: Path | None = option(LABELS)
    reading: Reading = nested(Reading)

    def __post_init__(self) -> None:
        check(self)
        EvaluateSettings(str(self.out), self.test_sets, labels=self.labels)  # refuses wrong test sets
        if len(self.test_sets) < 2:
            raise InputError("a trajectory needs `test_sets` twice or more: the in-distribution one, then the shifts")
