"""What a person sees of a run: a bar at a terminal, and elsewhere one line at its start."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from imagenet_captions.storage.progress import Bar, progress


class Progress(Callback):
    """A bar of steps on stderr, with the loss as it was last logged."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._bar: Bar | None = None
        self._stack = ExitStack()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self._bar = self._stack.enter_context(progress("train", self._steps, "steps", trainer.global_step))

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
        self._stack.close()
