"""Every way in which people hold ImageNet gives the same dataset, byte for byte."""

import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imagenet_captions.dataset.card import DatasetFacts
from imagenet_captions.errors import InputError
from imagenet_captions.packager.package import PackageSettings, package
from tests.packager.made import (
    IDS,
    PHOTO_IDS,
    by_class,
    contents,
    image,
    images,
    tar_of,
    train_folder,
    write_captions,
)


def lower_case_without_ending(root: Path) -> Path:
    root.mkdir()
    for number, (image_id, data) in enumerate(images().items()):
        (root / (image_id + (".JPEG", ".jpeg", ".jpg", "")[number % 4])).write_bytes(data)
    return root


def tar_of_tars(root: Path) -> Path:
    root.mkdir()
    tar = root / "ILSVRC2012_img_train.tar"
    tar.write_bytes(tar_of({f"{wnid}.tar": tar_of(files) for wnid, files in by_class(images()).items()}))
    return tar


def inner_tars(root: Path) -> Path:
    root.mkdir()
    for wnid, files in by_class(images()).items():
        (root / f"{wnid}.tar").write_bytes(tar_of(files))
    return root


def tar_of_a_folder(root: Path) -> Path:
    folder = train_folder(root / "unpacked")
    with tarfile.open(root / "train.tar", "w") as tar:
        tar.add(folder, "train")
    return root / "train.tar"


def imagenet_1k(root: Path) -> Path:
    (root / "data").mkdir(parents=True)
    shuffled = sorted(images().items(), key=lambda item: item[1])
    for number, part in enumerate((shuffled[:5], shuffled[5:])):
        rows = [
            {"image": {"bytes": data, "path": f"{image_id}_{image_id[:9]}.JPEG"}, "label": 0}
            for image_id, data in [*part, (f"n01440764_{number}", b"of another row")]
        ]
        pq.write_table(pa.Table.from_pylist(rows), root / f"data/train-0000{number}-of-00002.parquet", row_group_size=3)
    (root / "README.md").write_text("of the hub")
    return root


def paths_in_parquet(root: Path) -> Path:
    """What `Dataset.to_parquet` writes of a folder of images: whole paths, or relative ones, and no bytes."""
    root.mkdir()
    files = sorted(train_folder(root / "train").rglob("*.JPEG"))
    rows = [{"bytes": None, "path": str(file)} for file in files[::2]]
    rows += [{"bytes": None, "path": str(file.relative_to(root))} for file in files[1::2]]
    pq.write_table(pa.table({"image": rows}), root / "images.parquet", row_group_size=5)
    return root / "images.parquet"


def our_dataset(root: Path) -> Path:
    captions = write_captions(root / "captions.parquet")
    package(captions, root / "dataset", PackageSettings(train_folder(root / "train")))
    return root / "dataset"


def webdataset(root: Path) -> Path:
    root.mkdir()
    for number, files in enumerate(by_class(images()).values()):
        members = {}
        for name, data in files.items():
            key = f"./{name[:9]}/{name.removesuffix('.JPEG')}"
            members |= {f"{key}.cls": b"0", f"{key}.jpg": data, f"{key}.txt": b"words"}
        (root / f"{number:05}.tar").write_bytes(tar_of(members))
    return root


def webdataset_with_json(root: Path) -> Path:
    root.mkdir()
    members = {}
    for number, (image_id, data) in enumerate(images().items()):
        described = json.dumps({"filename": f"{image_id[:9]}/{image_id}.JPEG", "label": 0}).encode()
        members |= {f"{number:08}.jpg": data, f"{number:08}.cls": b"0", f"{number:08}.json": described}
    (root / "00000.tar").write_bytes(tar_of(members))
    return root


def flickr_ids(root: Path) -> Path:
    for image_id, data in images().items():
        file = root / image_id[:9] / f"{PHOTO_IDS[image_id]}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return root


SOURCES = [
    *(train_folder, lower_case_without_ending, tar_of_tars, inner_tars, tar_of_a_folder, imagenet_1k),
    *(paths_in_parquet, our_dataset, webdataset, webdataset_with_json, flickr_ids),
]


