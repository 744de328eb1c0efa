"""Only the bytes that a question needs come over the network."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import imagenet_captions as ic
from imagenet_captions.errors import InputError
from imagenet_captions.imagenet import classes
from imagenet_captions.packager.package import PackageSettings, package
from imagenet_captions.storage.parquet import read_files, read_metadata
from imagenet_captions.storage.places import RemotePath, place
from tests.packager.made import contents, image, train_folder, write_captions
from tests.storage.conftest import Bucket

_IMAGE_BYTES = 20_000


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty classes of five images, which take nearly all of the space."""
    folder = tmp_path_factory.mktemp("reading")
    ids = sorted(f"{wnid}_{number}" for wnid in classes.wnids()[:40] for number in range(1, 6))
    noise = random.Random(0)
    held = {image_id: image(image_id) + noise.randbytes(_IMAGE_BYTES) for image_id in ids}
    captions = write_captions(folder / "captions.parquet", ids)
    images = train_folder(folder / "train", held)
    package(captions, folder / "dataset", PackageSettings(images=images))
    return folder / "dataset"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of every request for a part of a file."""
    sizes: list[int] = []
    fetch = RemotePath.fetch

    def counted(self: RemotePath, start: int | None = None, stop: int | None = None) -> bytes:
        if start is not None and stop is not None:
            sizes.append(stop - start)
        return fetch(self, start, stop)

    monkeypatch.setattr(RemotePath, "fetch", counted)
    return sizes


def test_a_condition_reads_its_row_groups_alone(dataset: Path, bucket: Bucket, asked: list[int]) -> None:
    url = bucket.upload(dataset, "dataset")
    whole = sum(len(data) for name, data in contents(dataset).items() if name.startswith("data/"))
    wnid = classes.wnids()[7]
    found = ic.load(url, ic.in_class(wnid))
    assert found["image_id"][:] == [f"{wnid}_{number}" for number in range(1, 6)]
    assert found.with_format(None)[0]["image"].size
    one_class = 5 * _IMAGE_BYTES
    assert one_class < sum(asked) < one_class + 400_000 < whole / 4
    assert len(asked) <= 6
    asked.clear()
    captions = ic.load(url, columns=["caption"])
    assert len(captions) == 200
    assert sum(asked) < 400_000


def test_a_filter_of_classes_and_verify_send_few_requests(
    dataset: Path, bucket: Bucket, asked: list[int], tmp_path: Path
) -> None:
    url = bucket.upload(dataset, "dataset")
    three = ic.in_class(*classes.wnids()[7:10])
    assert ic.filter(url, three, out=tmp_path / "there")["kept"] == 15
    files = len(list(dataset.rglob("*.parquet")))
    assert len(asked) <= 3 * files  # with 40 row groups
    ic.filter(dataset, three, out=tmp_path / "here")
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    asked.clear()
    ic.verify(url)
    assert len(asked) <= 3 * files
    asked.clear()
    ic.filter(url, ic.has("title"), out_ids=tmp_path / "ids.txt")
    assert sum(asked) < 200 * _IMAGE_BYTES / 4


def test_a_file_that_was_replaced_has_its_new_footer(bucket: Bucket, tmp_path: Path) -> None:
    for rows in (3, 5):
        pq.write_table(pa.table({"a": list(range(rows))}), tmp_path / "a.parquet")
        url = bucket.upload(tmp_path / "a.parquet", "a.parquet")
        assert read_metadata(place(url)).num_rows == rows
        assert read_metadata(place(url)).num_rows == rows
    with pytest.raises(InputError, match="is cut off or damaged"):
        list(read_files([place(url)], columns=["b"]))
