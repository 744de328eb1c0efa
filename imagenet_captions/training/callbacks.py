"""Lightning's trainer, and what goes along with a run: checkpoints, progress, loggers, and a clean stop."""

from __future__ import annotations

import math
import os
import secrets
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from imagenet_captions.engines.local import Interrupts
from imagenet_captions.errors import InputError, StoppedEarly, shortened
from imagenet_captions.models.weights import UNREADABLE, reason
from imagenet_captions.storage.files import read_json, replacing, write_json
from imagenet_captions.storage.progress import Bar, progress
from imagenet_captions.training.batches import Batch
from imagenet_captions.training.module import Length, TrainingModule
from imagenet_captions.training.settings import TrainSettings, settings_record

FOLDER = "checkpoints"
LAST = "last.ckpt"


class WholeFiles(TorchCheckpointIO):
    """Write Lightning's checkpoints under another name first, so that the last one survives a kill."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        with replacing(Path(path)) as partial, partial.open("wb") as opened:
            torch.save(checkpoint, opened)


class Stopped(Exception):
    """Raised when a signal stopped the run: the number of the signal, and the step."""


class Checkpoints(Callback):
    """Write last.ckpt at the end of each epoch, every so many steps, and at the end of the run.

    `keep_every` epochs one is kept under a name of its own, without being written twice. Ctrl-C and SIGTERM stop the
    run after the step, with a checkpoint of it; several processes would have to agree on the step, and end at once.
    """

    def __init__(self, folder: Path, steps_per_epoch: int, every: int | None, keep_every: int | None) -> None:
        self._folder = folder
        self._steps_per_epoch = steps_per_epoch
        self._every = every
        self._keep_every = keep_every
        self._interrupts = Interrupts("the step")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size == 1:
            self._interrupts.__enter__()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        step, stop = trainer.global_step, self._interrupts.number
        epoch, rest = divmod(step, self._steps_per_epoch)
        due = rest == 0 or step == trainer.max_steps or (self._every is not None and step % self._every == 0)
        if due or stop is not None:
            assert isinstance(pl_module, TrainingModule)
            pl_module.check_numbers()
            trainer.save_checkpoint(self._folder / LAST)
        if rest == 0 and self._keep_every is not None and epoch % self._keep_every == 0 and trainer.is_global_zero:
            kept = self._folder / f"epoch-{epoch:04}.ckpt"
            kept.unlink(missing_ok=True)
            os.link(self._folder / LAST, kept)  # a second name; the next last.ckpt is a new file
        if stop is not None:
            raise Stopped(stop, step)

    # Both restore Lightning's handlers, before Lightning restores the ones that it replaced.
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._interrupts.restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._interrupts.restore()


class Progress(Callback):
    """The progress in steps, with the last logged loss; reading the loss itself would wait for a GPU."""

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
        if self._bar is None:
            return
        assert isinstance(pl_module, TrainingModule)
        if math.isfinite(pl_module.last_loss):
            self._bar.set_postfix(loss=f"{pl_module.last_loss:.3f}", refresh=False)
        self._bar.update(trainer.global_step - self._bar.n)

    # A message after the run has a line of its own.
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stack.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._stack.close()


def read_checkpoint_step(path: Path) -> int:
    """Return the number of steps that a checkpoint has taken; raises InputError for a file that is not whole."""
    try:
        return int(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["global_step"])
    except UNREADABLE as error:
        raise InputError(
            f"the checkpoint {path} is broken ({reason(error)}); remove it to start this run anew, or give another "
            "`out`"
        ) from None


_LOGS = "logs"
_WANDB_FILE = "wandb.json"  # holds the run's id at W&B


def make_loggers(settings: TrainSettings) -> list[Logger]:
    """Return the loggers of a run; CSV and TensorBoard write a new file each time the run starts."""
    folder = settings.out / _LOGS
    loggers: list[Logger] = []
    if "csv" in settings.log:
        loggers.append(CSVLogger(folder, name="csv", flush_logs_every_n_steps=1))
    if "tensorboard" in settings.log:
        loggers.append(TensorBoardLogger(folder, name="tensorboard", version=""))
    if "wandb" in settings.log:
        if find_spec("wandb") is None:
            raise InputError("`log` wandb needs wandb; install it with: pip install wandb")
        run_id = secrets.token_hex(4)
        if (folder / _WANDB_FILE).exists():
            run_id = read_json(folder / _WANDB_FILE, dict[str, str], "the id of the W&B run")["id"]
        loggers.append(WandbLogger(name=settings.out.name, save_dir=folder, id=run_id, resume="allow"))
    return loggers


@contextmanager
def wandb_run(loggers: Sequence[Logger], settings: TrainSettings) -> Iterator[None]:
    """Give W&B the run's settings, keep its id for resuming, and close it at the end."""
    logger = next((each for each in loggers if isinstance(each, WandbLogger)), None)
    if logger is None:
        yield
        return
    from wandb.errors import Error

    try:
        logger.log_hyperparams(settings_record(settings))
    except Error as error:
        raise InputError(
            f"W&B cannot be used ({shortened(error)}); log in with `wandb login`, or set WANDB_MODE=offline"
        ) from None
    write_json(settings.out / _LOGS / _WANDB_FILE, {"id": logger.version})
    try:
        yield
    finally:
        logger.experiment.finish()


def make_trainer(settings: TrainSettings, length: Length) -> Trainer:
    """Return Lightning's trainer; it runs one long epoch, since this package counts epochs and resumes in steps."""
    recipe = settings.recipe
    checkpoints = Checkpoints(settings.out / FOLDER, length.steps_per_epoch, settings.save_every, settings.keep_every)
    return Trainer(
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.nodes,
        strategy="auto" if settings.processes == 1 else "ddp",
        precision=recipe.precision,  # type: ignore[arg-type]
        max_steps=length.steps,
        max_epochs=-1,
        accumulate_grad_batches=recipe.accumulate,
        gradient_clip_val=recipe.clip_norm,
        sync_batchnorm=recipe.sync_batchnorm and settings.processes > 1,
        use_distributed_sampler=False,
        logger=make_loggers(settings),
        callbacks=[Progress(length.steps), checkpoints],
        plugins=[WholeFiles()],
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )


def fit(trainer: Trainer, module: TrainingModule, feed: Iterable[Batch], checkpoint: Path | None = None) -> None:
    """Train, and turn a stop into StoppedEarly or KeyboardInterrupt."""
    try:
        trainer.fit(module, train_dataloaders=feed, ckpt_path=checkpoint, weights_only=True)
    except (Stopped, SystemExit) as stop:
        if isinstance(stop, Stopped) and stop.args[0] == signal.SIGTERM:
            said = f"stopped by a signal after step {stop.args[1]}, which is kept; run the same command to go on"
            raise StoppedEarly(said) from None
        if isinstance(stop, Stopped) or trainer.interrupted:  # Lightning's answer to a second Ctrl-C
            raise KeyboardInterrupt from None
        raise
