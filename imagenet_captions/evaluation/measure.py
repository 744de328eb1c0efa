"""Measure a model on one test set: the accuracies for metrics.json, and the answer for every image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from imagenet_captions.evaluation.accuracy import Labels, Scores, count_accuracy, group_maximum, rank_of_label
from imagenet_captions.evaluation.answers import answer_rows, write_answers
from imagenet_captions.evaluation.classifiers.classifier import Classifier
from imagenet_captions.evaluation.extract import Extracted, extract
from imagenet_captions.evaluation.protocol import classifier_protocol, set_protocol
from imagenet_captions.evaluation.robustness.shifts import IMAGENET, SHIFTS
from imagenet_captions.evaluation.settings import Reading
from imagenet_captions.evaluation.testsets import KNOWN, TestSet
from imagenet_captions.evaluation.testsets.class_keys import answers_of
from imagenet_captions.models.model import Model
from imagenet_captions.storage.files import write_json

_BROKEN_LISTED = 1000


@dataclass(frozen=True)
class Measured:
    """A test set's entries of metrics.json, and its ANSWERS rows."""

    entries: Mapping[str, Any]
    answers: pa.Table


def measure_test_set(model: Model, classifier: Classifier, test_set: TestSet, reading: Reading) -> Measured:
    """Measure a model on a test set; ImageNet also gets entries on the classes of R, A and ObjectNet."""
    found = extract(model, test_set.images, classifier.view, reading, border=test_set.border, what=test_set.name)
    whole = _measure(test_set.name, classifier, test_set, found.values, found.indices)
    entry = {
        **whole.entries[test_set.name],
        **test_set.completeness(),
        "broken": len(found.broken),
        "broken_images": {each.image_id: each.reason for each in found.broken[:_BROKEN_LISTED]},
    }
    parts = _measure_parts(classifier, test_set, found) if test_set.name == IMAGENET else []
    entries = {test_set.name: entry} | {name: each for part in parts for name, each in part.entries.items()}
    return Measured(entries, pa.concat_tables([whole.answers, *(part.answers for part in parts)]))


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


def _measure_parts(classifier: Classifier, imagenet: TestSet, found: Extracted) -> list[Measured]:
    measured = []
    for shift in SHIFTS:
        part = _on_classes_of(imagenet, shift.column) if shift.same_classes else None
        if part is not None and shift.same_classes is not None:
            rows = np.flatnonzero(part.labels[found.indices] >= 0)
            if len(np.setdiff1d(found.indices[rows], imagenet.listed)):
                measured.append(_measure(shift.same_classes, classifier, part, found.values[rows], found.indices[rows]))
    return measured


def _measure(
    name: str, classifier: Classifier, test_set: TestSet, values: npt.NDArray[np.float32], rows: Labels
) -> Measured:
    """Measure the decoded images, which have these rows in the test set, as the entry `name`."""
    scores, labels = _scores(classifier, test_set, values), test_set.labels[rows]
    ranks = rank_of_label(scores, labels)
    counted = ~np.isin(rows, test_set.listed)
    entry = count_accuracy(ranks[counted], labels[counted], test_set.answers).as_json()
    if not counted.all():
        whole = count_accuracy(ranks, labels, test_set.answers).as_json()
        entry["all_images"] = {key: value for key, value in whole.items() if key not in ("classes", "per_class")}
    answers = _answers(name, test_set, rows, scores.argmax(axis=1), ranks == 0)
    decoded = answers.filter(answers["prediction"].is_valid())
    keys = (decoded[column].to_pylist() for column in ("image_id", "label"))
    return Measured({name: {**entry, "protocol": set_protocol(classifier.named(test_set.classes), *keys)}}, answers)


def _answers(name: str, test_set: TestSet, rows: Labels, best: Labels, right: npt.NDArray[np.bool_]) -> pa.Table:
    """Return the answers on all images with a label that no list leaves out; `rows` are those that were decoded."""
    predictions, correct = np.full(len(test_set.labels), -1, np.int64), np.zeros(len(test_set.labels), np.bool_)
    predictions[rows], correct[rows] = best, right
    kept = np.setdiff1d(np.flatnonzero(test_set.labels >= 0), test_set.listed)
    ids = [test_set.images.image_id(row) for row in kept.tolist()]
    return answer_rows(name, ids, test_set.answers, test_set.labels[kept], predictions[kept], correct[kept])


def _scores(classifier: Classifier, test_set: TestSet, values: npt.NDArray[np.float32]) -> Scores:
    scores = classifier.scores(values, test_set.classes)
    if len(test_set.answers) < len(test_set.classes):
        return group_maximum(scores, test_set.groups, len(test_set.answers))
    return scores


def _on_classes_of(imagenet: TestSet, column: str) -> TestSet | None:
    """Return ImageNet with the answers of another test set, and the label -1 for other images; None if all are."""
    answers = answers_of(KNOWN[column])
    order = {answer: index for index, answer in enumerate(answers)}
    group_of = {wnid: order[answer] for answer, wnids in answers.items() for wnid in wnids}
    groups = np.array([group_of.get(key, -1) for key in imagenet.answers], np.int64)
    labels = groups[imagenet.labels]
    if (labels < 0).all():
        return None
    columns = np.flatnonzero(groups >= 0)
    return TestSet(
        name=column,
        images=imagenet.images,
        labels=labels,
        classes=tuple(imagenet.classes[at] for at in columns),
        answers=tuple(answers),
        groups=groups[columns],
        listed=imagenet.listed,
    )
