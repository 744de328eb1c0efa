"""Test a run's model: metrics.json as `evaluate` writes it, and beside it which images were recognized.

Two arms are compared image by image (`compare`), which sums in a table do not allow.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imagenet_captions.ablations.reports.compare import Answers
from imagenet_captions.ablations.table import Run
from imagenet_captions.errors import InputError, shortened
from imagenet_captions.evaluation.accuracy import Labels, group_maximum, rank_of_label
from imagenet_captions.evaluation.classifiers.build import build_classifier
from imagenet_captions.evaluation.classifiers.classifier import FEATURES, Classifier
from imagenet_captions.evaluation.evaluate import measure_test_set
from imagenet_captions.evaluation.extract import Extracted, extract
from imagenet_captions.evaluation.settings import ClassifierSettings, Reading
from imagenet_captions.evaluation.testsets import TestSet, open_test_set
from imagenet_captions.images.examples import Examples, select
from imagenet_captions.models.hardware import cpu_threads
from imagenet_captions.models.load import load_model
from imagenet_captions.storage.file_names import METRICS
from imagenet_captions.storage.files import replacing, write_json

ANSWERS = "answers.npz"
_FITTED = ("linear-probe", "prototypes", "k-shot")


@dataclass(frozen=True)
class Fitting:
    """The labeled images that a classifier without language is made from."""

    data: Path
    ids: frozenset[str]
    k: int


def classifier_settings(run: Run, fitting: Fitting | None) -> ClassifierSettings:
    """Return the settings of a run's classifier."""
    fitted = run.classifier in _FITTED
    return ClassifierSettings(
        kind=run.classifier,
        prompts=run.prompts or None,
        train=fitting.data if fitted and fitting else None,
        k=fitting.k if fitting and run.classifier == "k-shot" else None,
        seed=run.seed,
    )


def needs_fitting(run: Run) -> bool:
    """Return whether a run's classifier is made from labeled images."""
    return run.classifier in _FITTED


def test_run(
    run: Run, model: Path, out: Path, test_sets: Mapping[str, Path], fitting: Fitting | None, reading: Reading
) -> None:
    """Measure a run's model on all test sets; metrics.json is written last."""
    loaded = load_model(str(model))
    device = reading.torch_device()

    def features_of(examples: Examples) -> tuple[npt.NDArray[np.float32], Labels]:
        assert fitting is not None
        rows = [row for row in range(len(examples)) if examples.image_id(row) in fitting.ids]
        found = extract(loaded, select(examples, rows), FEATURES, reading, what="training images")
        return found.values, np.asarray(rows, np.int64)[found.indices]

    with tempfile.TemporaryDirectory() as scratch, cpu_threads(loaded.spec.size, reading.threads):
        opened = [open_test_set(name, path, Path(scratch)) for name, path in test_sets.items()]
        classifier = build_classifier(
            classifier_settings(run, fitting), loaded.to(device).eval(), features_of, str(device)
        )
        measured: dict[str, Any] = {}
        answers: dict[str, npt.NDArray[np.bool_]] = {}
        for test_set in opened:
            found = extract(
                loaded, test_set.images, classifier.view, reading, border=test_set.border, what=test_set.name
            )
            measured |= measure_test_set(classifier, test_set, found)
            answers[test_set.name] = answers_of(classifier, test_set, found)
    with replacing(out / ANSWERS) as partial, partial.open("wb") as opened_file:
        np.savez_compressed(opened_file, **answers)  # type: ignore[arg-type]
    metrics = {"model": run.model_of or run.name, "classifier": run.classifier, **classifier.describe()}
    write_json(out / METRICS, {**metrics, "test_sets": measured})


def answers_of(classifier: Classifier, test_set: TestSet, found: Extracted) -> npt.NDArray[np.bool_]:
    """Return for each image of a test set whether it was recognized; one that cannot be decoded was not."""
    scores = classifier.scores(found.values, test_set.classes)
    if len(test_set.answers) < len(test_set.classes):
        scores = group_maximum(scores, test_set.groups, len(test_set.answers))
    right = np.zeros(len(test_set.labels), np.bool_)
    right[found.indices] = rank_of_label(scores, test_set.labels[found.indices]) == 0
    return right


def read_answers(folder: Path) -> Answers:
    """Read the answers that `test_run` wrote."""
    try:
        with np.load(folder / ANSWERS) as stored:
            return {name: np.asarray(stored[name], np.bool_) for name in stored.files}
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder / ANSWERS} cannot be read ({shortened(error)}); remove {folder / METRICS} and run again"
        ) from None
