"""Domains: the rows that each arm of the factor `domain` trains on, and the classes that it holds out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from imagenet_captions.ablations.rows import Ints, nested_order
from imagenet_captions.ablations.runs import Pick
from imagenet_captions.ablations.settings import DOMAIN
from imagenet_captions.dataset.sampling import sampling_key
from imagenet_captions.errors import InputError, shortened
from imagenet_captions.images.examples import Examples

NATURAL = ("natural", "real")  # DomainNet calls its photos real
# The classes of DomainNet that the paper holds out (scripts/subsample_domainnet_lso.py of its repository).
_PAPERS = frozenset(
    {
        *(
            "aircraft carrier",
            "axe",
            "banana",
            "barn",
            "bed",
            "candle",
            "lion",
            "mountain",
            "necklace",
            "penguin",
        ),
        *("pizza", "saxophone", "television", "tractor", "traffic light"),
    }
)
_ONE_IN = 5  # classes of another data set are held out


@dataclass(frozen=True, eq=False)
class Domains:
    """The id, label and domain of every row that can be trained on, and the names of the classes."""

    ids: Sequence[str]
    labels: Ints
    names: npt.NDArray[np.str_]
    classes: Sequence[str]

    def __post_init__(self) -> None:
        if not self.natural or len(self.others) < 2:
            found = ", ".join(shortened(name, 40) for name in self._found[:9]) or "none"
            raise InputError(
                f"the column `{DOMAIN}` needs {' or '.join(map(repr, NATURAL))} and two other domains, and it has "
                f"{found}; name the photos {NATURAL[0]!r}"
            )
        if len(self.classes) < 2:
            raise InputError(f"the factor domain holds out classes, and the data has {len(self.classes)}; give more")

    @cached_property
    def _found(self) -> tuple[str, ...]:
        return tuple(name for name in np.unique(self.names).tolist() if name)

    @cached_property
    def natural(self) -> str:
        """The domain of photos."""
        return next((name for name in NATURAL if name in self._found), "")

    @cached_property
    def others(self) -> tuple[str, ...]:
        """The other domains, each of which is the test domain once."""
        return tuple(name for name in self._found if name != self.natural)

    @cached_property
    def held_out(self) -> tuple[int, ...]:
        """The labels that no compositional arm sees in its test domain: the paper's, or a seeded fifth."""
        names = [name.replace("_", " ").casefold() for name in self.classes]
        if set(names) >= _PAPERS:
            return tuple(label for label, name in enumerate(names) if name in _PAPERS)
        order = sorted(range(len(names)), key=lambda label: sampling_key(f"held out {names[label]}", 0))
        return tuple(sorted(order[: max(1, len(names) // _ONE_IN)]))

    @property
    def held_out_names(self) -> list[str]:
        """The names of the classes that are held out."""
        return [self.classes[label] for label in self.held_out]

    def pool(self, domains: Sequence[str], unseen: str = "") -> Ints:
        """Return the rows of these domains, without those of held-out classes in the domain `unseen`."""
        left_out = (self.names == unseen) & np.isin(self.labels, self.held_out)
        return np.flatnonzero(np.isin(self.names, domains) & ~left_out)

    def choose(self, pick: Pick) -> Ints:
        """Return the rows of a pick, sorted: an even sample of its pool over domains and classes."""
        rows = self.pool(pick.domains, pick.unseen)
        wanted = len(rows) if pick.rows is None else pick.rows
        if wanted > len(rows):
            raise InputError(
                f"{wanted:,} rows of the domains are asked for and {len(rows):,} are there; give more data"
            )
        groups = np.unique(self.names[rows], return_inverse=True)[1] * len(self.classes) + self.labels[rows]
        order = nested_order([self.ids[row] for row in rows], groups, pick.seed)
        return np.sort(rows[order[:wanted]])

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


def domains_of(examples: Examples, rows: Sequence[int], names: Sequence[str] | None = None) -> Domains:
    """Return the domains of some rows: those of the column `domain`, or `names` for all rows.

    Raises InputError for data without labels or domains.
    """
    if names is None:
        names = examples.domains
    if names is None or examples.classes is None:
        raise InputError(
            f"ablate domain needs labels and a column `{DOMAIN}`, and {examples.source} lacks one of them; "
            "give a Parquet file that has both"
        )
    kept = np.asarray(rows, np.int64)
    ids = [examples.image_id(row) for row in rows]
    classes = [each.name for each in examples.classes]
    return Domains(ids, examples.labels[kept], np.asarray(names, np.str_)[kept], classes)
