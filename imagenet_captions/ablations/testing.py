"""Test a run's model as `evaluate` does, and show three samples of what it was given."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
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
from imagenet_captions.training.data import open_rows
from imagenet_captions.training.settings import TrainSettings
from imagenet_captions.training.train import open_training_set

FITTED = ("linear-probe", "prototypes", "k-shot")  # classifiers that are made from labeled images
_SHOWN = 3
_SHOTS = 16  # images a class for k-shot classification

Answers = Mapping[str, npt.NDArray[np.bool_]]  # test set → for each of its images, whether the run was right


def test_run(
    run: Run, model: Model, metrics_file: Path, tests: Sequence[TestSet], train: Path, ids: Path, reading: Reading
) -> None:
    """Measure a run's model on all test sets; metrics.json is written last.

    A classifier without language is made from the images of `train` whose ids are in the file `ids`.
    """
    device, fitted = reading.torch_device(), run.classifier in FITTED

    def features_of(examples: Examples) -> tuple[npt.NDArray[np.float32], Labels]:
        wanted = set(ids.read_text(encoding="utf-8").splitlines())
        rows = [row for row in range(len(examples)) if examples.image_id(row) in wanted]
        found = extract(model, select(examples, rows), FEATURES, reading, what="training images")
        return found.values, np.asarray(rows, np.int64)[found.indices]

    settings = ClassifierSettings(
        kind=run.classifier,
        prompts=run.prompts or None,
        train=train if fitted else None,
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
    return {name: table["correct"].to_numpy() for name, table in tables.items()}


@dataclass(frozen=True)
class TextSample:
    """One sample as the model got it: pictures by file, the text, and the class."""

    pictures: tuple[str, ...]
    text: str
    label: str


def samples_of(
    run: Run, model: Model, training: TrainSettings, classes: Sequence[Class], folder: Path
) -> list[TextSample]:
    """Return the first images of a run's first step, from the loader that trains it; pictures go into `folder`.

    For an arm that only tests they are images that its classifier is made from, or sentences, of the test's classes.
    """
    if run.classifier in FITTED:
        examples = open_rows(training.data, training.ids)
        classes = require_classes(examples)
        with Image.open(io.BytesIO(examples.image(0))) as picture:
            size = min(CLIP_224.size, *picture.size)
        transform = EvalTransform(ImageSpec(size=size))
        rows = range(0, len(examples), max(1, len(examples) // _SHOWN))[:_SHOWN]  # most sets are sorted by class
        views = [[transform(examples.image(row)) for row in rows]]
        texts, labels = [""] * len(rows), [classes[int(examples.labels[row])].name for row in rows]
    elif run.trains:
        examples, head = open_training_set(training)
        batch = next(iter(Feed(examples, head, model, replace(training, workers=1))))
        views = [[*each[:_SHOWN]] for each in (batch.images, batch.other) if each is not None]
        labels = [head[int(label)].name if head else "" for label in batch.labels[:_SHOWN]]
        texts = list(batch.texts[:_SHOWN]) if batch.texts else [""] * len(labels)
    else:
        sentences = read_prompts(run.prompts)
        views, labels = [], [each.name for each in classes[:_SHOWN]]
        texts = [sentences[at % len(sentences)].replace("{}", name) for at, name in enumerate(labels)]
    samples = []
    for at, (text, label) in enumerate(zip(texts, labels, strict=True)):
        names = []
        for view, ending in zip(views, ("", "-other-view"), strict=False):
            names.append(f"{run.name}-{at}{ending}.png")
            with replacing(folder / names[-1]) as partial:
                pixels = np.ascontiguousarray(view[at].permute(1, 2, 0).numpy())
                Image.fromarray(pixels).save(partial, "PNG")
        samples.append(TextSample(tuple(names), text, label))
    return samples
