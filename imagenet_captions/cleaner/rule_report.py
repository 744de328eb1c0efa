"""Count the records that each cleaning rule changes, and keep a few examples. Used by the command `clean`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.captions.camera_names import CAMERA_NAME
from imagenet_captions.cleaner.changes import RULES, Change, record_changes
from imagenet_captions.cleaner.columns import clean_tags, may_change
from imagenet_captions.flickr.denylist import Denylist
from imagenet_captions.outcomes import share
from imagenet_captions.schema import RawSource

EXAMPLES = 3  # of a rule


@dataclass
class RuleReport:
    """How often each rule changed a record: `records` in all, their number by rule, and the first examples."""

    records: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[tuple[str, Change]]] = field(default_factory=dict)  # rule → image ids and changes

    def add(self, batch: pa.RecordBatch) -> None:
        """Count records: a batch with image_id, and the raw title, description and tags."""
        self.records += len(batch)
        columns = [batch[name] for name in ("image_id", "title", "description", "tags")]
        changed = _may_change(*columns[1:])
        for image_id, *texts in zip(*(column.filter(changed).to_pylist() for column in columns), strict=True):
            changes = record_changes(*texts)
            self.counts.update({change.rule for change in changes})
            for change in changes:
                self._show(image_id, change)

    def _show(self, image_id: str, change: Change) -> None:
        known = self.examples.setdefault(change.rule, [])
        if len(known) < EXAMPLES and all(image_id != seen and change.before != each.before for seen, each in known):
            known.append((image_id, change))

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON: every rule, with whole texts in the examples."""
        rules = {
            rule: {
                "records": self.counts[rule],
                "examples": [
                    {"image_id": image_id, **change.as_dict()} for image_id, change in self.examples.get(rule, [])
                ],
            }
            for rule in RULES
        }
        return {"records": self.records, "rules": rules}

    def __str__(self) -> str:
        """Return the report as a text table, with the examples below each rule."""
        width, digits = max(map(len, RULES)), len(f"{self.records:,}")
        lines = []
        for rule in RULES:
            lines.append(
                f"{rule:<{width}}  {self.counts[rule]:>{digits},}  {share(self.counts[rule], self.records):>7}"
            )
            lines += [f"  {image_id} {change}" for image_id, change in self.examples.get(rule, [])]
        return "\n".join([*lines, f"{'records':<{width}}  {self.records:>{digits},}"])


def _may_change(titles: pa.Array, descriptions: pa.Array, tags: pa.Array) -> pa.Array:
    """Return a mask of the records in which a rule may change something."""
    changed = pc.or_(may_change(titles, html=False), pc.match_substring_regex(titles, CAMERA_NAME))
    changed = pc.or_(changed, may_change(descriptions, html=True))
    fewer = pc.not_equal(pc.list_value_length(tags), pc.list_value_length(clean_tags(tags)))
    touched = pc.list_parent_indices(tags).filter(may_change(pc.fill_null(pc.list_flatten(tags), ""), html=False))
    rows = pa.array(range(len(tags)), touched.type)
    return pc.or_(changed, pc.or_(fewer, pc.is_in(rows, value_set=touched)))


class ReportedSource:
    """A `RawSource` whose records are counted in a report when they are read; denied ones are not."""

    def __init__(self, source: RawSource, deny: Denylist, report: RuleReport) -> None:
        self._source, self._deny, self._report = source, deny, report
        self.drops, self.files, self.inputs = source.drops, source.files, source.inputs
        self.measured = source.measured

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the RAW batches of the source."""
        for batch in self._source.batches():
            self._report.add(self._deny.drop(batch)[0])
            yield batch
