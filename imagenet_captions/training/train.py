"""Run a training: from settings to a model folder, stopped and resumed at any step."""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from typing import Any

import torch

from imagenet_captions.errors import DiskFullError, InputError, shortened
from imagenet_captions.images.examples import Class, Examples, classes_without_images, require_classes
from imagenet_captions.models.build import build_model, with_drop_path
from imagenet_captions.models.config import ProjectorConfig, config_of
from imagenet_captions.models.hardware import checkpoint_blocks, cpu_threads, gpu_settings
from imagenet_captions.models.load import load_model, save_model
from imagenet_captions.models.model import Model
from imagenet_captions.models.weights import put_weights
from imagenet_captions.storage.files import write_json
from imagenet_captions.storage.outputs import LOCK, check_folder, check_nothing_else, locked
from imagenet_captions.training.batches import Feed
from imagenet_captions.training.callbacks import FOLDER, LAST, fit, make_trainer, read_checkpoint_step, wandb_run
from imagenet_captions.training.data import open_rows
from imagenet_captions.training.module import Length, TrainingModule, warmup_steps
from imagenet_captions.training.processes import check_devices, check_launch, process_rank
from imagenet_captions.training.settings import (
    MODEL_FOLDER,
    SETTINGS_FILE,
    TrainResult,
    TrainSettings,
    check_settings,
    read_done,
    settings_record,
    write_done,
)

log = logging.getLogger(__name__)

_QUIET = ("lightning.pytorch", "lightning.fabric", "lightning_fabric")


def train(settings: TrainSettings) -> TrainResult | None:
    """Train a model, or resume a run that was stopped; a finished run is left as it is.

    The run's folder has settings.json, checkpoints/last.ckpt, logs/, model/ and, last of all, done.json. Of several
    processes all call this, and the first one alone has the result. Raises InputError; a signal, KeyboardInterrupt.
    """
    first, out = process_rank() == 0, settings.out
    check_launch(settings.devices, settings.nodes)
    check_folder(out, settings.files())
    if not (out / SETTINGS_FILE).exists():
        check_nothing_else(out, "is not a run")
    check_settings(settings)
    done = read_done(out)
    if done is not None:
        log.info("%s is finished: %d steps, loss %.4f", out, done.steps, done.loss)
        return done if first else None
    check_devices(settings.accelerator, settings.devices)
    if settings.init is None:
        config_of(settings.recipe.model)
    with _explained_faults(settings), _quiet(first):
        result = _train(settings, first)
    gc.collect()  # Lightning's trainer and the model refer to each other, and another training may follow
    return result


def _train(settings: TrainSettings, first: bool) -> TrainResult | None:
    """Check everything before anything is written, then train."""
    recipe, out = settings.recipe, settings.out
    examples, head = open_training_set(settings)
    model = make_model(settings, head)
    if settings.grad_checkpointing:
        checkpoint_blocks(model)
    feed = Feed(examples, head, model, settings)
    length = Length(settings.steps or recipe.epochs * feed.steps_per_epoch, feed.steps_per_epoch)
    module = TrainingModule(model, recipe, length, settings.seed, settings.log_every)
    trainer = make_trainer(settings, length)
    with locked(out / LOCK, f"the run {out}") if first else nullcontext():
        if first and not (out / SETTINGS_FILE).exists():
            write_json(out / SETTINGS_FILE, settings_record(settings))
        last = out / FOLDER / LAST
        start = read_checkpoint_step(last) if last.exists() else 0
        if start:
            feed.start_at(start)
            log.info("going on at step %d of %d", start, length.steps)
        else:
            said = "%s: %d images, %d steps an epoch, %d in all, %d images a step"
            log.info(said, recipe.objective, feed.images, feed.steps_per_epoch, length.steps, feed.step_size)
        if feed.images < recipe.batch_size:
            said = "note: %s has %d images to train on, fewer than a batch of %d; each step has %d"
            log.warning(said, settings.data, feed.images, recipe.batch_size, feed.step_size)
        warmup = warmup_steps(recipe, length)
        if warmup >= length.steps:
            said = "note: the warm-up of %d steps is as long as the run; the rate never reaches %g"
            log.warning(said, warmup, recipe.lr)
        tracked = wandb_run(trainer.loggers, settings) if first else nullcontext()
        device = trainer.strategy.root_device
        with tracked, gpu_settings(device, model), cpu_threads(model.spec.size, settings.threads), closing(feed):
            fit(trainer, module, feed, last if start else None)
        module.check_numbers()
        if not trainer.is_global_zero:
            return None
        save_model(model, out / MODEL_FOLDER)
        result = TrainResult(out, module.last_loss, length.steps, length.steps * feed.step_size, module.seconds())
        write_done(result)
        return result


