"""Each shift does to the pixels what it says, by the seed, and comes as a Parquet that any reader opens."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from imagenet_captions.ablations import micro_sets
from imagenet_captions.ablations.micro_captions import micro_texts
from imagenet_captions.ablations.micro_sets import write_micro_dataset, write_micro_shifts
from imagenet_captions.errors import InputError
from tests.ablations.made import photo


def png(number: int) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(photo(number)).save(sink, "PNG")
    return sink.getvalue()


def wide() -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (4000, 10)).save(sink, "PNG")
    return sink.getvalue()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    names = ["cat", "dog", "ship"]
    rows = [
        {
            "image": {"bytes": png(number), "path": f"{names[number % 3]}_{number:04d}.png"},
            "label": number % 3,
            "class_name": names[number % 3],
        }
        for number in range(12)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "micro.parquet")
    return tmp_path / "micro.parquet"


def spread(pixels: np.ndarray) -> float:
    return float(pixels.astype(float).std())


def test_noise_has_its_strength_and_follows_the_seed_and_the_id() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    noisy = micro_sets.noise(grey, "a", 0)
    assert spread(noisy) == pytest.approx(micro_sets.NOISE, rel=0.05)
    assert np.array_equal(noisy, micro_sets.noise(grey, "a", 0))
    assert not np.array_equal(noisy, micro_sets.noise(grey, "b", 0))
    assert not np.array_equal(noisy, micro_sets.noise(grey, "a", 1))


def test_contrast_and_blur_keep_the_mean_and_take_the_rest() -> None:
    sharp, mean = photo(2), photo(2).mean(axis=(0, 1))
    flat, blurred = micro_sets.contrast(sharp), micro_sets.blur(sharp)
    assert spread(flat - mean) == pytest.approx(micro_sets.CONTRAST * spread(sharp - mean), rel=0.02)
    steps = [np.abs(np.diff(pixels.astype(int), axis=1)).max() for pixels in (sharp, blurred)]
    assert steps[1] < 0.6 * steps[0]
    for pixels in (flat, blurred):
        assert pixels.mean() == pytest.approx(sharp.mean(), abs=3)


def test_the_micro_dataset_has_the_texts_beside_the_images(source: Path, tmp_path: Path) -> None:
    import datasets

    assert write_micro_dataset(source, tmp_path / "out.parquet", seed=3) == 12
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    before = pq.read_table(source).to_pylist()
    assert [row["image"] for row in rows] == [row["image"] for row in before]
    assert [row["label"] for row in rows] == [row["label"] for row in before]
    for number, row in enumerate(rows):
        texts = micro_texts(photo(number), row["class_name"], row["image_id"], seed=3)
        assert (row["title"], row["description"], tuple(row["tags"])) == (texts.title, texts.description, texts.tags)
        assert row["caption"].startswith(texts.title)
    loaded = datasets.Dataset.from_parquet(str(tmp_path / "out.parquet"), cache_dir=str(tmp_path / "cache"))
    assert loaded.features["label"].names == ["cat", "dog", "ship"]
    assert np.array_equal(np.asarray(loaded[4]["image"]), photo(4))
    write_micro_dataset(source, tmp_path / "again.parquet", seed=3)
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "out.parquet").read_bytes()


def test_each_shift_is_a_test_set_of_its_own(source: Path, tmp_path: Path) -> None:
    written = write_micro_shifts(source, tmp_path / "shifts", seed=5)
    assert list(written) == ["micro-blur", "micro-noise", "micro-contrast"]
    for name, path in written.items():
        rows = pq.read_table(path).to_pylist()
        shift = micro_sets.SHIFTS[name.removeprefix("micro-")]
        for number, row in enumerate(rows):
            seen = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))
            assert np.array_equal(seen, shift(photo(number), row["image_id"], 5))
            assert not np.array_equal(seen, photo(number))
        assert [row["label"] for row in rows] == [number % 3 for number in range(12)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row | {"image": {"bytes": b"GIF89a no image", "path": "a.png"}}, "cannot be read"),
        (lambda row: row | {"image": {"bytes": wide(), "path": "wide.png"}}, "256 pixels a side"),
        (lambda row: row | {"image": {"bytes": b"", "path": "a.png"}}, "holds paths of images and not the images"),
        (lambda row: row | {"image": None}, "row 0 of .* has no image"),
        (lambda row: row | {"label": 7}, "do not count its classes from 0"),
        (lambda row: row | {"class_name": None}, "do not count its classes from 0"),
        (lambda row: {"image": row["image"], "label": 0}, "has no column class_name"),
    ],
)
def test_what_is_no_micro_set_is_refused_and_leaves_nothing(change: object, message: str, tmp_path: Path) -> None:
    row = {"image": {"bytes": png(0), "path": "cat_0000.png"}, "label": 0, "class_name": "cat"}
    table = pa.Table.from_pylist([change(row)])  # type: ignore[operator]
    if table["image"].type == pa.null():
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        table = table.set_column(0, "image", pa.array([None], kind))
    pq.write_table(table, tmp_path / "bad.parquet")
    with pytest.raises(InputError, match=message):
        write_micro_dataset(tmp_path / "bad.parquet", tmp_path / "out.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.parquet"]
