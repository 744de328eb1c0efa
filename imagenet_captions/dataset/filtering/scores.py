"""Choosing rows by the similarities in a file that `score` wrote."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.dataset.manifest import Manifest
from imagenet_captions.errors import InputError
from imagenet_captions.schema import SCORES, provenance
from imagenet_captions.storage.files import MANIFEST, checked, require_file, sha256
from imagenet_captions.storage.parquet import read_schema, read_table
from imagenet_captions.storage.places import Place

Flags = npt.NDArray[np.bool_]
Similarities = npt.NDArray[np.float64]


class _Inputs(msgspec.Struct):
    dataset: str
    weights: str


class _Settings(msgspec.Struct):
    model: str


class _About(msgspec.Struct):
    inputs: _Inputs
    settings: _Settings


@dataclass(frozen=True)
class ScoreLimits:
    """A file of scores, and the rows to keep: those with more than `above`, and of these the share `top`."""

    file: Place
    above: float | None
    top: float | None

    def __post_init__(self) -> None:
        if self.above is None and self.top is None:
            raise InputError("`scores` has no effect without a limit; give `score_above` or `score_top`")
        if self.above is not None and not -1 <= self.above <= 1:
            raise InputError(f"`score_above` must be a similarity from -1 to 1, not {self.above}")
        if self.top is not None and not 0 < self.top <= 1:
            raise InputError(f"`score_top` must be a share above 0 and at most 1, not {self.top}")

    def similarities(self, dataset: Place, manifest: Manifest, ids: Iterator[tuple[int, pa.Array]]) -> Similarities:
        """Return the similarity of every row of a dataset, NaN for a row without a score.

        Raises InputError for scores of another dataset, except those of the one that this one was filtered from.
        """
        of = self._about().inputs.dataset
        scores = read_table(self.file, ["image_id", "similarity"])
        if not pc.all(pc.is_finite(scores["similarity"]), min_count=0).as_py():
            raise InputError(f"{self.file} has similarities that are not numbers; score the dataset again")
        if len(scores["image_id"].unique()) != len(scores):
            raise InputError(f"{self.file} has an id twice; score the dataset again")
        at = [pc.index_in(batch, value_set=scores["image_id"].combine_chunks()) for _, batch in ids]
        found: Similarities = scores["similarity"].take(pa.chunked_array(at, pa.int32())).to_numpy().astype(np.float64)
        if of not in (sha256(dataset / MANIFEST), manifest.inputs.get("parent")) or np.isnan(found).all():
            shared = int(np.count_nonzero(~np.isnan(found)))
            raise InputError(
                f"{self.file} has the scores of another dataset than {dataset}, with {shared:,} of its {len(found):,} "
                "ids; score this one, or the one that it was filtered from"
            )
        return found

    def as_given(self) -> dict[str, Any]:
        """Return the limits, and the model and weights behind the scores, for the record."""
        about = self._about()
        given = {"score-above": self.above, "score-top": self.top}
        return {
            "scores": "sha256:" + sha256(self.file),
            "score-model": about.settings.model,
            "score-weights": "sha256:" + about.inputs.weights,
            **{name: value for name, value in given.items() if value is not None},
        }

    def _about(self) -> _About:
        """Return what the file says of itself; raises InputError if `score` did not write it."""
        schema = read_schema(require_file(self.file, "the file of scores"))
        if not set(SCORES) <= set(schema) or "inputs" not in provenance(schema):
            raise InputError(f"{self.file} was not written by `imagenet-captions score`; give a file that was")
        return checked(provenance(schema), _About, f"the file of scores {self.file}")


def below_top(ids: list[str], similarities: Similarities, share: float) -> Flags:
    """Return a mask of the rows outside the share with the highest similarities; of equal ones the lower id wins.

    >>> below_top(["b", "a", "c"], np.array([0.2, 0.2, 0.3]), share=0.67).tolist()
    [True, False, False]
    """
    order = np.lexsort((np.array(ids), -similarities))
    below = np.ones(len(ids), bool)
    below[order[: round(share * len(ids))]] = False
    return below
