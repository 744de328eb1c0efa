"""Measure a model on test sets: metrics.json, the answer for every image, and a table."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from imagenet_captions.errors import aligned
from imagenet_captions.evaluation.accuracy import Labels, group_maximum, measure_accuracy, rank_of_label
from imagenet_captions.evaluation.classifiers import FEATURES, Classifier, build_classifier
from imagenet_captions.evaluation.extract import extract
from imagenet_captions.evaluation.known_sets import KNOWN, answers_of
from imagenet_captions.evaluation.results import (
    answer_rows,
    answers_path,
    classifier_protocol,
    set_protocol,
    write_answers,
)
from imagenet_captions.evaluation.robustness.tables import IMAGENET, SHIFTS
from imagenet_captions.evaluation.settings import EvaluateSettings, Reading
from imagenet_captions.evaluation.testsets import TestSet, leave_out, open_test_set
from imagenet_captions.imagenet.classes import wnids
from imagenet_captions.images.examples import Examples
from imagenet_captions.models.hardware import cpu_threads
from imagenet_captions.models.load import load_model
from imagenet_captions.models.model import Model
from imagenet_captions.storage.files import DONE_FILE, METRICS, write_json
from imagenet_captions.storage.outputs import producing
from imagenet_captions.storage.places import resolve_links

log = logging.getLogger(__name__)

_BROKEN_LISTED = 1000


class Measured(NamedTuple):
    """A test set's entries of metrics.json, and its ANSWERS rows."""

    entries: Mapping[str, Any]
    answers: pa.Table


def measure_test_set(model: Model, classifier: Classifier, test_set: TestSet, reading: Reading) -> Measured:
    """Measure a model on a test set.

    ImageNet, and a set of the user's own with its 1000 classes, also get entries on the classes of R, A and ObjectNet.
    """
    found = extract(model, test_set.images, classifier.view, reading, border=test_set.border, what=test_set.name)
    parts = {test_set.name: test_set}
    if test_set.answers == wnids() and (test_set.name == IMAGENET or test_set.name not in KNOWN):
        shifts = [shift for shift in SHIFTS if shift.same_classes]
        parts |= {shift.on_own_classes(test_set.name): _on_classes_of(test_set, shift.column) for shift in shifts}
    entries: dict[str, Any] = {}
    answers = []
    for name, part in parts.items():
        rows = np.flatnonzero(part.labels[found.indices] >= 0)
        if name == test_set.name or len(np.setdiff1d(found.indices[rows], test_set.listed)):
            values, indices = found.values[rows], found.indices[rows]
            entries[name], own = _measure(name, classifier, part, values, indices)
            answers.append(own)
    entries[test_set.name] |= {
        **test_set.completeness(),
        "broken": len(found.broken),
        "broken_images": dict(found.broken[:_BROKEN_LISTED]),
    }
    return Measured(entries, pa.concat_tables(answers))


def metrics_of(model: str, kind: str, about: Mapping[str, Any], measured: Sequence[Measured]) -> dict[str, Any]:
    """Return the content of metrics.json."""
    return {
        "model": model,
        "classifier": kind,
        **about,
        "protocol": classifier_protocol(kind, about),
        "test_sets": {name: entry for each in measured for name, entry in each.entries.items()},
    }


def write_result(
    metrics_file: Path, answers_file: Path, metrics: Mapping[str, Any], answers: Sequence[pa.Table]
) -> None:
    """Write a result: the answers, and metrics.json last."""
    write_answers(answers_file, answers, {"protocol": metrics["protocol"]})
    write_json(metrics_file, metrics)


def _measure(
    name: str, classifier: Classifier, test_set: TestSet, values: npt.NDArray[np.float32], rows: Labels
) -> tuple[dict[str, Any], pa.Table]:
    """Measure the decoded images, which have these rows in the test set; return an entry, and answers on all images.

    The answers are those on images with a label that no list leaves out.
    """
    scores, labels = classifier.scores(values, test_set.classes), test_set.labels[rows]
    if len(test_set.answers) < len(test_set.classes):
        scores = group_maximum(scores, test_set.groups, len(test_set.answers))
    ranks = rank_of_label(scores, labels)
    counted = ~np.isin(rows, test_set.listed)
    entry = measure_accuracy(ranks[counted], labels[counted], test_set.answers)
    if not counted.all():
        whole = measure_accuracy(ranks, labels, test_set.answers)
        entry["all_images"] = {key: value for key, value in whole.items() if key not in ("classes", "per_class")}
    predictions, correct = np.full(len(test_set.labels), -1, np.int64), np.zeros(len(test_set.labels), np.bool_)
    predictions[rows], correct[rows] = scores.argmax(axis=1), ranks == 0
    kept = np.setdiff1d(np.flatnonzero(test_set.labels >= 0), test_set.listed)
    ids = [test_set.images.image_id(row) for row in kept.tolist()]
    answers = answer_rows(name, ids, test_set.answers, test_set.labels[kept], predictions[kept], correct[kept])
    decoded = answers.filter(answers["prediction"].is_valid())
    keys = (decoded[column].to_pylist() for column in ("image_id", "label"))
    return {**entry, "protocol": set_protocol(classifier.named(test_set.classes), *keys)}, answers


def _on_classes_of(imagenet: TestSet, column: str) -> TestSet:
    """Return ImageNet with the answers of another test set, and the label -1 for other images."""
    group_of = KNOWN[column].group_of
    groups = np.array([group_of.get(key, -1) for key in imagenet.answers], np.int64)
    columns = np.flatnonzero(groups >= 0)
    return replace(
        imagenet,
        labels=groups[imagenet.labels],
        classes=tuple(imagenet.classes[at] for at in columns),
        answers=tuple(answers_of(KNOWN[column])),
        groups=groups[columns],
    )


