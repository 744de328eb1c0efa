"""Prepare the images and the model of a run, and check that they fit its objective before training starts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imagenet_captions.errors import InputError, shortened
from imagenet_captions.images.examples import (
    Class,
    Examples,
    classes_without_images,
    require_classes,
)
from imagenet_captions.models.build import build_model, with_drop_path
from imagenet_captions.models.config import ProjectorConfig
from imagenet_captions.models.load import load_model, take_image_tower
from imagenet_captions.models.model import Model
from imagenet_captions.training.data.opening import open_rows
from imagenet_captions.training.recipe import CONTRASTIVE, SUPERVISED
from imagenet_captions.training.settings import TrainSettings

_SHOWN = 3


def open_training_set(settings: TrainSettings) -> tuple[Examples, tuple[Class, ...]]:
    """Return the images to train on, and the classes of a supervised run's head.

    Raises InputError where there are fewer images than a batch, or where labels are missing that the loss needs.
    """
    examples = open_rows(settings.data, settings.ids)
    recipe = settings.recipe
    if len(examples) < recipe.batch_size:
        raise InputError(
            f"{settings.data} has {len(examples):,} images, fewer than a batch of {recipe.batch_size:,}; give "
            f"`batch_size` {max(settings.processes * recipe.accumulate, 2)} to {len(examples)}"
        )
    return examples, _head_classes(examples, settings) if recipe.objective == SUPERVISED else ()


def _head_classes(examples: Examples, settings: TrainSettings) -> tuple[Class, ...]:
    classes = require_classes(examples)
    empty = classes_without_images(examples)
    if not empty or settings.empty_classes == "keep":
        return classes
    if settings.empty_classes == "drop":
        return tuple(class_ for class_ in classes if class_ not in set(empty))
    named = ", ".join(f"{shortened(class_.key, 40)} ({shortened(class_.name, 40)})" for class_ in empty[:_SHOWN])
    more = f" and {len(empty) - _SHOWN} more" if len(empty) > _SHOWN else ""
    raise InputError(
        f"no image of {settings.data} is of class {named}{more}; give `empty_classes='drop'` for a head without "
        f"{'it' if len(empty) == 1 else 'them'}, or keep for one with all {len(classes):,}"
    )


def head_labels(examples: Examples, head: Sequence[Class]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the index of each label among the head's classes, or -1 for a class without images."""
    places = {class_: place for place, class_ in enumerate(head)}
    return np.array([places.get(class_, -1) for class_ in examples.classes or ()], np.int64)


def make_model(settings: TrainSettings, head: Sequence[Class]) -> Model:
    """Return the model that training starts from, with the parts that its objective needs and no others."""
    recipe = settings.recipe
    model = build_model(recipe.model, settings.seed) if settings.init is None else load_model(settings.init)
    if recipe.drop_path:
        model = with_drop_path(model, recipe.drop_path)
    if recipe.objective == CONTRASTIVE:
        return _contrastive(model, settings)
    if model.has_text:
        model.drop_text()
    if recipe.objective == SUPERVISED:
        if model.projector is not None:
            model.drop_projector()
        model.set_head([class_.key for class_ in head], settings.seed)
    else:
        model.drop_head()
        model.set_projector(ProjectorConfig(hidden=model.width), settings.seed)
    return model


def _contrastive(model: Model, settings: TrainSettings) -> Model:
    if not model.has_text:
        raise InputError(
            f"{settings.init or settings.recipe.model} has no text tower, and the contrastive objective needs one; "
            f"give its image tower with `init_image` and a model with both as `model`"
        )
    if settings.init_image is not None:
        source = load_model(settings.init_image)
        if source.spec != model.spec:
            raise InputError(
                f"the images of {settings.init_image} are made by other rules than those of {model.name} "
                f"({source.spec.size} pixels and {model.spec.size}, or other colors); give the `model` it was made of"
            )
        take_image_tower(model, source)
    model.drop_head()
    if model.projector is not None:
        model.drop_projector()
    if settings.recipe.lock == "image":
        model.lock_image()
    elif settings.recipe.lock == "text":
        model.lock_text()
    return model
