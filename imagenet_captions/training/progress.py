"""What a person sees of a run: a bar at a terminal, and nothing elsewhere."""

from __future__ import annotations

import sys
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from tqdm import tqdm


class Progress(Callback):
    """A bar of steps on stderr, with the loss as it was last logged."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._bar: tqdm[Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        shown = trainer.is_global_zero and sys.stderr.isatty()
        self._bar = tqdm(
            total=self._steps, initial=trainer.global_step, unit="step", file=sys.stderr, disable=not shown
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._bar is None or self._bar.disable:
            return
        self._bar.update(trainer.global_step - self._bar.n)
        loss = trainer.callback_metrics.get("loss")
        if loss is not None and trainer.global_step % 10 == 0:
            self._bar.set_postfix(loss=f"{float(loss):.3f}")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._bar is not None:
            self._bar.close()