@contextmanager
def _quiet(first: bool) -> Iterator[None]:
    """Silence Lightning's notes, and let only the first process log."""
    names = _QUIET if first else (*_QUIET, __package__)
    loggers: list[tuple[Any, int]] = [(logger := logging.getLogger(name), logger.level) for name in names]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning(\.|_)")
        # open_clip's loss gathers with a function that torch 2.13 deprecates.
        warnings.filterwarnings("ignore", message=r"torch\.distributed\.nn\.functional", category=FutureWarning)
        try:
            for logger, _ in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in loggers:
                logger.setLevel(level)


_NO_MEMORY = ("allocate memory", "not enough memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
_NO_SPACE = ("PytorchStreamWriter failed", "No space left on device", "unexpected pos")


@contextmanager
def _explained_faults(settings: TrainSettings) -> Iterator[None]:
    """Turn memory and disk errors into one sentence that says what to change; other errors pass."""
    try:
        yield
    except RuntimeError as error:
        said, recipe = str(error), settings.recipe
        if isinstance(error, torch.cuda.OutOfMemoryError) or any(words in said for words in _NO_MEMORY):
            at_once = recipe.batch_size // (settings.processes * recipe.accumulate)
            raise InputError(
                f"memory ran out with {at_once} images a process at a time (`batch_size` "
                f"{recipe.batch_size}); lower it, raise `accumulate` or `devices`, or try `precision='bf16-mixed'` or "
                "`grad_checkpointing=True`"
            ) from None
        if any(words in said for words in _NO_SPACE):
            raise DiskFullError(
                f"{settings.out}: no space is left on the disk; the checkpoint before is whole: free some space and "
                "run the same command again"
            ) from None
        raise


def open_training_set(settings: TrainSettings) -> tuple[Examples, tuple[Class, ...]]:
    """Return the images to train on, and the classes of a supervised run's head."""
    examples = open_rows(settings.data, settings.ids)
    if not settings.recipe.needs.labels:
        return examples, ()
    classes = require_classes(examples)
    empty = classes_without_images(examples)
    if not empty or settings.empty_classes == "keep":
        return examples, classes
    if settings.empty_classes == "drop":
        return examples, tuple(class_ for class_ in classes if class_ not in set(empty))
    first, more = empty[0], f" and {len(empty) - 1} more" if len(empty) > 1 else ""
    raise InputError(
        f"no image of {settings.data} is of class {shortened(first.key, 40)} ({shortened(first.name, 40)}){more}; give "
        f"`empty_classes='drop'` for a head without, or keep for one with all {len(classes):,}"
    )


def make_model(settings: TrainSettings, head: Sequence[Class]) -> Model:
    """Return the model that training starts from, with the parts that its objective needs and no others."""
    recipe = settings.recipe
    model = build_model(recipe.model, settings.seed) if settings.init is None else load_model(settings.init)
    if recipe.drop_path:
        model = with_drop_path(model, recipe.drop_path)
    model.drop_projector()
    if recipe.needs.labels:
        model.set_head([class_.key for class_ in head], settings.seed)
    else:
        model.drop_head()
    if recipe.needs.views:
        model.set_projector(ProjectorConfig(hidden=model.width), settings.seed)
    if not recipe.needs.texts:
        model.drop_text()
        return model
    if not model.has_text:
        raise InputError(
            f"{settings.init or recipe.model} has no text tower, and the contrastive objective needs one; "
            f"give its image tower with `init_image` and a model with both as `model`"
        )
    if settings.init_image is not None:
        source = load_model(settings.init_image)
        if source.spec != model.spec:
            raise InputError(
                f"the images of {settings.init_image} are made by other rules than those of {model.name} "
                f"({source.spec.size} pixels and {model.spec.size}, or other colors); give the `model` it was made of"
            )
        put_weights(model.image, source.image.state_dict(), f"{source.name}'s image tower")
    if recipe.lock != "none":
        model.lock(recipe.lock)
    return model
