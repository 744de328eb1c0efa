"""Measure a training step of the real model on this machine, for the estimates of a dry run."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

from imagenet_captions.ablations.estimate import StepTime
from imagenet_captions.models.build import build_model
from imagenet_captions.models.checkpointing import checkpoint_blocks
from imagenet_captions.models.config import ProjectorConfig
from imagenet_captions.models.hardware import SMALL, cpu_threads, gpu_settings
from imagenet_captions.models.model import Model
from imagenet_captions.models.presets import config_of
from imagenet_captions.training.data.batches import Batch
from imagenet_captions.training.objectives import make_objective
from imagenet_captions.training.optimizers import make_optimiser
from imagenet_captions.training.recipe import CONTRASTIVE, SIMCLR, SUPERVISED, Recipe

_CLASSES = 1000
_MOST_IMAGES = {"cpu": 4, "cuda": 128}
_STEPS = 2
_TEXT = "a photographer's title, some tags and a description of what is to be seen"


def measure_step(
    recipe: Recipe,
    threads: int | None = None,
    grad_checkpointing: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> StepTime:
    """Return the fastest of a few training steps on noise: forward, backward, optimizer.

    It computes as the run will: in the recipe's precision, on a GPU with channels last and TF32, and with gradient
    checkpointing where that is asked for.

    Models of larger images are measured on a small batch, to save memory: a step of a large batch takes a little less
    an image. Reading images is not measured; a run that waits for its images takes longer.
    """
    with cpu_threads(_side(recipe), threads):
        return _measure(recipe, grad_checkpointing, clock)


def _measure(recipe: Recipe, grad_checkpointing: bool, clock: Callable[[], float]) -> StepTime:
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    part = recipe.batch_size // recipe.accumulate
    size = min(part, _MOST_IMAGES[kind] if _side(recipe) > SMALL else part)
    model = _ready(recipe).to(kind).train()
    if grad_checkpointing:
        checkpoint_blocks(model)
    batch = _batch(model, recipe, size).to(kind)
    objective = make_objective(recipe)
    optimiser = make_optimiser(recipe, model.named_parameters())
    times = []
    with gpu_settings(torch.device(kind), model):
        for _ in range(_STEPS):
            start = clock()
            with _in_precision(recipe.precision, kind):
                loss = objective(model, batch)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            float(loss.detach())  # waits for the device
            times.append(clock() - start)
    return StepTime(min(times) / size, size, _device_name(kind), kind == "cuda")


def _in_precision(precision: str, kind: str) -> AbstractContextManager[None]:
    """Compute as Lightning does in this precision."""
    if precision == "32":
        return nullcontext()
    numbers = torch.bfloat16 if precision == "bf16-mixed" else torch.float16
    return torch.autocast(kind, dtype=numbers)


def _side(recipe: Recipe) -> int:
    """Return the side in pixels of the images that the recipe's model expects."""
    return int(config_of(recipe.model).spec.size)


def _ready(recipe: Recipe) -> Model:
    model = build_model(recipe.model, seed=0)
    if recipe.objective == SUPERVISED:
        model.drop_text()
        model.set_head([str(number) for number in range(_CLASSES)])
    elif recipe.objective == SIMCLR:
        model.drop_text()
        model.set_projector(ProjectorConfig(hidden=model.width))
    return model


def _batch(model: Model, recipe: Recipe, size: int) -> Batch:
    def noise() -> torch.Tensor:
        return torch.randn(size, 3, model.spec.size, model.spec.size)

    return Batch(
        images=noise(),
        other=noise() if recipe.objective == SIMCLR else None,
        texts=(),
        tokens=model.tokenize([_TEXT] * size) if recipe.objective == CONTRASTIVE else None,
        labels=torch.arange(size) % _CLASSES,
        indices=torch.arange(size),
        epoch=0,
        step=0,
        shares=(size,),
        weight=1.0,
    )


def _device_name(kind: str) -> str:
    if kind == "cuda":
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"this CPU ({platform.machine()}, {threads} {'thread' if threads == 1 else 'threads'})"
