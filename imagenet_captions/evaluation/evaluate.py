"""Measure a model on test sets, write metrics.json, and format it as a table."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imagenet_captions.evaluation.accuracy import Accuracy, Labels, group_maximum, measure_accuracy
from imagenet_captions.evaluation.classifiers.build import build_classifier
from imagenet_captions.evaluation.classifiers.classifier import FEATURES, Classifier
from imagenet_captions.evaluation.extract import Extracted, extract
from imagenet_captions.evaluation.robustness.shifts import IMAGENET, SHIFTS
from imagenet_captions.evaluation.settings import EvaluateSettings
from imagenet_captions.evaluation.testsets import KNOWN, TestSet, open_test_set
from imagenet_captions.evaluation.testsets.class_keys import answers_of
from imagenet_captions.images.examples import Examples
from imagenet_captions.models.hardware import cpu_threads
from imagenet_captions.models.load import load_model
from imagenet_captions.models.model import Model
from imagenet_captions.storage.file_names import METRICS
from imagenet_captions.storage.files import write_json
from imagenet_captions.storage.outputs import producing
from imagenet_captions.storage.places import resolve_links
from imagenet_captions.storage.receipts import receipt_path

log = logging.getLogger(__name__)

_BROKEN_LISTED = 1000


def evaluate(settings: EvaluateSettings, out: Path | None = None, overwrite: bool = False) -> dict[str, Any]:
    """Load the model, measure it, and write metrics.json if `out` is given.

    `overwrite` replaces a file that something else wrote. RUN/metrics.json is replaced without it, for it is the run's.
    """
    if out is None:
        return evaluate_model(load_model(settings.model), settings)
    if resolve_links(out) == resolve_links(Path(settings.model) / METRICS) and Path(settings.model).is_dir():
        metrics = evaluate_model(load_model(settings.model), settings)
        write_json(out, metrics)
        return metrics
    with producing([out], settings.files(), overwrite, receipt_path(out)) as new:
        metrics = evaluate_model(load_model(settings.model), settings)
        write_json(new.files[0], metrics)
    return metrics


def evaluate_model(model: Model, settings: EvaluateSettings) -> dict[str, Any]:
    """Return the metrics of a loaded model; all test sets are opened before anything is computed."""
    reading = settings.reading
    device = reading.torch_device()
    model.to(device).eval()
    with tempfile.TemporaryDirectory() as scratch, cpu_threads(model.spec.size, reading.threads):
        opened = [
            open_test_set(name, path, Path(scratch), settings.labels if name == IMAGENET else None)
            for name, path in settings.test_sets
        ]
        for test_set in opened:
            _say_what_is_missing(test_set)

        def features_of(examples: Examples) -> tuple[npt.NDArray[np.float32], Labels]:
            found = extract(model, examples, FEATURES, reading, what="training images")
            return found.values, found.indices

        classifier = build_classifier(settings.classifier, model, features_of, str(device))
        for test_set in opened:
            classifier.prepare(test_set.classes)
        measured: dict[str, Any] = {}
        for test_set in opened:
            found = extract(
                model, test_set.images, classifier.view, reading, border=test_set.border, what=test_set.name
            )
            measured |= measure_test_set(classifier, test_set, found)
    return {
        "model": settings.model,
        "classifier": settings.classifier.kind,
        **classifier.describe(),
        "test_sets": measured,
    }


def measure_test_set(classifier: Classifier, test_set: TestSet, found: Extracted) -> dict[str, Any]:
    """Return a test set's entries of metrics.json; ImageNet also has those on the classes of R, A and ObjectNet."""
    labels = test_set.labels[found.indices]
    entries = {
        test_set.name: {
            **_accuracy(classifier, test_set, found.values, labels).as_json(),
            **test_set.completeness(),
            "broken": len(found.broken),
            "broken_images": {each.image_id: each.reason for each in found.broken[:_BROKEN_LISTED]},
        }
    }
    if test_set.name == IMAGENET:
        for shift in SHIFTS:
            part = _on_classes_of(test_set, labels, shift.column) if shift.same_classes else None
            if part is not None and shift.same_classes is not None:
                restricted, rows = part
                values = found.values[rows]
                entries[shift.same_classes] = _accuracy(classifier, restricted, values, restricted.labels).as_json()
    return entries


def _accuracy(classifier: Classifier, test_set: TestSet, values: npt.NDArray[np.float32], labels: Labels) -> Accuracy:
    scores = classifier.scores(values, test_set.classes)
    if len(test_set.answers) < len(test_set.classes):
        scores = group_maximum(scores, test_set.groups, len(test_set.answers))
    return measure_accuracy(scores, labels, test_set.answers)


def _on_classes_of(imagenet: TestSet, labels: Labels, column: str) -> tuple[TestSet, Labels] | None:
    """Return ImageNet's images of the classes of another test set, with that set's answers; None if there are none."""
    answers = answers_of(KNOWN[column])
    order = {answer: index for index, answer in enumerate(answers)}
    group_of = {wnid: order[answer] for answer, wnids in answers.items() for wnid in wnids}
    groups = np.array([group_of.get(key, -1) for key in imagenet.answers], np.int64)
    rows = np.flatnonzero(groups[labels] >= 0)
    if not len(rows):
        return None
    columns = np.flatnonzero(groups >= 0)
    part = TestSet(
        name=column,
        images=imagenet.images,
        labels=groups[labels[rows]],
        classes=tuple(imagenet.classes[at] for at in columns),
        answers=tuple(answers),
        groups=groups[columns],
    )
    return part, rows


def _say_what_is_missing(test_set: TestSet) -> None:
    for note in test_set.notes:
        log.warning("%s", note)
    for reason, count in test_set.left_out.items():
        log.info("%s: %s images left out (%s)", test_set.name, f"{count:,}", reason)
    gaps, count = test_set.gaps(), len(test_set.labels)
    if gaps.missing or gaps.empty:
        log.warning(
            "%s is incomplete: %s of %s images, %d of %d classes",
            test_set.name,
            f"{count:,}",
            f"{test_set.expected:,}",
            len(test_set.answers) - len(gaps.empty),
            len(test_set.answers),
        )
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
    rows += [_row(name, entry) for name, entry in metrics["test_sets"].items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others, remark in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=False))]
        lines.append("  ".join([*cells, remark]).rstrip())
    made = ", ".join(f"{key} {metrics[key]}" for key in ("prompts", "k", "train_images") if key in metrics)
    return "\n".join([f"classifier: {metrics['classifier']}" + (f" ({made})" if made else ""), *lines])


def _row(name: str, entry: Mapping[str, Any]) -> list[str]:
    low_high = entry.get("top1_interval")
    top1, top5, mean = (f"{100 * entry[what]:.1f} %" for what in ("top1", "top5", "mean_per_class"))
    if low_high is not None:
        top1 += f" ({100 * low_high[0]:.1f} to {100 * low_high[1]:.1f})"
    remarks = [f"{entry[what]:,} {what}" for what in ("missing", "broken") if entry.get(what)]
    return [name, f"{entry['n']:,}", top1, top5, mean, ", ".join(remarks)]
