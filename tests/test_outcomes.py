"""One place says how an input can end; the card, the printed table and the files take it from there."""

from __future__ import annotations

import pyarrow as pa
import pytest

from imagenet_captions.dataset.card import DatasetFacts, card
from imagenet_captions.outcomes import OUTCOMES, Outcome, count_outcomes, format_counts


def batch(*counts: tuple[Outcome, int]) -> pa.RecordBatch:
    rows = [{"outcome": outcome.value, "count": count} for outcome, count in counts]
    return pa.RecordBatch.from_pylist(rows, schema=OUTCOMES)


@pytest.mark.parametrize("outcome", Outcome)
def test_an_outcome_is_counted_printed_and_explained(outcome: Outcome) -> None:
    counts = count_outcomes([batch((outcome, 2)), batch((outcome, 3))])
    assert counts == {outcome: 5}
    assert format_counts(counts).splitlines()[0].split() == [outcome.value, "5", "100.0", "%"]
    facts = DatasetFacts(
        rows=0, shards_a_config=1, by_class={}, images=None, filled={}, languages={}, sources={}, retrieved=None,
        counts={outcome.value: 5}, inputs={}, settings={}, made_with={}, files={}, licenses={}, repeated=0,
    )  # fmt: skip
    assert outcome.meaning
    assert f"| `{outcome.value}` | 5 | 100.0 % | {outcome.meaning} |" in card(facts)


def test_counts_come_in_the_order_of_the_enum_with_the_kept_ones() -> None:
    dropped = [batch((Outcome.FILTERED, 1), (Outcome.NO_URL, 2)), batch((Outcome.KEPT, 3))]
    assert list(count_outcomes(dropped, kept=4).items()) == [
        (Outcome.KEPT, 7),
        (Outcome.NO_URL, 2),
        (Outcome.FILTERED, 1),
    ]
    assert count_outcomes([]) == {}
