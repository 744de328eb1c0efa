"""Balanced sampling against a naive form of the paper's formula, and the choice of classes by a seed."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import imagenet_captions as ic
from imagenet_captions.dataset.settings import FilterSettings, RowConditions
from imagenet_captions.packager.package import verify
from tests.dataset.made import Row, make_dataset, read_ids, rows


def probabilities(matched: Sequence[Sequence[object]], threshold: int) -> list[float]:
    """1 - prod(1 - min(1, T / count)) over the entries of each row, as the paper has it."""
    counts = Counter(entry for entries in matched for entry in entries)
    return [1 - math.prod(1 - min(1.0, threshold / counts[entry]) for entry in entries) for entries in matched]


def many() -> list[Row]:
    """4,000 rows of five classes, with 0 to 4 mentions each; label 0 is in most of them and label 399 in a few."""
    drawn = np.random.default_rng(0)
    made = rows(800)
    for row in made:
        labels = sorted({int(400 * drawn.random() ** 4) for _ in range(drawn.integers(0, 5))})
        row["mentions"] = f" {' '.join(map(str, labels))} " if labels else ""
    return made


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("large"), many())


def kept_ids(dataset: Path, out: Path, **settings: Any) -> set[str]:
    ic.filter(dataset, FilterSettings(**settings), out_ids=out, overwrite=True)
    return set(read_ids(out))


@pytest.mark.parametrize("by", ["mentions", "class"])
@pytest.mark.parametrize("threshold", [10, 100])
def test_as_many_rows_are_kept_as_the_formula_says(large: Path, tmp_path: Path, by: str, threshold: int) -> None:
    made = many()
    matched = [row["mentions"].split() if by == "mentions" else [row["wnid"]] for row in made]
    wanted = np.array(probabilities(matched, threshold))
    seeds = range(5)
    found = np.zeros(len(made))
    for seed in seeds:
        ids = kept_ids(large, tmp_path / "ids", balance=threshold, by=by, seed=seed)
        found += [row["image_id"] in ids for row in made]
    assert (found[wanted == 1] == len(seeds)).all()
    assert (found[wanted == 0] == 0).all()
    for part in (slice(None), slice(0, 800), [at for at, each in enumerate(matched) if "0" in each]):
        expected = len(seeds) * wanted[part].sum()
        deviation = math.sqrt(len(seeds) * (wanted * (1 - wanted))[part].sum())
        assert abs(found[part].sum() - expected) <= 3 * deviation


def test_earlier_steps_come_first(large: Path, tmp_path: Path) -> None:
    made = [row for row in many() if row["wnid"] == "n02099601"]
    ids = kept_ids(large, tmp_path / "a", wanted=RowConditions(classes=["n02099601"]), balance=5)
    wanted = np.array(probabilities([row["mentions"].split() for row in made], 5))
    assert {row["image_id"] for row, chance in zip(made, wanted, strict=True) if chance == 1} <= ids


def test_the_manifest_and_the_log_say_how(large: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    ic.filter(large, FilterSettings(balance=100, seed=3), out=tmp_path / "out")
    kept = set(ic.load(tmp_path / "out")["image_id"])
    before = Counter(label for row in many() for label in row["mentions"].split())
    after = Counter(label for row in many() if row["image_id"] in kept for label in row["mentions"].split())
    head = [label for label, count in before.items() if count > 100]
    shares = [f"{sum(counts[label] for label in head) / counts.total():.1%}" for counts in (before, after)]
    told = f"{len(head)} entries have more than 100 matches; of all matches they had {shares[0]}, and have {shares[1]}"
    assert told in caplog.messages
    (recorded,) = json.loads((tmp_path / "out/manifest.json").read_text())["settings"]["filter"]
    assert recorded == {"balance": 100, "by": "mentions", "seed": 3}
    verify(tmp_path / "out")


def test_a_dataset_without_mentions(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [{**row, "mentions": ""} for row in rows(3)])
    with pytest.raises(ic.InputError, match="no row mentions a class, so `balance` has nothing to count; give `by='cl"):
        ic.filter(dataset, FilterSettings(balance=3), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_random_classes(text_dataset: Path, tmp_path: Path) -> None:
    def chosen(count: int, seed: int) -> set[str]:
        return {name[:9] for name in kept_ids(text_dataset, tmp_path / "ids", random_classes=count, seed=seed)}

    found = [chosen(count, 4) for count in (1, 3, 5)]
    assert list(map(len, found)) == [1, 3, 5]
    assert found[0] < found[1] < found[2]
    assert len({frozenset(chosen(2, seed)) for seed in range(8)}) > 2
    dogs = RowConditions(classes=["dog"])
    for count in (0, 3):
        with pytest.raises(ic.InputError, match=f"`random_classes` must be at least 1 and at most 2, .* not {count}"):
            kept_ids(text_dataset, tmp_path / "none", wanted=dogs, random_classes=count)
