"""Lightning callbacks of a run: the progress bar, and a clean stop on Ctrl-C and SIGTERM."""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from imagenet_captions.engines.interrupts import Interrupts
from imagenet_captions.storage.progress import Bar, progress
from imagenet_captions.training.checkpoints import Checkpoints
from imagenet_captions.training.module import TrainingModule


class Stopped(Exception):
    """Raised when a signal stopped the run; `number` is the signal."""

    def __init__(self, number: int, step: int) -> None:
        super().__init__(number, step)
        self.number = number
        self.step = step


class StopOnSignal(Callback):
    """Stop cleanly on Ctrl-C and SIGTERM: finish the step, then save a checkpoint; a second signal stops at once.

    Only for a run of one process: several would have to agree on the step at which they stop, and go on from their
    last checkpoint instead.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        self._interrupts = Interrupts("the step")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size == 1:
            self._interrupts.__enter__()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        number = self._interrupts.number
        if number is not None and (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            if trainer.global_step < trainer.max_steps:
                self._checkpoints.write(trainer, pl_module)
            raise Stopped(number, trainer.global_step)

    # Both restore Lightning's handlers, before Lightning restores the ones that it replaced.
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._interrupts.restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._interrupts.restore()


class Progress(Callback):
    """A progress bar of steps on stderr, with the last logged loss; reading the loss itself would wait for a GPU."""

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
        assert isinstance(pl_module, TrainingModule)
        if math.isfinite(pl_module.last_loss):
            self._bar.set_postfix(loss=f"{pl_module.last_loss:.3f}", refresh=False)
        self._bar.update(trainer.global_step - self._bar.n)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._stack.close()
