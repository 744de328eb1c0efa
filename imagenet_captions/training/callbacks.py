"""Lightning callbacks of a run: the progress bar, and a clean stop on Ctrl-C and SIGTERM."""

from __future__ import annotations

import logging
import signal
import threading
from contextlib import ExitStack
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from imagenet_captions.storage.progress import Bar, progress
from imagenet_captions.training.checkpoints import Checkpoints

log = logging.getLogger(__name__)


class Stopped(Exception):
    """A signal asked for an end; `number` is the signal."""

    def __init__(self, number: int, step: int) -> None:
        super().__init__(number, step)
        self.number = number
        self.step = step


class StopOnSignal(Callback):
    """The first signal ends the run after the step under way, a second one at once.

    Only for a run of one process: several would have to agree on the step at which they stop, and go on from their
    last checkpoint instead. Only the main thread of a program can take signals.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        self._taken: int | None = None
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size == 1 and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._take)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._taken is not None and (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            if trainer.global_step < trainer.max_steps:
                self._checkpoints.write(trainer, pl_module)
            raise Stopped(self._taken, trainer.global_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._give_back()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._give_back()

    def _give_back(self) -> None:
        """Put back the handlers that were there: Lightning's, before it puts back those that it found."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._taken is not None:
            raise KeyboardInterrupt
        self._taken = number
        log.info("finishing the step under way; interrupt again to leave at once")


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
