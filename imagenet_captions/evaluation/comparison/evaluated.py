"""Read what `evaluate` wrote of a model, and say in what the protocols of two models differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.answers import answers_path, read_answers
from imagenet_captions.storage.files import METRICS, checked, read_json, require_there

# In the words of messages and tables: what two protocols may differ in, and the entries that say it.
_OF_CLASSIFIER = {
    "version": ("version",),
    "classifier": ("classifier", "k"),
    "prompts": ("sentences", "sentences_sha256"),
}
_OF_SET = {"class names": ("classes", "class_names_sha256"), "test images": ("images", "images_sha256")}


class _Class(msgspec.Struct):
    n: Annotated[int, msgspec.Meta(ge=1)]
    correct: Annotated[int, msgspec.Meta(ge=0)]


class _TestSet(msgspec.Struct):
    n: Annotated[int, msgspec.Meta(ge=1)]
    top1: Annotated[float, msgspec.Meta(ge=0, le=1)]
    per_class: dict[str, _Class] = {}
    protocol: dict[str, Any] = {}


class _Metrics(msgspec.Struct):
    """The entries of metrics.json that are read again."""

    test_sets: dict[str, _TestSet]
    protocol: dict[str, Any] = {}


@dataclass(frozen=True)
class Evaluated:
    """A model's metrics.json and its answers, by the name of the file or folder that was given."""

    name: str
    file: Path
    metrics: Mapping[str, Any]
    answers: Mapping[str, pa.Table]


def read_evaluated(place: Path) -> Evaluated:
    """Read metrics.json, or that of a run's folder, with the answers beside it.

    Raises InputError for metrics without answers, as earlier versions wrote them, and for answers of another result.
    """
    file = place / METRICS if require_there(place, "the result").is_dir() else place
    metrics = read_metrics(file)
    if "protocol" not in metrics or not answers_path(file).is_file():
        raise InputError(f"{file} has no {answers_path(file).name} with it, which a comparison reads; evaluate again")
    answers = {name: _decoded(rows) for name, rows in read_answers(answers_path(file)).items()}
    for name in sorted({*metrics["test_sets"], *answers}):
        if not _belong(answers.get(name), metrics["test_sets"].get(name, {})):
            raise InputError(f"{answers_path(file)} does not hold the answers of {file} on {name}; evaluate again")
    return Evaluated(str(place), file, metrics, answers)


def read_metrics(file: Path) -> dict[str, Any]:
    """Read a metrics.json; raises InputError for any other file."""
    metrics = read_json(file, dict[str, Any], "the result")
    checked(metrics, _Metrics, f"the result {file}")
    return metrics


def _belong(rows: pa.Table | None, entry: Mapping[str, Any]) -> bool:
    """Return whether answers and an entry of metrics.json count the same images."""
    if not rows or "protocol" not in entry:
        return False
    return (len(rows), pc.sum(rows["correct"]).as_py() / len(rows)) == (entry.get("n"), entry.get("top1"))


def _decoded(rows: pa.Table) -> pa.Table:
    return rows.filter(rows["prediction"].is_valid())


def differing(first: Evaluated, second: Evaluated, test_set: str) -> tuple[str, ...]:
    """Return in what the protocols of two models differ on a test set, in words.

    Two classifiers differ in prompts and class names too, so these are not listed for them.
    """
    found = _unequal(_OF_CLASSIFIER, first.metrics["protocol"], second.metrics["protocol"])
    own = (each.metrics["test_sets"][test_set]["protocol"] for each in (first, second))
    found += _unequal(_OF_SET, *own)
    if "classifier" in found:
        found = [what for what in found if what not in ("prompts", "class names")]
    return tuple(found)


def _unequal(words: Mapping[str, tuple[str, ...]], one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return [what for what, names in words.items() if any(one.get(name) != other.get(name) for name in names)]
