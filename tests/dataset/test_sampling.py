"""Taking some rows: nested, stable, and the same ids for ever."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_captions.dataset.sampling import choose, read_counts, sampling_key
from imagenet_captions.dataset.settings import FilterSettings
from imagenet_captions.errors import InputError
from imagenet_captions.imagenet.image_ids import wnid_of

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
