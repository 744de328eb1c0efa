"""Make the classifier of an evaluation from its settings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from imagenet_captions.evaluation.accuracy import Labels
from imagenet_captions.evaluation.classifiers.classifier import Classifier, Scorer, Trained, shown
from imagenet_captions.evaluation.classifiers.head import Head
from imagenet_captions.evaluation.classifiers.linear_probe import ProbeSettings, fit_probe
from imagenet_captions.evaluation.classifiers.prototypes import fit_prototypes
from imagenet_captions.evaluation.classifiers.shots import choose_shots
from imagenet_captions.evaluation.classifiers.zero_shot import ZeroShot
from imagenet_captions.evaluation.settings import ClassifierSettings
from imagenet_captions.images.examples import Class, Examples, open_examples, require_classes, select
from imagenet_captions.models.model import Model

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingImages:
    """Features of labeled images, their labels and ids, and the classes that the labels count over."""

    features: npt.NDArray[np.float32]
    labels: Labels
    ids: Sequence[str]
    classes: tuple[Class, ...]
    about: dict[str, Any] = field(default_factory=dict)


Extract = Callable[[Examples], tuple[npt.NDArray[np.float32], Labels]]  # features, and the rows that could be read


def build_classifier(settings: ClassifierSettings, model: Model, extract: Extract, device: str) -> Classifier:
    """Make the classifier of the settings; `extract` returns the features of examples."""
    if settings.kind == "zero-shot":
        return ZeroShot(model, settings.prompts or "80", settings.names or "curated")
    if settings.kind == "head" or settings.train is None:
        return Head(model)
    images = training_images(settings, open_examples(settings.train), extract)
    scorer, about = _fit(settings, images, device)
    return Trained(scorer, images.classes, {**images.about, **about})


def training_images(settings: ClassifierSettings, examples: Examples, extract: Extract) -> TrainingImages:
    """Return the images that a classifier is made from: all labeled ones, or k of each class."""
    classes = require_classes(examples)
    if settings.k is not None:
        every = [examples.image_id(row) for row in range(len(examples))]
        examples = select(examples, choose_shots(every, examples.labels, settings.k, settings.seed))
    features, rows = extract(examples)
    labels = examples.labels[rows]
    counts = np.bincount(labels, minlength=len(classes))
    empty = [each for each, count in zip(classes, counts, strict=True) if not count]
    if empty:
        log.warning("%d classes have no training image and are never chosen: %s", len(empty), shown(empty))
    about: dict[str, Any] = {
        "train": str(settings.train),
        "train_images": len(rows),
        "train_classes_without_images": [each.key for each in empty],
        "seed": settings.seed,
    }
    if settings.k is not None:
        short = [each for each, count in zip(classes, counts, strict=True) if 0 < count < settings.k]
        if short:
            log.warning("%d classes have fewer than %d images: %s", len(short), settings.k, shown(short))
        about |= {"k": settings.k, "train_classes_short_of_k": [each.key for each in short]}
    return TrainingImages(features, labels, [examples.image_id(int(row)) for row in rows], classes, about)


def _fit(settings: ClassifierSettings, images: TrainingImages, device: str) -> tuple[Scorer, dict[str, Any]]:
    if settings.kind == "prototypes":
        return fit_prototypes(images.features, images.labels, len(images.classes)), {}
    probe = ProbeSettings(seed=settings.seed, device=device)
    fitted = fit_probe(images.features, images.labels, images.ids, len(images.classes), probe)
    return fitted, {"regularisation": fitted.about}
