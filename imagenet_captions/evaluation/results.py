"""What `evaluate` writes, read again for comparisons: the protocol, metrics.json, an answer for each image."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.accuracy import Labels
from imagenet_captions.imagenet.image_ids import IMAGE_ENDING, WNID
from imagenet_captions.images.examples import Class
from imagenet_captions.schema import with_provenance
from imagenet_captions.storage.files import METRICS, checked, read_json, replacing, require_there
from imagenet_captions.storage.parquet import read_table, write_table

# Counted up when the same model, prompts and images give another accuracy than before.
VERSION = 1

_VAL_NAME = re.compile(rf"(ILSVRC2012_val_[0-9]{{8}})_{WNID}")
_ENDING = re.compile(f"{IMAGE_ENDING}$")


def sha256_of(lines: Iterable[str]) -> str:
    """Return the SHA-256 of lines of text, in hex."""
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def image_stem(image_id: str) -> str:
    """Return an image's file name without folders and ending, the same in every layout of ImageNet's validation set.

    >>> image_stem("val/n01440764/ILSVRC2012_val_00000293.JPEG"), image_stem("ILSVRC2012_val_00000293_n01440764.JPEG")
    ('ILSVRC2012_val_00000293', 'ILSVRC2012_val_00000293')
    """
    stem = _ENDING.sub("", image_id.replace("\\", "/").rpartition("/")[2])
    found = _VAL_NAME.fullmatch(stem)
    return found[1] if found else stem


def image_keys(ids: Iterable[str], labels: Iterable[str]) -> list[str]:
    """Return a key for each image: its class and its name, since some test sets repeat names in every class."""
    return [f"{label}/{image_stem(image_id)}" for image_id, label in zip(ids, labels, strict=True)]


def classifier_protocol(kind: str, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the protocol of all test sets: the version, the classifier, and what it is made from."""
    made = {name: about[name] for name in ("sentences", "sentences_sha256", "k") if name in about}
    return {"version": VERSION, "classifier": kind, **made}


def set_protocol(classes: Sequence[Class], ids: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """Return the protocol of one test set: the classes under the names that were used, and the measured images."""
    return {
        "classes": len(classes),
        "class_names_sha256": sha256_of(f"{each.key}\t{each.name}" for each in classes),
        "images": len(ids),
        "images_sha256": sha256_of(sorted(image_keys(ids, labels))),
    }


# An image that cannot be decoded has no prediction, and counts neither as right nor as wrong in metrics.json.
ANSWERS = pa.schema(
    [
        pa.field("test_set", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),  # the key of its class: a wnid, a folder's name
        pa.field("prediction", pa.string()),  # the class with the highest score
        pa.field("correct", pa.bool_(), nullable=False),
    ]
)


def answers_path(metrics: Path) -> Path:
    """Return the path of the answers that belong to a file of metrics.

    >>> answers_path(Path("runs/a/metrics.json")).as_posix()
    'runs/a/metrics.answers.parquet'
    """
    return metrics.parent / f"{metrics.stem}.answers.parquet"


def answer_rows(
    test_set: str,
    ids: Sequence[str],
    keys: Sequence[str],
    labels: Labels,
    predictions: Labels,
    correct: npt.NDArray[np.bool_],
) -> pa.Table:
    """Return ANSWERS rows; labels and predictions are indices into `keys`, and -1 stands for no prediction."""
    names = pa.array(keys, pa.string())
    columns = {
        "test_set": pa.repeat(test_set, len(ids)),
        "image_id": pa.array(ids, pa.string()),
        "label": names.take(pa.array(labels)),
        "prediction": names.take(pa.array(predictions, mask=predictions < 0)),
        "correct": pa.array(correct, pa.bool_()),
    }
    return pa.table(columns, schema=ANSWERS)


def write_answers(path: Path, tables: Sequence[pa.Table], about: Mapping[str, Any]) -> None:
    """Write the answers on all test sets, in order; `about` goes into the file's metadata."""
    schema = with_provenance(ANSWERS, about)
    with replacing(path) as partial:
        write_table(pa.concat_tables(tables).cast(schema), partial)


def read_answers(path: Path) -> dict[str, pa.Table]:
    """Return the answers of each test set that count, in the order in which they were written."""
    table = read_table(path, ANSWERS.names)
    table = table.filter(table["prediction"].is_valid())
    sets = table["test_set"].unique().to_pylist()
    return {name: table.filter(pc.equal(table["test_set"], name)) for name in sets}


# In the words of messages and tables: what two protocols may differ in, and the entries that say it.
_DIFFERENCES = {
    "version": ("version",),
    "classifier": ("classifier", "k"),
    "prompts": ("sentences", "sentences_sha256"),
    "class names": ("classes", "class_names_sha256"),
    "test images": ("images", "images_sha256"),
}


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


class _Ids(msgspec.Struct):
    file: str


class _Recipe(msgspec.Struct):
    objective: str = ""
    caption: str | None = None


class RunSettings(msgspec.Struct):
    """The entries of a run's settings.json that are read again."""

    data: str
    seed: int
    recipe: _Recipe
    ids: _Ids | None = None
    started_in: str = ""


class _Test(msgspec.Struct):
    prompts: str = ""


class RunRecord(msgspec.Struct):
    """The entries of an ablation's run.json that are read again."""

    test: _Test


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
    answers = read_answers(answers_path(file))
    for name in sorted({*metrics["test_sets"], *answers}):
        own, entry = answers.get(name), metrics["test_sets"].get(name, {})
        counted = (len(own), pc.sum(own["correct"]).as_py() / len(own)) if own else ()
        if "protocol" not in entry or counted != (entry["n"], entry["top1"]):
            raise InputError(f"{answers_path(file)} does not hold the answers of {file} on {name}; evaluate again")
    return Evaluated(str(place), file, metrics, answers)


def read_metrics(file: Path) -> dict[str, Any]:
    """Read a metrics.json; raises InputError for any other file."""
    metrics = read_json(file, dict[str, Any], "the result")
    checked(metrics, _Metrics, f"the result {file}")
    return metrics


def differing(first: Evaluated, second: Evaluated, test_set: str) -> tuple[str, ...]:
    """Return in what the protocols of two models differ on a test set, in words.

    Two classifiers differ in prompts and class names too, so these are not listed for them.
    """
    one, other = (
        {**each.metrics["protocol"], **each.metrics["test_sets"][test_set]["protocol"]} for each in (first, second)
    )
    found = [what for what, names in _DIFFERENCES.items() if any(one.get(name) != other.get(name) for name in names)]
    if "classifier" in found:
        found = [what for what in found if what not in ("prompts", "class names")]
    return tuple(found)
