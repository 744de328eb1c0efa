"""The inputs of the runs, made once and kept: lists of ids, labels read from texts, and the sets of the micro preset.

Everything is whole or not there, and the same for the same data and seed, so a killed ablation finds it again.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from imagenet_captions.ablations.micro import DOMAIN_TEXTS, assign_domains, write_examples
from imagenet_captions.ablations.rows import (
    Domains,
    choose_rows,
    domains_of,
    nested_order,
    text_labels,
    usable_examples,
)
from imagenet_captions.ablations.runs import ALL_TEXT, FROM_TEXT, Pick, TrainingSet
from imagenet_captions.ablations.settings import DOMAIN
from imagenet_captions.errors import InputError
from imagenet_captions.imagenet import classes as imagenet
from imagenet_captions.images.examples import Examples, named_classes, open_examples, require_classes
from imagenet_captions.storage.files import read_json, write_json, write_text


@dataclass(frozen=True)
class Rows:
    """The rows that a run trains on: their number, a digest of their ids, and the names of two files in the inputs.

    `ids` lists their ids. `data` is the table with their labels, None where these are the data's own. Where texts are
    looked at, `named` of `asked` rows name exactly one class, and `right` of these name the row's own, if it has one.
    `at_most` says that `count` is a bound, since the texts are not read yet.
    """

    count: int
    digest: str = ""
    ids: str = ""
    data: str | None = None
    asked: int | None = None
    named: int | None = None
    right: int | None = None
    at_most: bool = False


class Inputs:
    """The rows that runs train on; `datasets` are the data sets by name. Each file is opened once."""

    def __init__(self, folder: Path, datasets: dict[str, Path]) -> None:
        self.folder, self.datasets = folder, datasets
        self._opened: dict[Path, Examples] = {}
        self.domains: Domains | None = None  # of the data set that `mix` returned

    def examples(self, path: Path) -> Examples:
        """Return the examples of a data set."""
        if path not in self._opened:
            self._opened[path] = open_examples(path)
        return self._opened[path]

    def mix(self, name: str, micro: bool) -> TrainingSet:
        """Return the data set whose domains are mixed, which in miniature is made of the data set of this name."""
        examples = self.examples(self.datasets[name])
        found = plan_mixed(name, examples, micro)
        self.domains = found.domains
        if micro:
            made = self.datasets[found.name] = self.folder / f"{found.name}.parquet"
            if not made.is_file():
                labels, classes, domains = examples.labels, require_classes(examples), assign_domains(examples)
                write_examples(made, examples, labels, classes, DOMAIN_TEXTS, examples.texts, domains)
        return found

    def rows(self, name: str, pick: Pick) -> Rows:
        """Return the rows of a data set that a pick selects; they are chosen once."""
        key = hashlib.sha256(json.dumps(asdict(pick), sort_keys=True).encode()).hexdigest()[:10]
        stem = f"rows/{name}-{key}"
        record = self.folder / f"{stem}.json"
        if not record.is_file():
            ids, facts = self._choose(name, pick)
            listed = "".join(f"{image_id}\n" for image_id in sorted(ids))
            write_text(self.folder / f"{stem}.txt", listed)
            digest = hashlib.sha256(listed.encode()).hexdigest()
            write_json(record, asdict(replace(facts, digest=digest, ids=f"{stem}.txt")))
        return read_json(record, Rows, "the record of rows")

    def data(self, name: str, rows: Rows) -> Path:
        """Return the table that some rows of a data set are read from."""
        return self.datasets[name] if rows.data is None else self.folder / rows.data

    def _choose(self, name: str, pick: Pick) -> tuple[set[str], Rows]:
        """Return the ids of a pick's rows, and what is known of them."""
        examples = self.examples(self.datasets[name])
        if len({examples.image_id(row) for row in range(len(examples))}) != len(examples):
            raise InputError(f"{examples.source} has image ids twice, so its rows cannot be identified; correct it")
        usable = usable_examples(examples, pick.need)
        ids = [usable.image_id(row) for row in range(len(usable))]

        def luma(row: int) -> float:
            with Image.open(io.BytesIO(usable.image(row))) as picture:
                return float(np.asarray(picture.convert("L"), np.float64).mean())

        try:
            if pick.domains:
                chosen = domains_of(usable).choose(pick).tolist()
            else:
                chosen = choose_rows(ids, usable.labels, pick, luma)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        wanted = {ids[row] for row in chosen}
        return self._named(name, pick, examples, wanted) if pick.reads_texts else (wanted, Rows(len(wanted)))

    def _named(self, name: str, pick: Pick, examples: Examples, wanted: set[str]) -> tuple[set[str], Rows]:
        """Return the ids whose text names exactly one class, or `named_rows` of them, and facts about their labels."""
        made = f"{name}-text-labels.parquet"
        nothing = InputError(f"no text of {name} names exactly one class, so there are no labels to train on")
        if not (self.folder / made).is_file():
            classes = examples.classes or named_classes(imagenet.wnids())
            labels = text_labels((examples.texts(row) for row in range(len(examples))), classes)
            if (labels < 0).all():
                raise nothing
            write_examples(self.folder / made, examples, labels, classes)
        named = self.examples(self.folder / made)
        label_of = {}
        for row, label in enumerate(named.labels.tolist()):
            if (image_id := named.image_id(row)) in wanted:
                label_of[image_id] = label
        if not label_of:
            raise nothing
        right = None
        if examples.classes is not None:
            own = {examples.image_id(row): int(label) for row, label in enumerate(examples.labels)}
            right = sum(own[image_id] == label for image_id, label in label_of.items())
        ids = sorted(label_of)
        if pick.named_rows is not None:
            order = nested_order(ids, np.array([label_of[image_id] for image_id in ids], np.int64), pick.seed)
            ids = [ids[at] for at in order[: pick.named_rows]]
        data = made if pick.labels == FROM_TEXT else None
        return set(ids), Rows(len(ids), data=data, asked=len(wanted), named=len(label_of), right=right)


def plan_mixed(name: str, examples: Examples, micro: bool, need: str = ALL_TEXT) -> TrainingSet:
    """Return the data set whose domains are mixed; of its rows those count that have a label and a needed caption."""
    if micro and examples.domains is not None:
        raise InputError(
            f"`preset='micro'` makes domains of its own, and {examples.source} has a column `{DOMAIN}`; rename it"
        )
    if micro:
        examples = replace(examples, stored_domains=assign_domains(examples))
    domains = domains_of(usable_examples(examples, need))
    return TrainingSet(f"{name}-domains" if micro else name, len(examples), True, domains)
