"""The rows that runs train on, chosen once and kept: seeded samples, skewed ones, labels read from texts, domains."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from imagenet_captions.ablations.micro import DOMAIN_TEXTS, NATURAL, SHIFTS, write_examples
from imagenet_captions.ablations.runs import ALL_TEXT, FROM_TEXT, LONG_TAIL, UNIFORM, Pick, TrainingSet
from imagenet_captions.ablations.settings import DOMAIN
from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.dataset.sampling import sampling_key
from imagenet_captions.errors import InputError, shortened
from imagenet_captions.imagenet import classes as imagenet
from imagenet_captions.images.examples import (
    Class,
    Examples,
    Texts,
    find_named,
    named_classes,
    open_examples,
    require_classes,
    select,
)
from imagenet_captions.images.reading import Integers
from imagenet_captions.storage.files import read_json, write_json, write_text
from imagenet_captions.training.data import make_sampler, with_captions


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
                texts = [examples.texts(row) for row in range(len(examples))]
                write_examples(made, examples, labels, classes, DOMAIN_TEXTS, texts, domains)
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


def assign_domains(examples: Examples) -> list[str]:
    """Return the domain of each image: natural for half of each class, and the shifts in turn for the others."""
    ids = [examples.image_id(row) for row in range(len(examples))]
    order = nested_order(ids, examples.labels, 0)
    names, turn = [NATURAL] * len(ids), Counter[int]()
    for row in order[(len(order) + 1) // 2 :]:
        label = int(examples.labels[row])
        names[row] = SHIFTS[(turn[label] + label) % len(SHIFTS)]
        turn[label] += 1
    return names


def usable_examples(examples: Examples, need: str) -> Examples:
    """Return the examples that have the needed caption, and a label if the data has labels."""
    if examples.classes is not None:
        examples = select(examples, np.flatnonzero(examples.labels >= 0))
    if not need:
        return examples
    return with_captions(examples, make_sampler(examples, CaptionTemplate.parse(need), seed=0))


def text_labels(texts: Iterable[Texts], classes: Sequence[Class]) -> Integers:
    """Return for each row the only class that it names, or -1 if it names none or several, as the paper's NoCLIP does.

    >>> animals = [Class("cat", "cat"), Class("dog", "dog")]
    >>> text_labels([Texts(title="My cats"), Texts(title="cat", tags=("dog",)), Texts(caption="a Dog!")], animals)
    array([ 0, -1,  1])
    """
    named = find_named(texts, classes)
    return np.fromiter((labels[0] if len(labels) == 1 else -1 for labels in named), np.int64)


def nested_order(ids: Sequence[str], labels: Integers, seed: int) -> list[int]:
    """Return all rows in a seeded order; every prefix is a sample with the classes' own shares.

    >>> nested_order(["a", "b", "c", "d"], np.array([0, 0, 0, 1]), seed=0)
    [2, 0, 3, 1]
    """
    by_key = sorted(range(len(ids)), key=lambda at: (sampling_key(ids[at], seed), ids[at]))
    totals = {int(label): int(count) for label, count in zip(*np.unique(labels, return_counts=True), strict=True)}
    taken = dict.fromkeys(totals, 0)
    place: dict[int, float] = {}
    for at in by_key:
        label = int(labels[at])
        taken[label] += 1
        place[at] = (taken[label] - 0.5) / totals[label]
    rank = {at: number for number, at in enumerate(by_key)}
    return sorted(by_key, key=lambda at: (place[at], rank[at]))


def choose_rows(ids: Sequence[str], labels: Integers, pick: Pick, luma: Callable[[int], float]) -> list[int]:
    """Return the rows of a pick in ascending order; `luma` returns the mean brightness of a row's image."""
    kind, rows = pick.kind, pick.rows
    order = nested_order(ids, labels, pick.seed)
    if rows is None or (kind == UNIFORM and rows >= len(ids)):
        return sorted(order)
    if rows > len(ids):
        raise InputError(f"{rows:,} rows are asked for and {len(ids):,} can be trained on; give more data")
    if kind == UNIFORM:
        return sorted(order[:rows])
    if (labels < 0).any():
        raise InputError(f"a {kind} sample is taken class by class, and the data has no labels; give labeled data")
    found, available = np.unique(labels, return_counts=True)
    if kind == LONG_TAIL:
        counts = long_tail_counts(labels, rows, pick.seed)
    else:  # the darkest of each class
        order = sorted(order, key=lambda at: (luma(at), ids[at]))
        counts = dict(zip(found.tolist(), _rounded(available * rows / len(labels), rows, available), strict=True))
    chosen: list[int] = []
    for label, count in counts.items():
        chosen += [at for at in order if labels[at] == label][:count]
    return sorted(chosen)