def packaged(folder: Path, source: Path, **more: str | None) -> DatasetFacts:
    """Package the captions of all images, with those of a source."""
    return package(write_captions(folder / "c.parquet", **more), folder / "out", PackageSettings(source))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("expected")
    package(write_captions(root / "c.parquet"), root / "out", PackageSettings(train_folder(root / "train")))
    return contents(root / "out")


@pytest.mark.parametrize("make", SOURCES, ids=lambda make: make.__name__)
def test_every_source_gives_the_same_bytes(
    tmp_path: Path, expected: dict[str, bytes], make: Callable[[Path], Path]
) -> None:
    source = make(tmp_path / "images")
    before = contents(tmp_path / "images")
    made = packaged(tmp_path, source)
    assert made.images == len(IDS)
    assert contents(tmp_path / "out") == expected
    assert contents(tmp_path / "images") == before


INNER = tar_of(by_class(images())["n01440764"])


def parquet(*cells: dict[str, object]) -> bytes:
    out = pa.BufferOutputStream()
    pq.write_table(pa.table({"image": list(cells)} if cells else {"a": [1]}), out)
    return out.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("notes.txt", b"none", "holds no images"),
        ("ILSVRC2012_val_00000293.JPEG", image("x"), "no names to join on"),
        ("0.tar", tar_of({"0.jpg": image("x"), "0.json": b'["filename"]'}), "no names to join on"),
        ("0.tar", INNER[: INNER.index(b"n01440764_17")], "cut off or damaged"),
        ("0.tar", tar_of({"n01440764.tar": INNER[:1300]}), r"n01440764\.tar' in .*cut off or damaged"),
        ("0.tar", b"", "cut off or damaged"),
        ("train.tar", b"\x1f\x8b" + bytes(600), "unpack"),
        ("0.parquet", b"PAR1PAR1", "cut off or damaged"),
        ("0.parquet", parquet({"bytes": "/9j/4A", "path": f"{IDS[0]}.JPEG"}), "no column of images"),
        ("0.parquet", parquet({"bytes": image("x"), "path": "00000000.jpg"}), "no names to join on"),
        ("0.parquet", parquet({"bytes": None, "path": "n01440764_4.JPEG"}), "holds paths of images and not the images"),
    ],
)
def test_a_source_that_cannot_be_used_is_refused(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / name).write_bytes(data)
    with pytest.raises(InputError, match=message) as refused:
        packaged(tmp_path, tmp_path / "images")
    assert "\n" not in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.outcomes.parquet", "c.parquet", "images"]


def test_photo_ids_need_captions_that_have_them(tmp_path: Path) -> None:
    source = flickr_ids(tmp_path / "images")
    with pytest.raises(InputError, match="no photo ids"):
        packaged(tmp_path, source, photo_id=None)


def test_one_photo_serves_all_its_images(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/123.jpg").write_bytes(image("x"))
    assert packaged(tmp_path, tmp_path / "images", photo_id="123").images == len(IDS)


@pytest.mark.parametrize("make", [train_folder, tar_of_tars, flickr_ids], ids=lambda make: make.__name__)
def test_an_image_among_those_of_another_class_is_not_used(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    source = make(tmp_path / "images")
    if source.is_file():
        members = by_class(images())
        members["n02687172"][f"{IDS[0]}.JPEG"] = members["n01440764"].pop(f"{IDS[0]}.JPEG")
        source.write_bytes(tar_of({f"{wnid}.tar": tar_of(files) for wnid, files in members.items()}))
    else:
        (astray,) = [p for p in source.rglob("*.j*") if p.stem == PHOTO_IDS[IDS[0]]] or source.rglob(f"{IDS[0]}.JPEG")
        astray.rename(astray.parent.parent / "n02687172" / astray.name)
    made = packaged(tmp_path, source)
    assert (made.images, made.rows) == (len(IDS) - 1, len(IDS))
    outcomes = {row["image_id"]: row for row in pq.read_table(tmp_path / "out/outcomes.parquet").to_pylist()}
    assert outcomes[IDS[0]]["detail"] == "its image lies among those of n02687172, so it is not used"


def test_a_folder_that_may_not_be_read_is_no_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = train_folder(tmp_path / "images")
    scan = os.scandir

    def refusing(path: str | int) -> object:
        if str(path).endswith("n02687172"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(InputError, match="n02687172 cannot be read: Permission denied"):
        packaged(tmp_path, source)
