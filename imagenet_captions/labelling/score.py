"""How well texts name the class: counts, and precision and recall against the true classes of rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.imagenet import classes
from imagenet_captions.labelling.batch import NAMED, TRUTH
from imagenet_captions.labelling.settings import Mode

_COUNT = len(classes.wnids())
Counts = npt.NDArray[np.int64]


def _zeros() -> Counts:
    return np.zeros(_COUNT, np.int64)


@dataclass
class Score:
    """Counts of rows by the number of classes that they name, and of right and wrong labels per class.

    A label that a row gets is right if it is the row's true one. Precision is the share of right labels among those
    given to rows whose class is known, recall the share of these rows that got the right label. A row that names two
    classes gets no label in the modes `single` and `strict`, so it counts against recall and not against precision.
    """

    mode: Mode
    none: int = 0
    single: int = 0
    several: int = 0
    known: int = 0  # rows whose class is known
    given: Counts = field(default_factory=_zeros)  # labels given, per class, to any row
    right: Counts = field(default_factory=_zeros)
    wrong: Counts = field(default_factory=_zeros)  # given to rows of another class
    true: Counts = field(default_factory=_zeros)  # rows of the class

    def add(self, batch: pa.RecordBatch) -> None:
        """Count the rows of a `label_batch`."""
        counts = pc.list_value_length(batch[NAMED]).to_numpy(zero_copy_only=False)
        self.none += int((counts == 0).sum())
        self.single += int((counts == 1).sum())
        self.several += int((counts > 1).sum())
        truth = pc.fill_null(batch[TRUTH], -1).to_numpy(zero_copy_only=False).astype(np.int64)
        self.known += int((truth >= 0).sum())
        self.true += np.bincount(truth[truth >= 0], minlength=_COUNT)
        labelled = counts > 0 if self.mode is Mode.MULTI else counts == 1
        labels = batch[NAMED].flatten().to_numpy().astype(np.int64)
        labels = labels[np.repeat(labelled, counts)]
        own = np.repeat(truth[labelled], counts[labelled])
        self.given += np.bincount(labels, minlength=_COUNT)
        self.right += np.bincount(labels[labels == own], minlength=_COUNT)
        self.wrong += np.bincount(labels[(own >= 0) & (labels != own)], minlength=_COUNT)

    @property
    def labelled(self) -> int:
        """Return the number of rows that get a label."""
        return self.single + (self.several if self.mode is Mode.MULTI else 0)

    def summary(self) -> dict[str, Any]:
        """Return counts, and precision and recall over the rows whose class is known, null for none."""
        rows = {"rows": self.none + self.single + self.several, "labelled": self.labelled}
        rows |= {"named_none": self.none, "named_one": self.single, "named_several": self.several}
        right, wrong = int(self.right.sum()), int(self.wrong.sum())
        return {
            **rows,
            "known_class": self.known,
            "right": right,
            "wrong": wrong,
            "precision": share(right, right + wrong),
            "recall": share(right, self.known),
        }

    def per_class(self) -> Iterator[dict[str, Any]]:
        """Yield a row for each of the 1000 classes."""
        for wnid in classes.wnids():
            each = classes.by_wnid(wnid)
            true, right, wrong = (int(counts[each.index]) for counts in (self.true, self.right, self.wrong))
            yield {
                "label": each.index,
                "wnid": wnid,
                "class_name": each.name,
                "given": int(self.given[each.index]),
                "known_class": true,
                "right": right,
                "wrong": wrong,
                "precision": share(right, right + wrong),
                "recall": share(right, true),
            }


def share(part: int, whole: int) -> float | None:
    """A share to six places, or None of nothing.

    >>> share(1, 3), share(0, 0)
    (0.333333, None)
    """
    return round(part / whole, 6) if whole else None
