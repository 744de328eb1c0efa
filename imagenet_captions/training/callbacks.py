"""Lightning's trainer, and what goes along with a run: checkpoints, progress, loggers, and a clean stop."""

from __future__ import annotations

import math
import os
import secrets
import signal
import threading
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
from imagenet_captions.errors import InputError, interrupt, shortened
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
    """Raised after the step in which a signal came, with its number."""


class RunCallback(Callback):
    """Show the progress, write checkpoints, and stop cleanly on Ctrl-C and SIGTERM.

    last.ckpt is written at the end of each epoch, every `save_every` steps, and at the end of the run. Every
    `keep_every` epochs one is kept under a name of its own, without being written twice. A signal stops the run after
    the step, with a checkpoint of it; several processes would have to agree on the step, and end at once.
    """

    def __init__(self, settings: TrainSettings, length: Length) -> None:
        self._settings = settings
        self._length = length
        self._interrupts = Interrupts("the step")
        self._sigterm = signal.getsignal(signal.SIGTERM)
        self._bar: Bar | None = None
        self._stack = ExitStack()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size == 1:
            self._stack.enter_context(self._interrupts)
        elif threading.current_thread() is threading.main_thread():
            # Lightning's own handler waits for the other processes, which may wait for this one.
            signal.signal(signal.SIGTERM, self._sigterm or interrupt)  # SIG_DFL is 0
        if trainer.is_global_zero:
            bar = progress("train", self._length.steps, "steps", trainer.global_step)
            self._bar = self._stack.enter_context(bar)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, TrainingModule)
        step = trainer.global_step
        if self._bar is not None:
            # The last logged loss; reading the loss itself would wait for a GPU.
            if math.isfinite(pl_module.last_loss):
                self._bar.set_postfix(loss=f"{pl_module.last_loss:.3f}", refresh=False)
            self._bar.update(step - self._bar.n)
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        every, keep_every = self._settings.save_every, self._settings.keep_every
        epoch, rest = divmod(step, self._length.steps_per_epoch)
        due = rest == 0 or step == self._length.steps or (every is not None and step % every == 0)
        folder = self._settings.out / FOLDER
        if due or self._interrupts.wanted:
            pl_module.check_numbers()
            trainer.save_checkpoint(folder / LAST)
        if rest == 0 and keep_every is not None and epoch % keep_every == 0 and trainer.is_global_zero:
            kept = folder / f"epoch-{epoch:04}.ckpt"
            kept.unlink(missing_ok=True)
            os.link(folder / LAST, kept)  # a second name; the next last.ckpt is a new file
        if self._interrupts.wanted:
            raise Stopped(self._interrupts.number)

    # Both restore Lightning's handlers, before Lightning restores the ones that it replaced.
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
        callbacks=[RunCallback(settings, length)],
        plugins=[WholeFiles()],
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )


def fit(trainer: Trainer, module: TrainingModule, feed: Iterable[Batch], checkpoint: Path | None = None) -> None:
    """Train; raises KeyboardInterrupt, with the signal's number, if one came."""
    try:
        trainer.fit(module, train_dataloaders=feed, ckpt_path=checkpoint, weights_only=True)
    except Stopped as stop:
        raise KeyboardInterrupt(*stop.args) from None
    except SystemExit as ended:  # Lightning's answer to a KeyboardInterrupt
        if isinstance(ended.__context__, KeyboardInterrupt):
            raise ended.__context__ from None
        raise
