"""What the runs train on, made once and kept: lists of ids, labels read off texts, micro captions and shifts.

Everything is whole or not there, and the same for the same data and seed, so a killed ablation finds it again.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from imagenet_captions import classes as imagenet
from imagenet_captions.ablations.rows import Ints, choose_rows
from imagenet_captions.ablations.table import FROM_TEXT, Run
from imagenet_captions.ablations.text_labels import text_labels
from imagenet_captions.dataset.features import IMAGE
from imagenet_captions.errors import InputError
from imagenet_captions.examples import Class, Examples, open_examples, select
from imagenet_captions.examples.classes_of import named_classes
from imagenet_captions.files import replacing, write_json, write_text
from imagenet_captions.recipe import CaptionRecipe
from imagenet_captions.storage.parquet import read_table
from imagenet_captions.training.captions import make_sampler, with_captions

_AT_ONCE = 1000


@dataclass(frozen=True)
class Rows:
    """The rows that a run trains on: where they are, the list of their ids, how many, and a digest of the list.

    Of rows that are labelled by their texts, `asked` says out of how many, and `right` how many of the labels are the
    rows' own, if they have some.
    """

    data: Path
    ids: Path
    count: int
    digest: str
    asked: int | None = None
    right: int | None = None


@dataclass(frozen=True)
class Inputs:
    """The rows of all runs; `sources` are the data sets by name, `seed` decides the samples."""

    folder: Path
    sources: Mapping[str, Path]
    seed: int = 0
    _opened: dict[Path, Examples] = field(default_factory=dict, compare=False, repr=False)

    def examples(self, path: Path) -> Examples:
        """The examples of a data set, opened once."""
        if path not in self._opened:
            self._opened[path] = open_examples(path)
        return self._opened[path]

    def rows(self, run: Run) -> Rows:
        """The rows of a run, chosen now or before."""
        stem = f"{run.data}-{run.pick.key()}"
        ids_file, told = self.folder / "rows" / f"{stem}.txt", self.folder / "rows" / f"{stem}.json"
        if not told.is_file():
            self._choose(run, ids_file, told)
        found = json.loads(told.read_text(encoding="utf-8"))
        data = self.folder / found["data"] if found["made"] else self.sources[run.data]
        return Rows(data, ids_file, found["count"], found["digest"], found.get("asked"), found.get("right"))

    def _choose(self, run: Run, ids_file: Path, told: Path) -> None:
        examples = self.examples(self.sources[run.data])
        ids = [examples.image_id(row) for row in range(len(examples))]
        if len(set(ids)) != len(ids):
            raise InputError(f"{examples.source} has image ids twice, so its rows cannot be told apart; correct it")
        usable = _usable(examples, run.pick.need, ids)
        kept_ids, labels = [ids[row] for row in usable], examples.labels[usable]
        try:
            chosen = choose_rows(
                kept_ids, labels, run.pick.kind, run.pick.rows, lambda at: _luma(examples.image(usable[at])), self.seed
            )
        except InputError as error:
            raise InputError(f"{run.data}: {error}") from None
        wanted = {kept_ids[at] for at in chosen}
        told_more: dict[str, Any] = {}
        made = None
        if run.pick.labels == FROM_TEXT:
            made = self._with_text_labels(run.data, examples)
            told_more = _agreement(read_table(self.folder / made, ["image_id", "label"]), wanted, ids, examples)
            wanted &= set(read_table(self.folder / made, ["image_id"])["image_id"].to_pylist())
            if not wanted:
                raise InputError(
                    f"no text of {run.data} names exactly one class, so there are no labels to fine-tune on"
                )
        listed = "".join(f"{image_id}\n" for image_id in sorted(wanted))
        write_text(ids_file, listed)
        digest = hashlib.sha256(listed.encode()).hexdigest()
        write_json(told, {"count": len(wanted), "digest": digest, "made": made is not None, "data": made, **told_more})

    def _with_text_labels(self, name: str, examples: Examples) -> str:
        """Write the rows whose text names one class, with that class as their label; the images are copied."""
        made = f"{name}-text-labels.parquet"
        if (self.folder / made).is_file():
            return made
        classes = examples.classes or named_classes(imagenet.wnids())
        labels = text_labels((examples.texts(row) for row in range(len(examples))), classes)
        _write_labelled(self.folder / made, examples, np.flatnonzero(labels >= 0), labels, classes)
        return made


def _agreement(labelled: pa.Table, wanted: set[str], ids: Sequence[str], examples: Examples) -> dict[str, Any]:
    """How many of the rows asked for name exactly one class, and how many of these have it as their own."""
    named = {
        image_id: label
        for image_id, label in zip(labelled["image_id"].to_pylist(), labelled["label"].to_pylist(), strict=True)
        if image_id in wanted
    }
    if examples.classes is None:
        return {"asked": len(wanted), "right": None}
    own = dict(zip(ids, examples.labels.tolist(), strict=True))
    return {"asked": len(wanted), "right": sum(own[image_id] == label for image_id, label in named.items())}


def _usable(examples: Examples, need: str, ids: Sequence[str]) -> list[int]:
    """Rows that have the caption that is needed, and a label where the data has labels."""
    rows = range(len(examples)) if examples.classes is None else np.flatnonzero(examples.labels >= 0).tolist()
    if not need:
        return list(rows)
    some = select(examples, list(rows))
    captioned = with_captions(some, make_sampler(some, CaptionRecipe.parse(need), seed=0))
    kept = {captioned.image_id(row) for row in range(len(captioned))}
    return [row for row in rows if ids[row] in kept]


def _luma(data: bytes) -> float:
    """How bright an image is on average, of 255."""
    with Image.open(io.BytesIO(data)) as picture:
        return float(np.asarray(picture.convert("L"), np.float64).mean())


def _write_labelled(path: Path, examples: Examples, rows: Ints, labels: Ints, classes: tuple[Class, ...]) -> None:
    names = [each.key for each in classes]
    schema = pa.schema(
        [IMAGE, ("image_id", pa.string()), ("label", pa.int64()), ("class_name", pa.string())],
        metadata={
            "huggingface": json.dumps(
                {
                    "info": {
                        "features": {
                            "image": {"_type": "Image"},
                            "image_id": {"dtype": "string", "_type": "Value"},
                            "label": {"names": names, "_type": "ClassLabel"},
                            "class_name": {"dtype": "string", "_type": "Value"},
                        }
                    }
                }
            )
        },
    )
    with replacing(path) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for start in range(0, len(rows), _AT_ONCE):
            batch = [
                {
                    "image": {"bytes": examples.image(row), "path": examples.image_id(row)},
                    "image_id": examples.image_id(row),
                    "label": int(labels[row]),
                    "class_name": classes[labels[row]].name,
                }
                for row in map(int, rows[start : start + _AT_ONCE])
            ]
            writer.write_table(pa.Table.from_pylist(batch, schema))