def long_tail_counts(labels: Integers, rows: int, seed: int) -> dict[int, int]:
    """Return numbers of images that fall by a constant factor from class to class, from all or half of `rows`.

    Which class comes first is left to the seed.

    >>> sorted(long_tail_counts(np.repeat(np.arange(4), 100), 150, seed=0).values())
    [12, 22, 41, 75]
    """
    found, counts = np.unique(labels, return_counts=True)
    available = np.minimum(counts, (rows + 1) // 2)  # of few rows the first class gets half and not all
    order = sorted(range(len(found)), key=lambda at: sampling_key(f"class {found[at]}", seed))
    ranks = np.empty(len(found))
    ranks[order] = np.arange(len(found))
    low, high = 0.0, 1.0  # the factor; 1 gives all images of all classes
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (available * middle**ranks).sum() < rows else (low, middle)
    return dict(zip(found.tolist(), _rounded(available * high**ranks, rows, available), strict=True))


def _rounded(exact: npt.NDArray[np.float64], total: int, most: Integers) -> list[int]:
    """Round numbers to integers with this sum; the largest remainders are rounded up."""
    counts = np.minimum(np.floor(exact).astype(np.int64), most)
    for at in sorted(range(len(exact)), key=lambda at: counts[at] - exact[at]):
        if counts.sum() == total:
            break
        counts[at] += counts[at] < most[at]
    return [int(count) for count in counts]


_NATURAL = ("natural", "real")  # DomainNet calls its photos real
# The classes of DomainNet that the paper holds out (scripts/subsample_domainnet_lso.py of its repository).
_PAPERS = {
    "aircraft carrier", "axe", "banana", "barn", "bed", "candle", "lion", "mountain", "necklace", "penguin", "pizza",
    "saxophone", "television", "tractor", "traffic light",
}  # fmt: skip
_ONE_IN = 5  # classes of another data set are held out


class Domains:
    """The id, label and domain of every row that can be trained on, and the names of the classes.

    `natural` is the domain of photos, and each of the `others` is the test domain once. No compositional arm sees the
    classes with the labels `held_out` in its test domain: they are the paper's, or a seeded fifth.
    """

    def __init__(self, ids: Sequence[str], labels: Integers, names: Sequence[str], classes: Sequence[str]) -> None:
        self.ids, self.labels, self.names = ids, labels, np.asarray(names, np.str_)
        found = [name for name in np.unique(self.names).tolist() if name]
        self.natural = next((name for name in _NATURAL if name in found), "")
        self.others = tuple(name for name in found if name != self.natural)
        if not self.natural or len(self.others) < 2:
            listed = ", ".join(shortened(name, 40) for name in found[:9]) or "none"
            raise InputError(
                f"the column `{DOMAIN}` needs {' or '.join(map(repr, _NATURAL))} and two other domains, and it has "
                f"{listed}; name the photos {_NATURAL[0]!r}"
            )
        if len(classes) < 2:
            raise InputError(f"the factor domain holds out classes, and the data has {len(classes)}; give more")
        plain = [name.replace("_", " ").casefold() for name in classes]
        if set(plain) >= _PAPERS:
            self.held_out = [label for label, name in enumerate(plain) if name in _PAPERS]
        else:
            order = sorted(range(len(plain)), key=lambda label: sampling_key(f"held out {plain[label]}", 0))
            self.held_out = sorted(order[: max(1, len(plain) // _ONE_IN)])
        self.held_out_names = [classes[label] for label in self.held_out]

    def pool(self, domains: Sequence[str], unseen: str = "") -> Integers:
        """Return the rows of these domains, without those of held-out classes in the domain `unseen`."""
        left_out = (self.names == unseen) & np.isin(self.labels, self.held_out)
        return np.flatnonzero(np.isin(self.names, domains) & ~left_out)

    def choose(self, pick: Pick) -> Integers:
        """Return the rows of a pick, sorted: an even sample of its pool over domains and classes."""
        rows = self.pool(pick.domains, pick.unseen)
        domains = np.unique(self.names[rows], return_inverse=True)[1]
        groups = domains * (int(self.labels.max()) + 1) + self.labels[rows]
        order = nested_order([self.ids[row] for row in rows], groups, pick.seed)
        return np.sort(rows[order[: pick.rows]])

    def describe(self, pick: Pick) -> str:
        """Return how many rows of each domain and of held-out classes a pick has, and which classes it lacks."""
        rows = self.choose(pick)
        names, counts = np.unique(self.names[rows], return_counts=True)
        text = ", ".join(f"{name} {count:,}" for name, count in zip(names, counts, strict=True))
        text += f"; {np.isin(self.labels[rows], self.held_out).sum():,} of held-out classes"
        return f"{text}; no {', '.join(self.held_out_names)} in {pick.unseen}" if pick.unseen else text

    def mask(self, examples: Examples) -> npt.NDArray[np.bool_]:
        """Return which labeled images of a test set are of held-out classes."""
        classes = [each.name for each in examples.classes or ()]
        inside = [label for label, name in enumerate(classes) if name in self.held_out_names]
        return np.isin(examples.labels[examples.labels >= 0], inside)


def domains_of(examples: Examples) -> Domains:
    """Return the domains of the examples; raises InputError for data without labels or domains."""
    names, classes = examples.domains, examples.classes
    if names is None or classes is None:
        raise InputError(
            f"ablate domain needs labels and a column `{DOMAIN}`, and {examples.source} lacks one of them; "
            "give a Parquet file that has both"
        )
    ids = [examples.image_id(row) for row in range(len(examples))]
    return Domains(ids, examples.labels, names, [each.name for each in classes])
