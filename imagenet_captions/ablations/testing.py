"""Test a run's model as `evaluate` does, and show three samples of what it was given."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from imagenet_captions.ablations.runs import Run
from imagenet_captions.errors import InputError, shortened
from imagenet_captions.evaluation import results
from imagenet_captions.evaluation.accuracy import Labels
from imagenet_captions.evaluation.classifiers import FEATURES, build_classifier, read_prompts
from imagenet_captions.evaluation.evaluate import measure_test_set, metrics_of, write_result
from imagenet_captions.evaluation.extract import extract
from imagenet_captions.evaluation.results import answers_path
from imagenet_captions.evaluation.settings import ClassifierSettings, Reading
from imagenet_captions.evaluation.testsets import TestSet
from imagenet_captions.images.examples import Class, Examples, require_classes, select
from imagenet_captions.images.image_spec import CLIP_224, ImageSpec
from imagenet_captions.images.pixels import EvalTransform
from imagenet_captions.models.hardware import cpu_threads
from imagenet_captions.models.model import Model
from imagenet_captions.storage.files import replacing
from imagenet_captions.training.batches import Feed
from imagenet_captions.training.settings import TrainSettings

FITTED = ("linear-probe", "prototypes", "k-shot")  # classifiers that are made from labeled images
_SHOWN = 3
_SHOTS = 16  # images a class for k-shot classification

Answers = Mapping[str, npt.NDArray[np.bool_]]  # test set → for each of its images, whether the run was right


@dataclass(frozen=True)
class Fitting:
    """The labeled images that a classifier without language is made from."""

    data: Path
    ids: frozenset[str]


def test_run(
    run: Run,
    model: Model,
    metrics_file: Path,
    tests: Sequence[TestSet],
    fitting: Fitting | None,
    reading: Reading,
) -> None:
    """Measure a run's model on all test sets; metrics.json is written last."""
    device = reading.torch_device()

    def features_of(examples: Examples) -> tuple[npt.NDArray[np.float32], Labels]:
        assert fitting is not None
        rows = [row for row in range(len(examples)) if examples.image_id(row) in fitting.ids]
        found = extract(model, select(examples, rows), FEATURES, reading, what="training images")
        return found.values, np.asarray(rows, np.int64)[found.indices]

    settings = ClassifierSettings(
        kind=run.classifier,
        prompts=run.prompts or None,
        train=fitting.data if fitting else None,
        k=_SHOTS if run.classifier == "k-shot" else None,
        seed=run.seed,
    )
    with cpu_threads(model.spec.size, reading.threads):
        classifier = build_classifier(settings, model.to(device).eval(), features_of, str(device))
        measured = [measure_test_set(model, classifier, test_set, reading) for test_set in tests]
    metrics = metrics_of(run.model_of or run.name, run.classifier, classifier.about, measured)
    write_result(metrics_file, answers_path(metrics_file), metrics, [each.answers for each in measured])


def read_answers(metrics_file: Path) -> Answers:
    """Return which images of each test set a run recognized; one that cannot be decoded does not count."""
    try:
        tables = results.read_answers(answers_path(metrics_file))
    except (OSError, ValueError, InputError) as error:
        raise InputError(
            f"the answers of {metrics_file.parent} cannot be read ({shortened(error)}); remove {metrics_file} and run "
            "again"
        ) from None
    decoded = {name: table.filter(table["prediction"].is_valid()) for name, table in tables.items()}
    return {name: table["correct"].to_numpy() for name, table in decoded.items()}


@dataclass(frozen=True)
class TextSample:
    """One sample as the model got it: pictures by file, the text, and the class."""

    pictures: tuple[str, ...]
    text: str
    label: str


def training_samples(
    name: str, examples: Examples, model: Model, settings: TrainSettings, folder: Path
) -> list[TextSample]:
    """Return the first images of a run's first step, from the loader that trains it; pictures go into `folder`."""
    head = require_classes(examples) if settings.recipe.needs.labels else ()
    batch = next(iter(Feed(examples, head, model, replace(settings, workers=1))))
    samples = []
    for at in range(min(_SHOWN, len(batch))):
        pictures = [_write_picture(batch.images[at], folder / f"{name}-{at}.png")]
        if batch.other is not None:
            pictures.append(_write_picture(batch.other[at], folder / f"{name}-{at}-other-view.png"))
        label = head[int(batch.labels[at])].name if head else ""
        samples.append(TextSample(tuple(pictures), batch.texts[at] if batch.texts else "", label))
    return samples


def labelled_samples(name: str, examples: Examples, folder: Path) -> list[TextSample]:
    """Return some of the labeled images that a classifier is made from."""
    with Image.open(io.BytesIO(examples.image(0))) as picture:
        size = min(CLIP_224.size, *picture.size)
    transform, classes = EvalTransform(ImageSpec(size=size)), require_classes(examples)
    samples = []
    rows = range(0, len(examples), max(1, len(examples) // _SHOWN))  # most sets are sorted by class
    for at, row in enumerate(rows[:_SHOWN]):
        picture_file = _write_picture(transform(examples.image(row)), folder / f"{name}-{at}.png")
        samples.append(TextSample((picture_file,), "", classes[int(examples.labels[row])].name))
    return samples


def prompt_samples(prompts: str, classes: Sequence[Class]) -> list[TextSample]:
    """Return some of the sentences that a zero-shot classifier is made from."""
    sentences = read_prompts(prompts)
    names = [each.name for each in classes[:_SHOWN]]
    return [TextSample((), sentences[at % len(sentences)].replace("{}", name), name) for at, name in enumerate(names)]


def _write_picture(pixels: torch.Tensor, path: Path) -> str:
    """Write uint8 [3, h, w] as a PNG, pixel by pixel, and return the file's name."""
    shown = Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))
    with replacing(path) as partial:
        shown.save(partial, "PNG")
    return path.name
