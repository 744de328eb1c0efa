"""Estimate how often each cleaning rule changes a record, for the dataset card."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from imagenet_captions.cleaner.changes import RULES
from imagenet_captions.cleaner.rule_report import RuleReport

SAMPLED = 2_500  # records at least, if there are so many; noting each change takes longer than cleaning
_RAW = {"image_id": "image_id", "raw_title": "title", "raw_description": "description", "raw_tags": "tags"}


class RuleSample:
    """An evenly spaced sample of the records that were cleaned: all of them up to twice `SAMPLED`, else every n-th."""

    def __init__(self) -> None:
        self._records, self._step = 0, 1
        self._held: list[pa.Table] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Take records of a batch that has the raw texts; batches must come in the order of the source."""
        rows = range(-self._records % self._step, len(batch), self._step)
        table = pa.Table.from_batches([batch]).select(list(_RAW))
        self._held.append(table.take(pa.array(rows, pa.int64())))
        self._records += len(batch)
        while sum(map(len, self._held)) > 2 * SAMPLED:
            together = pa.concat_tables(self._held)
            self._held = [together.take(pa.array(range(0, len(together), 2)))]
            self._step *= 2

    def result(self) -> dict[str, Any]:
        """Return the counts for JSON: the records, those sampled, and of these how many each rule changed."""
        report = RuleReport()
        for table in self._held:
            for batch in table.rename_columns(list(_RAW.values())).to_batches():
                report.add(batch)
        changed = {rule: report.counts[rule] for rule in RULES}
        return {"records": self._records, "sampled": report.records, "changed": changed}
