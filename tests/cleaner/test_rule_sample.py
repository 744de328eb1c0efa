"""The sample of cleaning's changes: whole for few records, evenly spaced for many, whatever the batches."""

from __future__ import annotations

import pyarrow as pa
import pytest

from imagenet_captions.cleaner import rule_sample
from imagenet_captions.cleaner.rule_report import RuleReport
from imagenet_captions.cleaner.rule_sample import RuleSample
from tests.cleaner.raw import batch, record

TITLES = ["plain", "IMG_1234", "two  blanks", "Tom &amp; me"]
RECORDS = [record(f"n01440764_{number}", TITLES[number % 4 if number < 64 else 0]) for number in range(1000)]


def sampled(size: int) -> dict[str, object]:
    sample = RuleSample()
    for start in range(0, len(RECORDS), size):
        raw = batch(RECORDS[start : start + size])
        names = [f"raw_{name}" if name in ("title", "description", "tags") else name for name in raw.schema.names]
        sample.add(pa.RecordBatch.from_arrays(raw.columns, names))
    return sample.result()


def test_few_records_are_counted_one_and_all() -> None:
    report = RuleReport()
    report.add(batch(RECORDS))
    found = sampled(300)
    assert (found["records"], found["sampled"]) == (1000, 1000)
    assert {rule: count for rule, count in found["changed"].items() if count} == dict(report.counts)
    assert report.counts["camera file names"] == 16


def test_of_many_records_every_nth_is_counted_whatever_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule_sample, "SAMPLED", 100)
    found = sampled(300)
    assert (found["records"], found["sampled"]) == (1000, 125)
    assert sampled(1000) == sampled(7) == found
    assert found["changed"]["camera file names"] == 0  # every eighth record has the first of the four titles
