"""Micro captions say what is so about the image and vary; shifts do to the pixels what they say; both by the seed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imagenet_captions.ablations import micro
from imagenet_captions.ablations.micro import (
    Pixels,
    micro_texts,
    read_attributes,
    read_pixels,
    read_words,
    shift_pixels,
    with_texts,
    write_micro_shifts,
)
from imagenet_captions.errors import InputError
from tests.ablations.made import COLOURS, photo, write_micro_set
from tests.evaluation.made_sets import picture


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_micro_set(tmp_path / "micro.parquet", 4)


def spread(pixels: np.ndarray) -> float:
    return float(pixels.astype(float).std())


def test_noise_has_its_strength_and_follows_the_id() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    noisy = shift_pixels("noise", grey, "a")
    assert spread(noisy) == pytest.approx(micro.NOISE, rel=0.05)
    assert noisy[0, :4, 0].tolist() == [95, 129, 140, 121], "the test images of published micro results"
    assert not np.array_equal(noisy, shift_pixels("noise", grey, "b"))


def test_contrast_and_blur_keep_the_mean_and_take_the_rest() -> None:
    sharp, mean = photo(2), photo(2).mean(axis=(0, 1))
    flat, blurred = (shift_pixels(shift, sharp, "a") for shift in ("contrast", "blur"))
    assert spread(flat - mean) == pytest.approx(micro.CONTRAST * spread(sharp - mean), rel=0.02)
    steps = [np.abs(np.diff(pixels.astype(int), axis=1)).max() for pixels in (sharp, blurred)]
    assert steps[1] < 0.6 * steps[0]
    for pixels in (flat, blurred):
        assert pixels.mean() == pytest.approx(sharp.mean(), abs=3)


def test_the_micro_dataset_has_the_texts_beside_the_images(source: Path, tmp_path: Path) -> None:
    import datasets

    with_texts(source, tmp_path / "out.parquet")
    before, rows = (pq.read_table(path).to_pylist() for path in (source, tmp_path / "out.parquet"))
    for old, row in zip(before, rows, strict=True):
        assert (row["image"]["bytes"], row["label"]) == (old["image"]["bytes"], old["label"])
        pixels = read_pixels(row["image"]["bytes"], row["image_id"])
        texts = micro_texts(pixels, row["class_name"], row["image_id"])
        assert (row["title"], row["description"], tuple(row["tags"])) == (texts.title, texts.description, texts.tags)
        assert row["caption"].startswith(texts.title)
    loaded = datasets.Dataset.from_parquet(str(tmp_path / "out.parquet"), cache_dir=str(tmp_path / "cache"))
    assert loaded.features["label"].names == list(COLOURS)
    assert np.array_equal(np.asarray(loaded[4]["image"]), read_pixels(rows[4]["image"]["bytes"], ""))


def test_each_shift_is_a_test_set_of_its_own(source: Path, tmp_path: Path) -> None:
    written = write_micro_shifts(source, tmp_path / "shifts")
    assert list(written) == ["micro-blur", "micro-noise", "micro-contrast"]
    before = pq.read_table(source).to_pylist()
    for name, path in written.items():
        for old, row in zip(before, pq.read_table(path).to_pylist(), strict=True):
            pixels, seen = (read_pixels(each["image"]["bytes"], "") for each in (old, row))
            shifted = shift_pixels(name.removeprefix("micro-"), pixels, row["image_id"])
            assert np.array_equal(seen, shifted)
            assert not np.array_equal(seen, pixels)
            assert row["label"] == old["label"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row | {"image": {"bytes": b"GIF89a no image", "path": "a.png"}}, "cannot be read"),
        (lambda row: row | {"image": {"bytes": picture(9, size=257), "path": "wide.jpg"}}, "256 pixels a side"),
        (lambda row: row | {"image": None}, "no row of .* has an image"),
        (lambda row: {"image": row["image"]}, "has no labels"),
        (lambda row: row | {"class_name": "x" * 81}, "is empty or too long"),
        (lambda row: row | {"class_name": " \n\t"}, "is empty or too long"),
    ],
)
def test_what_is_no_micro_set_is_refused_and_leaves_nothing(change: object, message: str, tmp_path: Path) -> None:
    row = {"image": {"bytes": picture(9), "path": "cat_0000.jpg"}, "label": 0, "class_name": "cat"}
    table = pa.Table.from_pylist([change(row)])  # type: ignore[operator]
    if table["image"].type == pa.null():
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        table = table.set_column(0, "image", pa.array([None], kind))
    pq.write_table(table, tmp_path / "bad.parquet")
    with pytest.raises(InputError, match=message):
        with_texts(tmp_path / "bad.parquet", tmp_path / "out.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.parquet"]


WORDS = read_words()
CLASSES = tuple(of for kind, of in WORDS if kind == "synonym")


def plain(red: int, green: int, blue: int, side: int = 32) -> Pixels:
    return np.full((side, side, 3), (red, green, blue), np.uint8)


def square(ground: Pixels, start: int, end: int, color: tuple[int, int, int]) -> Pixels:
    drawn = ground.copy()
    drawn[start:end, start:end] = color
    return drawn


HALVES = np.concatenate([plain(0, 0, 0), plain(255, 255, 255)])
STRIPES = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]


@pytest.mark.parametrize(
    ("pixels", "looks"),
    [
        (plain(250, 20, 20), {"color": "red"}),
        (plain(250, 140, 20), {"color": "orange"}),
        (plain(120, 70, 30), {"color": "brown"}),
        (plain(20, 200, 40), {"color": "green"}),
        (plain(250, 60, 180), {"color": "pink"}),
        (plain(250, 20, 60), {"color": "red"}),
        (plain(128, 128, 128), {"color": "grey"}),
        (plain(250, 250, 250), {"color": "white"}),
        (plain(0, 0, 40), {"color": "black"}),
        (np.concatenate([plain(*rgb, side=8) for rgb in STRIPES]), {"color": ""}),
        (plain(20, 20, 20), {"light": "dark"}),
        (plain(120, 120, 120), {"light": ""}),
        (plain(240, 240, 240), {"light": "bright"}),
        (square(plain(255, 255, 255), 12, 20, (250, 0, 0)), {"framing": "small", "light": "bright"}),
        (square(plain(255, 255, 255), 2, 30, (250, 0, 0)), {"framing": "close", "color": "red"}),
        (plain(90, 90, 90), {"framing": ""}),
        (HALVES, {"contrast": "crisp"}),
        (plain(99, 99, 99), {"contrast": "soft"}),
        ((HALVES * 0.4).astype(np.uint8), {"contrast": ""}),
        (plain(250, 20, 20, side=1), {"color": "red"}),
    ],
)
def test_an_image_has_the_attributes_that_it_shows(pixels: Pixels, looks: dict[str, str]) -> None:
    found = read_attributes(pixels)
    assert {name: found[name] for name in looks} == looks


def test_texts_are_those_that_published_micro_results_were_made_with() -> None:
    digest = hashlib.sha256()
    for number in range(110):
        class_name = (*CLASSES, "hermit")[number % 11]
        texts = micro_texts(photo(number), class_name, f"{class_name}_{number:04d}")
        digest.update("\t".join((texts.title, texts.description, *texts.tags, "\n")).encode())
    assert digest.hexdigest() == "7d6bbb6dff33bd4604e53d924e7d32ffe387c1a43db0b5eb2807d787e9ac3ce6"


def test_an_unknown_class_is_called_by_its_name_which_is_no_template() -> None:
    name = "{look} x{0.__class__}"
    titles = [micro_texts(photo(number), name, f"{number}").title for number in range(60)]
    assert sum(name in title.lower() for title in titles) > 35
