"""Rows of YFCC100M that cannot be read: the first of them listed, all of them counted."""

from __future__ import annotations

import pyarrow as pa

from imagenet_captions.outcomes import OUTCOMES, Outcome

MOST_LISTED = 1000  # rows that get an outcome of their own


class BadRows:
    """Collects them; 100 million bad rows take no more room than a thousand."""

    def __init__(self) -> None:
        self.count = 0
        self._listed: list[str] = []

    def add(self, where: str, what: str) -> None:
        """Count a row in, with where it stands and what is wrong with it, shortened."""
        self.count += 1
        if len(self._listed) < MOST_LISTED:
            self._listed.append(f"YFCC100M, {where}: {what}")

    def outcomes(self) -> pa.RecordBatch:
        """One row for each of the first ones, and one for the rest."""
        details, counts = list(self._listed), [1] * len(self._listed)
        if self.count > len(details):
            counts.append(self.count - len(details))
            details.append("YFCC100M: more rows that cannot be read")
        nothing = pa.nulls(len(details), pa.string())
        kinds = pa.array([Outcome.BAD_RECORD.value] * len(details), pa.string())
        columns = [nothing, nothing, kinds, pa.array(details, pa.string()), pa.array(counts, pa.int64())]
        return pa.RecordBatch.from_arrays(columns, schema=OUTCOMES)
