"""The settings of trajectories; they are checked before PyTorch is loaded, which takes seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.settings import EvaluateSettings, Reading


@dataclass(frozen=True)
class TrajectorySettings:
    """Runs or ablations, test sets by name with the in-distribution one first, and the folder to write.

    `prompts` and `labels` are as in EvaluateSettings; without `prompts` an ablation's runs keep those of their test.
    """

    runs: tuple[Path, ...]
    test_sets: tuple[tuple[str, Path], ...]
    out: Path
    prompts: str | None = None
    labels: Path | None = None
    reading: Reading = field(default_factory=Reading)

    def __post_init__(self) -> None:
        EvaluateSettings(str(self.out), self.test_sets, labels=self.labels)  # refuses wrong test sets
        if len(self.test_sets) < 2:
            raise InputError("a trajectory needs `test_sets` twice or more: the in-distribution one, then the shifts")
