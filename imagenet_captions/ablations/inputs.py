"""The inputs of the runs, made once and kept: lists of ids, labels read from texts, micro captions and shifts.

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

import msgspec
import numpy as np
import pyarrow as pa
from PIL import Image

from imagenet_captions.ablations.domain.mixtures import domains_of
from imagenet_captions.ablations.rows import Ints, choose_rows, nested_order
from imagenet_captions.ablations.table import FROM_TEXT, Pick
from imagenet_captions.ablations.text_labels import text_labels
from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.dataset.writing import IMAGE
from imagenet_captions.errors import InputError
from imagenet_captions.imagenet import classes as imagenet
from imagenet_captions.images.examples import Class, Examples, named_classes, open_examples, select
from imagenet_captions.storage.files import read_json, replacing, write_json, write_text
from imagenet_captions.storage.parquet import open_parquet_writer, read_table
from imagenet_captions.training.data import make_sampler, with_captions

_AT_ONCE = 1000


@dataclass(frozen=True)
class PickedRows:
    """The rows that a run trains on: their place, the list of their ids, their number, and a digest of the list.

    Where texts are looked at, `named` of `asked` rows name exactly one class, and `right` of these name the row's own,
    if it has one.
    """

    data: Path
    ids: Path
    count: int
    digest: str
    asked: int | None = None
    named: int | None = None
    right: int | None = None


class _Told(msgspec.Struct):
    """The record of chosen rows; `data` is the table with their labels, if these were read from texts."""

    count: int
    digest: str
    data: str | None
    asked: int | None = None
    named: int | None = None
    right: int | None = None


@dataclass(frozen=True)
class Inputs:
    """The rows that runs train on; `datasets` are the data sets by name, and `seed` decides the samples."""

    folder: Path
    datasets: Mapping[str, Path]
    seed: int = 0
    _opened: dict[Path, Examples] = field(default_factory=dict, compare=False, repr=False)

    def examples(self, path: Path) -> Examples:
        """Return the examples of a data set, which is opened once."""
        if path not in self._opened:
            self._opened[path] = open_examples(path)
        return self._opened[path]

    def rows(self, name: str, pick: Pick) -> PickedRows:
        """Return the rows of a data set that a pick selects; they are chosen once."""
        stem = f"{name}-{pick.key()}"
        ids_file, told = self.folder / "rows" / f"{stem}.txt", self.folder / "rows" / f"{stem}.json"
        if not told.is_file():
            self._choose(name, pick, ids_file, told)
        found = read_json(told, _Told, "the record of rows")
        data = self.datasets[name] if found.data is None else self.folder / found.data
        return PickedRows(data, ids_file, found.count, found.digest, found.asked, found.named, found.right)

    def _choose(self, name: str, pick: Pick, ids_file: Path, told: Path) -> None:
        examples = self.examples(self.datasets[name])
        ids = [examples.image_id(row) for row in range(len(examples))]
        if len(set(ids)) != len(ids):
            raise InputError(f"{examples.source} has image ids twice, so its rows cannot be identified; correct it")
        wanted = self._sample(name, pick, examples, ids)
        told_more: dict[str, Any] = {}
        made = None
        if pick.reads_texts:
            made = self._with_text_labels(name, examples)
            wanted, told_more = self._named(name, pick, made, examples, wanted)
        listed = "".join(f"{image_id}\n" for image_id in sorted(wanted))
        write_text(ids_file, listed)
        digest = hashlib.sha256(listed.encode()).hexdigest()
        used = made if pick.labels == FROM_TEXT else None
        write_json(told, {"count": len(wanted), "digest": digest, "made": used is not None, "data": used, **told_more})

    def _sample(self, name: str, pick: Pick, examples: Examples, ids: Sequence[str]) -> set[str]:
        """Return the ids of a pick's rows before their texts are read."""
        usable = usable_rows(examples, pick.need, ids)
        if pick.domains:
            domains = domains_of(examples, usable)
            return {domains.ids[at] for at in domains.choose(pick, self.seed)}
        kept_ids, labels = [ids[row] for row in usable], examples.labels[usable]
        try:
            chosen = choose_rows(kept_ids, labels, pick, lambda at: _luma(examples.image(usable[at])), self.seed)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        return {kept_ids[at] for at in chosen}

    def _named(
        self, name: str, pick: Pick, made: str, examples: Examples, wanted: set[str]
    ) -> tuple[set[str], dict[str, Any]]:
        """Keep the ids whose text names exactly one class, or `named_rows` of them; also return facts about their
        labels.
        """
        table = read_table(self.folder / made, ["image_id", "label"])
        pairs = zip(table["image_id"].to_pylist(), table["label"].to_pylist(), strict=True)
        label_of = {image_id: label for image_id, label in pairs if image_id in wanted}
        if not label_of:
            raise InputError(f"no text of {name} names exactly one class, so there are no labels to train on")
        facts = {"asked": len(wanted), "named": len(label_of), "right": _right(label_of, examples)}
        if pick.named_rows is None:
            return set(label_of), facts
        ids = sorted(label_of)
        order = nested_order(ids, np.array([label_of[image_id] for image_id in ids], np.int64), self.seed)
        return {ids[at] for at in order[: pick.named_rows]}, facts

    def _with_text_labels(self, name: str, examples: Examples) -> str:
        """Write the rows whose text names exactly one class, with that class as the label; images are copied."""
        made = f"{name}-text-labels.parquet"
        if (self.folder / made).is_file():
            return made
        classes = examples.classes or named_classes(imagenet.wnids())
        labels = text_labels((examples.texts(row) for row in range(len(examples))), classes)
        _write_labelled(self.folder / made, examples, np.flatnonzero(labels >= 0), labels, classes)
        return made


def _right(label_of: Mapping[str, int], examples: Examples) -> int | None:
    """Return how many images have the label that their text gives, or None if the data has no labels."""
    if examples.classes is None:
        return None
    own = {examples.image_id(row): int(label) for row, label in enumerate(examples.labels)}
    return sum(own[image_id] == label for image_id, label in label_of.items())


def usable_rows(examples: Examples, need: str, ids: Sequence[str]) -> list[int]:
    """Return the rows that have the needed caption, and a label if the data has labels."""
    rows = range(len(examples)) if examples.classes is None else np.flatnonzero(examples.labels >= 0).tolist()
    if not need:
        return list(rows)
    some = select(examples, list(rows))
    captioned = with_captions(some, make_sampler(some, CaptionTemplate.parse(need), seed=0))
    kept = {captioned.image_id(row) for row in range(len(captioned))}
    return [row for row in rows if ids[row] in kept]


def _luma(data: bytes) -> float:
    """Return the mean brightness of an image, from 0 to 255."""
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
    with replacing(path) as partial, open_parquet_writer(partial, schema) as writer:
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