def evaluate(settings: EvaluateSettings, out: Path | None = None, overwrite: bool = False) -> dict[str, Any]:
    """Load the model, measure it, and write metrics.json and the answers beside it if `out` is given.

    `overwrite` replaces files that exist. RUN/metrics.json is replaced without it, for it is the run's.
    """
    if out is None:
        return evaluate_model(load_model(settings.model), settings)
    inputs, run = settings.files(), Path(settings.model)
    is_of_run = (run / DONE_FILE).is_file() and resolve_links(out) == resolve_links(run / METRICS)
    if is_of_run:
        inputs.remove(run)
    with producing([out], inputs, overwrite or is_of_run, [answers_path(out)]) as (answers_file, metrics_file):
        metrics, answers = measure_model(load_model(settings.model), settings)
        write_result(metrics_file, answers_file, metrics, answers)
    return metrics


def evaluate_model(model: Model, settings: EvaluateSettings, scratch: Path | None = None) -> dict[str, Any]:
    """Return the metrics of a loaded model; all test sets are opened before anything is computed.

    In `scratch` unpacked tars stay for the next model.
    """
    return measure_model(model, settings, scratch)[0]


def measure_model(
    model: Model, settings: EvaluateSettings, scratch: Path | None = None
) -> tuple[dict[str, Any], list[pa.Table]]:
    """Return the metrics of a loaded model, and its answers on each test set."""
    reading = settings.reading
    device = reading.torch_device()
    model.to(device).eval()
    with (
        nullcontext(scratch) if scratch else tempfile.TemporaryDirectory() as folder,
        cpu_threads(model.spec.size, reading.threads),
    ):
        opened = [
            open_test_set(name, path, Path(folder), settings.labels if name == IMAGENET else None)
            for name, path in settings.test_sets
        ]
        if settings.without is not None:
            opened = leave_out(opened, settings.without)
        for test_set in opened:
            _say_what_is_missing(test_set)

        def features_of(examples: Examples) -> tuple[npt.NDArray[np.float32], Labels]:
            found = extract(model, examples, FEATURES, reading, what="training images")
            return found.values, found.indices

        classifier = build_classifier(settings.classifier, model, features_of, str(device))
        for test_set in opened:
            classifier.prepare(test_set.classes)
        measured = [measure_test_set(model, classifier, test_set, reading) for test_set in opened]
    about = classifier.about | ({} if settings.without is None else {"without": str(settings.without)})
    metrics = metrics_of(settings.model, settings.classifier.kind, about, measured)
    return metrics, [each.answers for each in measured]


def _say_what_is_missing(test_set: TestSet) -> None:
    for reason, count in test_set.left_out.items():
        log.info("%s: %s images left out (%s)", test_set.name, f"{count:,}", reason)
    gaps, count, classes = test_set.completeness(), len(test_set.labels), len(test_set.answers)
    present = classes - len(gaps["empty_classes"])
    if gaps["missing"] or present < classes:
        images = f"{count:,} of {test_set.expected:,}"
        log.warning("%s is incomplete: %s images, %d of %d classes", test_set.name, images, present, classes)
    elif test_set.expected and count > test_set.expected:
        log.warning("%s has %s images more than published", test_set.name, f"{count - test_set.expected:,}")


def results_of(metrics: Mapping[str, Any]) -> dict[str, tuple[float, int]]:
    """Return top-1 and the number of images of each test set."""
    return {name: (entry["top1"], entry["n"]) for name, entry in metrics["test_sets"].items()}


def format_metrics(metrics: Mapping[str, Any]) -> str:
    """Return a table with a row for each test set: top-1 with its interval, top-5, the class mean, missing images.

    >>> entry = {"n": 4, "top1": 0.5, "top5": 0.75, "mean_per_class": 0.25, "classes": 2}
    >>> print(format_metrics({"classifier": "head", "test_sets": {"micro": entry}}))
    classifier: head
    test set  images   top-1   top-5  mean per class
    micro          4  50.0 %  75.0 %          25.0 %
    """
    rows = [["test set", "images", "top-1", "top-5", "mean per class", ""]]
    changes = []
    for name, entry in metrics["test_sets"].items():
        top1, top5, mean = (f"{100 * entry[what]:.1f} %" for what in ("top1", "top5", "mean_per_class"))
        if "top1_interval" in entry:
            low, high = entry["top1_interval"]
            top1 += f" ({100 * low:.1f} to {100 * high:.1f})"
        remarks = [f"{entry[what]:,} {what}" for what in ("missing", "broken") if entry.get(what)]
        rows.append([name, f"{entry['n']:,}", top1, top5, mean, ", ".join(remarks)])
        if "all_images" in entry:
            whole = entry["all_images"]
            changes.append(
                f"{name}: {100 * whole['top1']:.2f} % of all {whole['n']:,} images, {100 * entry['top1']:.2f} % "
                f"without the {whole['n'] - entry['n']:,} listed ones ({100 * (entry['top1'] - whole['top1']):+.2f})"
            )
    made = ", ".join(f"{key} {metrics[key]}" for key in ("prompts", "k", "train_images") if key in metrics)
    first = f"classifier: {metrics['classifier']}" + (f" ({made})" if made else "")
    return "\n".join([first, *aligned(rows, left=(0, 5)), *changes])
