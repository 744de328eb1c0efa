"""Only the bytes that a question needs come over the network."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import imagenet_captions as ic
from imagenet_captions.imagenet import classes
from imagenet_captions.packager.package import PackageSettings, package
from imagenet_captions.storage.parquet import read_metadata
from imagenet_captions.storage.places import RemotePath, place
from tests.packager.made import image, train_folder, write_captions
from tests.storage.conftest import Bucket, local_files

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
    package(captions, folder / "dataset", PackageSettings(images=images, workers=1))
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
    whole = sum(len(data) for name, data in local_files(dataset).items() if name.startswith("data/"))
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


def test_a_filter_of_classes_sends_few_requests(
    dataset: Path, bucket: Bucket, asked: list[int], tmp_path: Path
) -> None:
    url = bucket.upload(dataset, "dataset")
    three = ic.in_class(*classes.wnids()[7:10])
    assert ic.filter(url, three, out=tmp_path / "there")["kept"] == 15
    assert len(asked) <= 20  # of 40 row groups
    ic.filter(dataset, three, out=tmp_path / "here")
    assert local_files(tmp_path / "there") == local_files(tmp_path / "here")


def test_a_file_that_was_replaced_has_its_new_footer(bucket: Bucket, tmp_path: Path) -> None:
    for rows in (3, 5):
        pq.write_table(pa.table({"a": list(range(rows))}), tmp_path / "a.parquet")
        url = bucket.upload(tmp_path / "a.parquet", "a.parquet")
        assert read_metadata(place(url)).num_rows == rows
        assert read_metadata(place(url)).num_rows == rows


def test_the_rows_are_those_of_the_local_dataset(dataset: Path, bucket: Bucket) -> None:
    url = bucket.upload(dataset, "dataset")
    condition = ic.contains("title", "photo") & (pc.field("label") < 5)
    here, there = ic.load(dataset, condition), ic.load(url, condition)
    assert there.data.table.equals(here.data.table)
    assert there.features == here.features
    streamed = ic.load(url, condition, streaming=True, columns=["image_id", "caption"])
    assert list(streamed) == here.select_columns(["image_id", "caption"]).to_list()


def test_all_forms_of_images_are_read_from_a_store(dataset: Path, bucket: Bucket, tmp_path: Path) -> None:
    import tarfile

    ids = [f"{wnid}_{number}" for wnid in classes.wnids()[:3] for number in (1, 2, 3)]
    held = {image_id: image(image_id) for image_id in ids}
    folder = train_folder(tmp_path / "train", held)
    with tarfile.open(tmp_path / "train.tar", "w") as tar:
        for name in sorted(path.name for path in folder.iterdir()):
            inner = tmp_path / f"{name}.tar"
            with tarfile.open(inner, "w") as images:
                for path in sorted((folder / name).iterdir()):
                    images.add(path, path.name)
            tar.add(inner, inner.name)
    captions = write_captions(tmp_path / "captions.parquet", ids)
    for number, source in enumerate(("train", "train.tar", "parquet")):
        given = tmp_path / source if source != "parquet" else tmp_path / "local-0" / "data"
        url = bucket.upload(given, f"images/{source}")
        for images_at, out in ((given, tmp_path / f"local-{number}"), (place(url), tmp_path / f"remote-{number}")):
            made = package(captions, out, PackageSettings(images=images_at, workers=2))
            assert made.images == 9, source
        assert local_files(tmp_path / f"remote-{number}") == local_files(tmp_path / f"local-{number}"), source
