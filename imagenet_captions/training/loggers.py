"""The loggers of a run: CSV files, TensorBoard files, and Weights & Biases."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import msgspec
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from imagenet_captions.errors import InputError
from imagenet_captions.storage.files import read_json, write_json
from imagenet_captions.training.settings import TrainSettings, settings_record

_FOLDER = "logs"
_WANDB_FILE = "wandb.json"  # holds the run's id at W&B


class _Kept(msgspec.Struct):
    id: str


def make_loggers(settings: TrainSettings) -> list[Logger]:
    """Return the loggers of a run; CSV and TensorBoard write a new file each time the run starts."""
    folder = settings.out / _FOLDER
    loggers: list[Logger] = []
    if "csv" in settings.log:
        loggers.append(CSVLogger(folder, name="csv", flush_logs_every_n_steps=1))
    if "tensorboard" in settings.log:
        loggers.append(TensorBoardLogger(folder, name="tensorboard", version=""))
    if "wandb" in settings.log:
        if find_spec("wandb") is None:
            raise InputError("`log` wandb needs wandb; install it with: pip install wandb")
        run_id = _read_wandb_id(folder) or secrets.token_hex(4)
        loggers.append(WandbLogger(name=settings.out.name, save_dir=folder, id=run_id, resume="allow"))
    return loggers


@contextmanager
def wandb_run(loggers: Sequence[Logger], settings: TrainSettings) -> Iterator[None]:
    """Give W&B the run's settings, keep its id for resuming, and close it at the end."""
    logger = next((each for each in loggers if isinstance(each, WandbLogger)), None)
    if logger is None:
        yield
        return
    _start(logger, settings)
    write_json(settings.out / _FOLDER / _WANDB_FILE, {"id": logger.version})
    try:
        yield
    finally:
        logger.experiment.finish()


def _start(logger: WandbLogger, settings: TrainSettings) -> None:
    from wandb.errors import Error

    try:
        logger.log_hyperparams(settings_record(settings))
    except Error as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise InputError(
            f"W&B cannot be used ({reason}); log in with `wandb login`, or set WANDB_MODE=offline"
        ) from None


def _read_wandb_id(folder: Path) -> str | None:
    path = folder / _WANDB_FILE
    if not path.exists():
        return None
    return read_json(path, _Kept, "the id of the W&B run").id
