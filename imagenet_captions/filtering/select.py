"""Which rows of a dataset a filter keeps, and which step left each of the others out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from imagenet_captions.denylist import read_denylist
from imagenet_captions.errors import InputError
from imagenet_captions.filtering.settings import FilterSettings, read_ids
from imagenet_captions.loading import check_condition, open_parquet
from imagenet_captions.sampling import Sampling, choose, short_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selection:
    """The parent's ids in their order, why some are denied, and the step that left out each of the others that go."""

    ids: tuple[str, ...]
    denied: dict[str, str]
    left_out: dict[str, str]

    @cached_property
    def kept(self) -> list[str]:
        """The ids that stay, sorted."""
        return [image_id for image_id in self.ids if image_id not in self.left_out and image_id not in self.denied]

    def counts(self) -> dict[str, int]:
        """The number of rows kept, denied, and left out by each step."""
        counts = {"kept": len(self.kept), "denied": len(self.denied), **Counter(self.left_out.values())}
        return {name: count for name, count in counts.items() if count}


def select(dataset: Path, settings: FilterSettings) -> Selection:
    """Apply a filter in its order: denylist, condition, only-ids, trim-tail, like, per-class, sample.

    Raises InputError if no row is left.
    """
    condition, sampling = settings.wanted.condition(), settings.sampling()
    parquet = open_parquet(dataset, "default")
    if condition is not None:
        check_condition(parquet.schema, condition, dataset)
    ids = parquet.to_table(columns=["image_id"])["image_id"]
    denied = _denied(parquet, settings.deny)
    left_out: dict[str, str] = {}
    left = ids.filter(pc.invert(pc.is_in(ids, pa.array(denied, pa.string()))))
    if condition is not None:
        passing = parquet.to_table(columns=["image_id"], filter=condition)["image_id"]
        left = _only(left, passing.combine_chunks(), "condition", left_out)
    if settings.only_ids is not None:
        left = _only(left, pa.array(sorted(read_ids(settings.only_ids)), pa.string()), "only-ids", left_out)
    before = left.to_pylist()
    left_out |= choose(before, sampling)
    selection = Selection(tuple(ids.to_pylist()), denied, left_out)
    if not selection.kept:
        steps = ", ".join(f"{step} {count:,}" for step, count in selection.counts().items())
        raise InputError(f"no row of {dataset} is left (left out by {steps or 'nothing: it has none'}); ask for less")
    _tell_what_is_short(before, selection, sampling)
    return selection


def _denied(parquet: pads.FileSystemDataset, deny: Path | None) -> dict[str, str]:
    denylist = read_denylist(deny)
    if not denylist:
        return {}
    table = parquet.to_table(columns=["image_id", "photo_id", "owner", "photo_page"])
    reasons = denylist.reasons(table).to_pylist()
    return {image_id: why for image_id, why in zip(table["image_id"].to_pylist(), reasons, strict=True) if why}


def _only(before: pa.ChunkedArray, wanted: pa.Array, step: str, left_out: dict[str, str]) -> pa.ChunkedArray:
    stay = pc.is_in(before, wanted)
    left_out.update(dict.fromkeys(before.filter(pc.invert(stay)).to_pylist(), step))
    return before.filter(stay)


def _tell_what_is_short(before: Sequence[str], selection: Selection, sampling: Sampling) -> None:
    if sampling.like is not None and (short := short_of(before, sampling.like)):
        log.info("%s of %s classes have fewer rows than the table asks for", f"{short:,}", f"{len(sampling.like):,}")
    if isinstance(sampling.sample, int) and len(selection.kept) < sampling.sample:
        log.info("only %s rows are there for a sample of %s", f"{len(selection.kept):,}", f"{sampling.sample:,}")
