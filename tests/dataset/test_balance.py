"""Balanced sampling against a naive form of the paper's formula, and the choice of classes by a seed."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import imagenet_captions as ic
from imagenet_captions.dataset.filtering import filter_to_dataset, filter_to_ids
from imagenet_captions.dataset.sampling import keep_probabilities
from imagenet_captions.dataset.settings import FilterSettings, RowConditions
from imagenet_captions.packager.verify import verify
from tests.command_line import invoke
from tests.dataset.made import Row, make_dataset, rows


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


def kept_ids(dataset: Path, out: Path, settings: FilterSettings) -> set[str]:
    filter_to_ids(dataset, out, settings, overwrite=True)
    return set(out.read_text().split())


def test_the_probability_is_the_papers() -> None:
    drawn = np.random.default_rng(1)
    matched = [drawn.choice(30, drawn.integers(0, 5), replace=False).tolist() for _ in range(300)]
    pairs = np.array([(row, entry) for row, entries in enumerate(matched) for entry in entries])
    counts = np.bincount(pairs[:, 1], minlength=30)
    for threshold in (1, 7, 20, 1000):
        found = keep_probabilities(pairs[:, 0], pairs[:, 1], counts, threshold, len(matched))
        assert found == pytest.approx(probabilities(matched, threshold))


@pytest.mark.parametrize("by", ["mentions", "class"])
@pytest.mark.parametrize("threshold", [10, 100])
def test_as_many_rows_are_kept_as_the_formula_says(large: Path, tmp_path: Path, by: str, threshold: int) -> None:
    made = many()
    matched = [row["mentions"].split() if by == "mentions" else [row["wnid"]] for row in made]
    wanted = np.array(probabilities(matched, threshold))
    seeds = range(5)
    found = np.zeros(len(made))
    for seed in seeds:
        ids = kept_ids(large, tmp_path / "ids", FilterSettings(balance=threshold, by=by, seed=seed))
        found += [row["image_id"] in ids for row in made]
    assert (found[wanted == 1] == len(seeds)).all()
    assert (found[wanted == 0] == 0).all()
    for part in (slice(None), slice(0, 800), [at for at, each in enumerate(matched) if "0" in each]):
        expected, deviation = (
            len(seeds) * wanted[part].sum(),
            math.sqrt(len(seeds) * (wanted * (1 - wanted))[part].sum()),
        )
        assert abs(found[part].sum() - expected) <= 3 * deviation


def test_earlier_steps_come_first_and_later_samples_are_fair(large: Path, tmp_path: Path) -> None:
    made = [row for row in many() if row["wnid"] == "n02099601"]
    settings = FilterSettings(RowConditions(classes=["n02099601"]), balance=5)
    ids = kept_ids(large, tmp_path / "a", settings)
    wanted = np.array(probabilities([row["mentions"].split() for row in made], 5))
    assert {row["image_id"] for row, chance in zip(made, wanted, strict=True) if chance == 1} <= ids
    # The ids of a sample of the same seed are those of the same share of kept rows that were sure and unsure.
    sampled = kept_ids(large, tmp_path / "b", FilterSettings(balance=100, sample=0.5))
    kept = kept_ids(large, tmp_path / "c", FilterSettings(balance=100))
    unsure = {
        row["image_id"]
        for row, chance in zip(many(), probabilities([row["mentions"].split() for row in many()], 100), strict=True)
        if chance < 1
    }
    share = len(sampled & unsure) / len(kept & unsure)
    assert share == pytest.approx(0.5, abs=3 * math.sqrt(0.25 / len(kept & unsure)))


def test_the_manifest_and_the_log_say_how(
    large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO")
    code, told = invoke("filter", str(large), "--balance", "100", "--seed", "3", "--workers", "1", "--out", "out")
    assert code == 0, told
    assert "left out by balance" in told
    before = Counter(label for row in many() for label in row["mentions"].split())
    kept = set(ic.load("out")["image_id"])
    after = Counter(label for row in many() if row["image_id"] in kept for label in row["mentions"].split())
    (curve,) = (text for text in caplog.messages if text.startswith("entries with"))
    lines = {
        line.rpartition("   ")[0].strip().rpartition("   ")[0].strip(): line.split()[-2:] for line in curve.splitlines()
    }
    assert lines["no match"] == [f"{1000 - len(counts):,}" for counts in (before, after)]
    tail = [1000 - sum(count > 100 for count in counts.values()) for counts in (before, after)]
    assert lines["at most 100"] == [f"{count:,}" for count in tail]
    head = [label for label, count in before.items() if count > 100]
    assert f"matches in the {len(head)} entries" in curve
    shares = [sum(counts[label] for label in head) / counts.total() for counts in (before, after)]
    assert lines["with more than 100"] == [f"{share:.1%}" for share in shares]
    assert json.loads(Path("out/manifest.json").read_text())["settings"]["filter"] == [
        {"balance": 100, "by": "mentions", "seed": 3}
    ]
    verify(Path("out"))


def test_a_dataset_without_mentions_and_bad_values(tmp_path: Path) -> None:
    made = [{**row, "mentions": ""} for row in rows(3)]
    dataset = make_dataset(tmp_path, made)
    with pytest.raises(ic.InputError, match="no row mentions a class, so `balance` has nothing to count; give `by='cl"):
        ic.filter(dataset, FilterSettings(balance=3), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ic.InputError, match="`balance` must be at least 1, not 0"):
        FilterSettings(balance=0)
    with pytest.raises(ic.InputError, match="`by` must be one of mentions, class, not 'words'"):
        FilterSettings(balance=3, by="words")
    with pytest.raises(ic.InputError, match="`by` has no effect without `balance`; leave it out"):
        FilterSettings(by="class")


def test_random_classes(text_dataset: Path, tmp_path: Path) -> None:
    found = []
    for count in (1, 3, 5):
        filter_to_dataset(text_dataset, tmp_path / str(count), FilterSettings(random_classes=count, seed=4), workers=1)
        found.append(set(ic.load(tmp_path / str(count))["wnid"]))
    assert list(map(len, found)) == [1, 3, 5]
    assert found[0] < found[1] < found[2]
    others = {
        frozenset(
            name[:9] for name in kept_ids(text_dataset, tmp_path / "ids", FilterSettings(random_classes=2, seed=s))
        )
        for s in range(8)
    }
    assert len(others) > 2
    counts = json.loads((tmp_path / "3" / "manifest.json").read_text())["settings"]["filter"]
    assert counts == [{"random-classes": 3, "seed": 4}]
    for count in (0, 3):
        with pytest.raises(ic.InputError, match=f"`random_classes` must be at least 1 and at most 2, .* not {count}"):
            ic.filter(
                text_dataset,
                FilterSettings(RowConditions(classes=["dog"]), random_classes=count),
                out_ids=tmp_path / "none",
            )
