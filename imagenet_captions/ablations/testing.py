"""Test a run's model: metrics.json and the answers beside it, as `evaluate` writes them.

Two arms are compared image by image (`compare`), which sums in a table do not allow.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imagenet_captions.ablations.reports.compare import Answers
from imagenet_captions.ablations.table import Run
from imagenet_captions.errors import InputError, shortened
from imagenet_captions.evaluation import results as of_evaluation
from imagenet_captions.evaluation.accuracy import Labels
from imagenet_captions.evaluation.classifiers import FEATURES, build_classifier
from imagenet_captions.evaluation.evaluate import measure_test_set, metrics_of, write_result
from imagenet_captions.evaluation.extract import extract
from imagenet_captions.evaluation.results import answers_path
from imagenet_captions.evaluation.settings import ClassifierSettings, Reading
from imagenet_captions.evaluation.testsets import open_test_set
from imagenet_captions.images.examples import Examples, select
from imagenet_captions.models.hardware import cpu_threads
from imagenet_captions.models.load import load_model
from imagenet_captions.storage.files import METRICS

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

    settings = classifier_settings(run, fitting)
    with tempfile.TemporaryDirectory() as scratch, cpu_threads(loaded.spec.size, reading.threads):
        opened = [open_test_set(name, path, Path(scratch)) for name, path in test_sets.items()]
        classifier = build_classifier(settings, loaded.to(device).eval(), features_of, str(device))
        measured = [measure_test_set(loaded, classifier, test_set, reading) for test_set in opened]
    metrics = metrics_of(run.model_of or run.name, run.classifier, classifier.describe(), measured)
    write_result(out / METRICS, answers_path(out / METRICS), metrics, [each.answers for each in measured])


def has_answers(folder: Path) -> bool:
    """Return whether a run's test has metrics.json and the answers, in the form of now or of before."""
    return (folder / METRICS).is_file() and any(path.is_file() for path in _answer_files(folder))


def read_answers(folder: Path) -> Answers:
    """Return which images of each test set a run recognized; an image that cannot be decoded was not."""
    path, old = _answer_files(folder)
    try:
        if not path.is_file():
            with np.load(old) as stored:
                return {name: np.asarray(stored[name], np.bool_) for name in stored.files}
        return {name: table["correct"].to_numpy() for name, table in of_evaluation.read_answers(path).items()}
    except (OSError, ValueError, InputError) as error:
        raise InputError(
            f"the answers of {folder} cannot be read ({shortened(error)}); remove {folder / METRICS} and run again"
        ) from None


def _answer_files(folder: Path) -> tuple[Path, Path]:
    return answers_path(folder / METRICS), folder / "answers.npz"  # the latter until November 2026
