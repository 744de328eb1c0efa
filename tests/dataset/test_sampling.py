"""Taking some rows: nested, stable, the same ids for ever, and balanced as the paper's formula says."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import imagenet_captions as ic
from imagenet_captions.dataset.sampling import choose, read_counts, sampling_key
from imagenet_captions.dataset.settings import FilterSettings, RowConditions
from imagenet_captions.errors import InputError
from imagenet_captions.imagenet.image_ids import wnid_of
from imagenet_captions.packager.package import verify
from tests.dataset.made import Row, make_dataset, read_ids, rows

SIZES = {"n01440764": 30, "n01443537": 5, "n01484850": 5, "n02099601": 100, "n15075141": 1}
IDS = [f"{wnid}_{7 * number}" for wnid, size in SIZES.items() for number in range(size)]


def kept(ids: list[str], settings: FilterSettings, like: dict[str, int] | None = None) -> list[str]:
    out = choose(ids, settings, like)
    assert out.keys() <= set(ids)
    return [image_id for image_id in ids if image_id not in out]


def counts(ids: list[str]) -> dict[str, int]:
    return dict(Counter(map(wnid_of, ids)))


def test_these_ids_are_sampled_for_ever() -> None:
    """Written down when the order was chosen: another order would silently make other datasets of the same command."""
    assert kept(IDS, FilterSettings(sample=5)) == [f"n02099601_{number}" for number in (91, 210, 280, 399, 616)]
    assert kept(IDS, FilterSettings(sample=3, seed=1)) == [f"n02099601_{number}" for number in (28, 266, 686)]
    first = ["n01440764_42", "n01443537_28", "n01484850_0", "n02099601_210", "n15075141_0"]
    assert kept(IDS, FilterSettings(per_class=1)) == first
    assert sampling_key("n01440764_10026", 7).hex() == "742fb1ea5efcf1356ca2910ad5a623e0"


@given(st.permutations(IDS), st.integers(0, 3), st.integers(1, 150), st.integers(1, 150))
def test_samples_are_nested_whatever_the_order_of_the_rows(ids: list[str], seed: int, one: int, other: int) -> None:
    small, large = (set(kept(ids, FilterSettings(sample=n, seed=seed))) for n in sorted((one, other)))
    assert small <= large
    assert large == set(kept(IDS, FilterSettings(sample=max(one, other), seed=seed)))
    small, large = (set(kept(ids, FilterSettings(per_class=n, seed=seed))) for n in sorted((one, other)))
    assert small <= large


def test_the_tail_is_trimmed_ties_by_wnid() -> None:
    assert counts(kept(IDS, FilterSettings(per_class=5))) == {wnid: min(5, size) for wnid, size in SIZES.items()}
    assert counts(kept(IDS, FilterSettings(trim_tail="2:1"))) == {**SIZES, "n01443537": 1}
    assert counts(kept(IDS, FilterSettings(trim_tail="3:0"))) == {"n01440764": 30, "n02099601": 100}
    assert counts(kept(IDS, FilterSettings(trim_tail="9:2"))) == {**dict.fromkeys(SIZES, 2), "n15075141": 1}
    assert kept(IDS, FilterSettings(trim_tail="0:0")) == IDS


def test_the_steps_and_their_order() -> None:
    out = choose(IDS, FilterSettings(trim_tail="1:0", per_class=20, sample=12), {"n02099601": 50, "n01440764": 9})
    assert Counter(out.values()) == {"trim-tail": 1, "like": 81, "per-class": 30, "sample": 17}
    assert Counter(out.values()).total() == len(IDS) - 12


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("sample", ["", "0.1.2", "many", "1e5", "ten%", 0, -1, 0.0, 1.5]),
        ("trim_tail", ["", "5", "5:", ":5", "5:5:5", "-1:5", "a:b", "①:1"]),
        ("per_class", [0]),
    ],
)
def test_values_that_are_not_possible(name: str, values: list[object]) -> None:
    for value in values:
        with pytest.raises(InputError, match=f"`{name}` must be"):
            FilterSettings(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "wnid\tclass_name\tcount\nn01440764\ttench\t219\nn01443537\tgoldfish\t0\n",
        "\ufeffcount\twnid\r\n219\tn01440764\r\n0\tn01443537\r\n\r\n",
    ],
)
def test_tables_of_counts(tmp_path: Path, text: str) -> None:
    (tmp_path / "counts.tsv").write_bytes(text.encode())
    assert read_counts(tmp_path / "counts.tsv") == {"n01440764": 219, "n01443537": 0}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("wnid\tname\nn01440764\ttench\n", "no counts; give a tab-separated table with the columns wnid and count"),
        ("wnid\tcount\nn01440764\tmany\n", "row 1: 'many' is not a count"),
        ("wnid\tcount\ndog\t3\n", "row 1: 'dog' is not a wnid of the dataset"),
        ("wnid\tcount\nn01440764\t3\nn01440764\t3\n", "row 2: 'n01440764' is not .* or is there twice"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "counts.tsv").write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_counts(tmp_path / "counts.tsv")


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
