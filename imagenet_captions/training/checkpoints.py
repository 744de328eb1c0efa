"""Checkpoints of a run: when they are written, whole files only, and the step at which a run resumes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer

from imagenet_captions.errors import InputError
from imagenet_captions.models.model import Model, model_config_of
from imagenet_captions.models.weights import UNREADABLE, reason
from imagenet_captions.storage.files import replacing
from imagenet_captions.training.module import TrainingModule

FOLDER = "checkpoints"
LAST = "last.ckpt"


class WholeFiles(TorchCheckpointIO):
    """Write Lightning's checkpoints under another name first, so that the last one survives a kill."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        with replacing(Path(path)) as partial, partial.open("wb") as opened:
            torch.save(checkpoint, opened)


class Checkpoints(Callback):
    """Write last.ckpt at the end of each epoch, every so many steps, and at the end of the run.

    `keep_every` epochs one is kept under a name of its own, without being written twice.
    """

    def __init__(self, folder: Path, steps_per_epoch: int, every: int | None, keep_every: int | None) -> None:
        self._folder = folder
        self._steps_per_epoch = steps_per_epoch
        self._every = every
        self._keep_every = keep_every
        self._written_at = -1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step == self._written_at or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        epoch_ends = step % self._steps_per_epoch == 0
        if epoch_ends or step == trainer.max_steps or (self._every is not None and step % self._every == 0):
            self.write(trainer, pl_module)
        if epoch_ends and self._keep_every is not None:
            epoch = step // self._steps_per_epoch
            if epoch % self._keep_every == 0 and trainer.is_global_zero:
                _link(self._folder / LAST, self._folder / f"epoch-{epoch:04}.ckpt")

    def write(self, trainer: Trainer, module: LightningModule) -> None:
        """Write last.ckpt now, between two steps; raises InputError if a loss or weight is NaN or infinite."""
        assert isinstance(module, TrainingModule)
        module.check_losses()
        module.check_weights()
        trainer.save_checkpoint(self._folder / LAST)
        self._written_at = trainer.global_step


def _link(last: Path, kept: Path) -> None:
    """Give the current file a second name; the next last.ckpt is a new file."""
    kept.unlink(missing_ok=True)
    os.link(last, kept)


def read_checkpoint_step(path: Path) -> int:
    """Return the number of steps that a checkpoint has taken.

    Raises InputError for a file that is not a whole checkpoint.
    """
    return int(_read(path)["global_step"])


def check_pixels(path: Path, model: Model) -> None:
    """Raise InputError if a checkpoint's model expects other pixels than this model of the same name."""
    before = _read(path)["hyper_parameters"]["model_config"]["spec"]
    now = model_config_of(model)["spec"]
    differing = next((name for name in now if before.get(name) != now[name]), None)
    if differing is not None:
        raise InputError(
            f"the checkpoint {path} is of a model whose images have {differing} {before.get(differing)}, and those of "
            f"{model.name} now have {now[differing]}; give another `out`, or go on with the version that wrote it"
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        int(checkpoint["global_step"])
    except UNREADABLE as error:
        raise InputError(
            f"the checkpoint {path} is broken ({reason(error)}); remove it to start this run anew, or give another "
            "`out`"
        ) from None
    return checkpoint
