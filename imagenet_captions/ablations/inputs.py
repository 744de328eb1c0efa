"""The inputs of the runs, made once and kept: lists of ids, labels read from texts, and the sets of the micro preset.

Everything is whole or not there, and the same for the same data and seed, so a killed ablation finds it again.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from imagenet_captions.ablations.domains import Domains, domains_of
from imagenet_captions.ablations.micro_sets import (
    LABELLED,
    assign_domains,
    labelled_rows,
    write_images,
    write_micro_domains,
)
from imagenet_captions.ablations.rows import choose_rows, nested_order, text_labels, usable_rows
from imagenet_captions.ablations.runs import ALL_TEXT, FROM_TEXT, Pick, TrainingSet
from imagenet_captions.ablations.settings import DOMAIN
from imagenet_captions.errors import InputError
from imagenet_captions.imagenet import classes as imagenet
from imagenet_captions.images.examples import Examples, named_classes, only_ids, open_examples
from imagenet_captions.storage.files import read_json, write_json, write_text
from imagenet_captions.storage.parquet import read_table


@dataclass(frozen=True)
class Rows:
    """The rows that a run trains on: their number, a digest of their ids, and the names of two files in the inputs.

    `ids` lists their ids. `data` is the table with their labels, None where these are the data's own. Where texts are
    looked at, `named` of `asked` rows name exactly one class, and `right` of these name the row's own, if it has one.
    """

    count: int
    digest: str = ""
    ids: str = ""
    data: str | None = None
    asked: int | None = None
    named: int | None = None
    right: int | None = None


class Inputs:
    """The rows that runs train on; `datasets` are the data sets by name. Each file is opened once."""

    def __init__(self, folder: Path, datasets: dict[str, Path]) -> None:
        self.folder, self.datasets = folder, datasets
        self._opened: dict[Path, Examples] = {}
        self._rows: dict[str, Rows] = {}
        self.domains: Domains | None = None  # of the data set that `mix` returned

    def examples(self, path: Path) -> Examples:
        """Return the examples of a data set."""
        if path not in self._opened:
            self._opened[path] = open_examples(path)
        return self._opened[path]

    def training_set(self, name: str) -> TrainingSet:
        """Return a data set's number of rows, and whether it has labels."""
        examples = self.examples(self.datasets[name])
        return TrainingSet(name, len(examples), examples.classes is not None)

    def mix(self, name: str, micro: bool) -> TrainingSet:
        """Return the data set whose domains are mixed, which in miniature is made of the data set of this name."""
        examples = self.examples(self.datasets[name])
        found = plan_mixed(name, examples, micro)
        self.domains = found.domains
        if micro:
            made = self.datasets[found.name] = self.folder / f"{found.name}.parquet"
            if not made.is_file():
                write_micro_domains(examples, made)
        return found

    def rows(self, name: str, pick: Pick) -> Rows:
        """Return the rows of a data set that a pick selects; they are chosen once."""
        stem = f"{name}-{pick.key()}"
        if stem not in self._rows:
            record = self.folder / "rows" / f"{stem}.json"
            if not record.is_file():
                write_json(record, asdict(self._choose(name, pick, f"rows/{stem}.txt")))
            self._rows[stem] = read_json(record, Rows, "the record of rows")
        return self._rows[stem]

    def data(self, name: str, rows: Rows) -> Path:
        """Return the table that some rows of a data set are read from."""
        return self.datasets[name] if rows.data is None else self.folder / rows.data

    def ids(self, rows: Rows) -> frozenset[str]:
        """Return the ids of some rows."""
        return frozenset((self.folder / rows.ids).read_text(encoding="utf-8").split("\n")) - {""}

    def chosen(self, name: str, rows: Rows) -> Examples:
        """Return the examples of some rows of a data set."""
        return only_ids(self.examples(self.data(name, rows)), self.ids(rows))

    def _choose(self, name: str, pick: Pick, ids_file: str) -> Rows:
        examples = self.examples(self.datasets[name])
        ids = [examples.image_id(row) for row in range(len(examples))]
        if len(set(ids)) != len(ids):
            raise InputError(f"{examples.source} has image ids twice, so its rows cannot be identified; correct it")
        wanted = self._sample(name, pick, examples, ids)
        facts = Rows(len(wanted))
        if pick.reads_texts:
            wanted, facts = self._named(name, pick, examples, wanted)
        listed = "".join(f"{image_id}\n" for image_id in sorted(wanted))
        write_text(self.folder / ids_file, listed)
        return replace(
            facts,
            count=len(wanted),
            digest=hashlib.sha256(listed.encode()).hexdigest(),
            ids=ids_file,
        )

    def _sample(self, name: str, pick: Pick, examples: Examples, ids: Sequence[str]) -> set[str]:
        """Return the ids of a pick's rows before their texts are read."""
        usable = usable_rows(examples, pick.need, ids)
        if pick.domains:
            domains = domains_of(examples, usable)
            return {domains.ids[at] for at in domains.choose(pick)}

        def luma(at: int) -> float:
            """Return the mean brightness of an image, from 0 to 255."""
            with Image.open(io.BytesIO(examples.image(usable[at]))) as picture:
                return float(np.asarray(picture.convert("L"), np.float64).mean())

        kept_ids, labels = [ids[row] for row in usable], examples.labels[usable]
        try:
            return {kept_ids[at] for at in choose_rows(kept_ids, labels, pick, luma)}
        except InputError as error:
            raise InputError(f"{name}: {error}") from None

    def _named(self, name: str, pick: Pick, examples: Examples, wanted: set[str]) -> tuple[set[str], Rows]:
        """Return the ids whose text names exactly one class, or `named_rows` of them, and facts about their labels."""
        made = f"{name}-text-labels.parquet"
        if not (self.folder / made).is_file():
            classes = examples.classes or named_classes(imagenet.wnids())
            labels = text_labels((examples.texts(row) for row in range(len(examples))), classes)
            named = labelled_rows(
                examples,
                np.flatnonzero(labels >= 0).tolist(),
                labels,
                [each.name for each in classes],
            )
            write_images(self.folder / made, LABELLED, [each.key for each in classes], named)
        table = read_table(self.folder / made, ["image_id", "label"])
        pairs = zip(table["image_id"].to_pylist(), table["label"].to_pylist(), strict=True)
        label_of = {image_id: label for image_id, label in pairs if image_id in wanted}
        if not label_of:
            raise InputError(f"no text of {name} names exactly one class, so there are no labels to train on")
        right = None
        if examples.classes is not None:
            own = {examples.image_id(row): int(label) for row, label in enumerate(examples.labels)}
            right = sum(own[image_id] == label for image_id, label in label_of.items())
        data = made if pick.labels == FROM_TEXT else None
        facts = Rows(len(label_of), data=data, asked=len(wanted), named=len(label_of), right=right)
        if pick.named_rows is None:
            return set(label_of), facts
        ids = sorted(label_of)
        order = nested_order(ids, np.array([label_of[image_id] for image_id in ids], np.int64), pick.seed)
        return {ids[at] for at in order[: pick.named_rows]}, facts


def plan_mixed(name: str, examples: Examples, micro: bool, need: str = ALL_TEXT) -> TrainingSet:
    """Return the data set whose domains are mixed; of its rows those count that have a label and a needed caption."""
    if micro and examples.domains is not None:
        raise InputError(
            f"`preset='micro'` makes domains of its own, and {examples.source} has a column `{DOMAIN}`; rename it"
        )
    ids = [examples.image_id(row) for row in range(len(examples))]
    rows = usable_rows(examples, need, ids)
    domains = domains_of(examples, rows, assign_domains(examples) if micro else None)
    return TrainingSet(f"{name}-domains" if micro else name, len(examples), True, domains)
