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
from imagenet_captions.outcomes import Outcome
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


def nested(root: Path) -> Path:
    return train_folder(root)


def flat(root: Path) -> Path:
    root.mkdir()
    for image_id, data in images().items():
        (root / f"{image_id}.JPEG").write_bytes(data)
    return root


def lower_case_without_ending(root: Path) -> Path:
    root.mkdir()
    for number, (image_id, data) in enumerate(images().items()):
        (root / (image_id + (".jpeg", ".jpg", "")[number % 3])).write_bytes(data)
    return root


def linked(root: Path) -> Path:
    train_folder(root.parent / "elsewhere")
    root.mkdir()
    (root / "train").symlink_to(root.parent / "elsewhere", target_is_directory=True)
    (root / "loop").symlink_to(root, target_is_directory=True)
    (root / "n01440764_5.JPEG").symlink_to("nowhere")
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
    files = sorted(flat(root / "train").iterdir())
    rows = [{"bytes": None, "path": str(file)} for file in files[::2]]
    rows += [{"bytes": None, "path": f"train/{file.name}"} for file in files[1::2]]
    pq.write_table(pa.table({"image": rows}), root / "images.parquet", row_group_size=5)
    return root / "images.parquet"


def our_dataset(root: Path) -> Path:
    captions = write_captions(root / "captions.parquet")
    package(captions, root / "dataset", PackageSettings(train_folder(root / "train"), workers=1))
    return root / "dataset"


def webdataset(root: Path) -> Path:
    root.mkdir()
    for number, files in enumerate(by_class(images()).values()):
        members = {}
        for name, data in files.items():
            key = name.removesuffix(".JPEG")
            members |= {f"{key}.cls": b"0", f"{key}.jpg": data, f"{key}.txt": b"words"}
        (root / f"{number:05}.tar").write_bytes(tar_of(members))
    return root


def webdataset_with_folders(root: Path) -> Path:
    root.mkdir()
    members = {f"./{image_id[:9]}/{image_id}.jpg": data for image_id, data in images().items()}
    (root / "all.tar").write_bytes(tar_of(members))
    return root / "all.tar"


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
    nested,
    flat,
    lower_case_without_ending,
    linked,
    tar_of_tars,
    inner_tars,
    tar_of_a_folder,
    imagenet_1k,
    paths_in_parquet,
    our_dataset,
    webdataset,
    webdataset_with_folders,
    webdataset_with_json,
    flickr_ids,
]


def packaged(folder: Path, source: Path, **more: str | None) -> DatasetFacts:
    """Package the captions of all images, with those of a source."""
    return package(write_captions(folder / "c.parquet", **more), folder / "out", PackageSettings(source, workers=1))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("expected")
    package(write_captions(root / "c.parquet"), root / "out", PackageSettings(train_folder(root / "train"), workers=1))
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


def test_bytes_are_those_of_the_source(tmp_path: Path) -> None:
    held = images()
    held[IDS[0]] = image(IDS[0], "PNG", "RGBA")  # as n02105855_2933.JPEG
    held[IDS[1]] = image(IDS[1], "JPEG", "CMYK")
    held[IDS[2]] += bytes(300)  # padding after the end
    out = tmp_path / "out"
    made = packaged(tmp_path, train_folder(tmp_path / "i", held))
    assert made.funnel[Outcome.KEPT] == len(IDS)
    table = pq.read_table(out / "data")
    assert {r["image"]["path"].removesuffix(".JPEG"): r["image"]["bytes"] for r in table.to_pylist()} == held


def damaged(name: str, root: Path) -> Path:
    """A source that cannot be used."""
    root.mkdir()
    whole = tar_of({f"{wnid}.tar": tar_of(files) for wnid, files in by_class(images()).items()})
    inner = tar_of(by_class(images())["n01440764"])
    made: dict[str, Callable[[], object]] = {
        "no images": lambda: (root / "notes.txt").write_text("none"),
        "no names": lambda: (root / "ILSVRC2012_val_00000293.JPEG").write_bytes(image("x")),
        "webdataset without names": lambda: (root / "0.tar").write_bytes(tar_of({"00000000.jpg": image("x")})),
        "webdataset with other json": lambda: (root / "0.tar").write_bytes(
            tar_of({"00000000.jpg": image("x"), "00000000.json": b'["filename"]'})
        ),
        "tar without images": lambda: (root / "0.tar").write_bytes(tar_of({"a.txt": b"a"})),
        "tar cut within a member": lambda: (root / "0.tar").write_bytes(whole[: len(whole) // 2 + 100]),
        "tar cut between members": lambda: (root / "0.tar").write_bytes(inner[: inner.index(b"n01440764_17")]),
        "inner tar cut": lambda: (root / "0.tar").write_bytes(tar_of({"n01440764.tar": inner[:1300]})),
        "empty tar file": lambda: (root / "0.tar").write_bytes(b""),
        "tar with a damaged header": lambda: (root / "0.tar").write_bytes(
            inner.replace(b"n01440764_17.", b"n01440764_77.")
        ),
        "parquet cut": lambda: (imagenet_1k(root / "p") / "data/train-00000-of-00002.parquet").write_bytes(b"PAR1PAR1"),
        "parquet without images": lambda: pq.write_table(pa.table({"a": [1]}), root / "a.parquet"),
        "parquet with text": lambda: pq.write_table(
            pa.table({"image": [{"bytes": "/9j/4A", "path": f"{IDS[0]}.JPEG"}]}), root / "a.parquet"
        ),
        "parquet with paths": lambda: pq.write_table(
            pa.table({"image": [{"bytes": None, "path": f"{image_id}.JPEG"} for image_id in IDS]}), root / "a.parquet"
        ),
        "parquet without names": lambda: pq.write_table(
            pa.table({"image": [{"bytes": image("x"), "path": "00000000.jpg"}]}), root / "a.parquet"
        ),
    }
    made[name]()
    return root


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no images", "holds no images"),
        ("no names", "no names to join on"),
        ("webdataset without names", "no names to join on"),
        ("webdataset with other json", "no names to join on"),
        ("tar without images", "holds no images"),
        ("tar cut within a member", "cut off or damaged"),
        ("tar cut between members", "cut off or damaged"),
        ("inner tar cut", r"n01440764\.tar' in .*cut off or damaged"),
        ("empty tar file", "cut off or damaged"),
        ("tar with a damaged header", "cut off or damaged"),
        ("parquet cut", "cut off or damaged"),
        ("parquet without images", "no column of images"),
        ("parquet without names", "no names to join on"),
        ("parquet with text", "'image' of .* has string where the bytes of images belong"),
        ("parquet with paths", r"holds paths of images and not the images, and 'n01440764_10026\.JPEG' is not"),
    ],
)
def test_a_source_that_cannot_be_used_is_refused(tmp_path: Path, name: str, message: str) -> None:
    source = damaged(name, tmp_path / "images")
    with pytest.raises(InputError, match=message) as refused:
        packaged(tmp_path, source)
    assert "\n" not in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.outcomes.parquet", "c.parquet", "images"]


def test_a_compressed_tar_has_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "train.tar.gz").write_bytes(b"\x1f\x8b" + bytes(600))
    with pytest.raises(InputError, match="unpack"):
        packaged(tmp_path, tmp_path / "train.tar.gz")


def test_photo_ids_need_captions_that_have_them(tmp_path: Path) -> None:
    source = flickr_ids(tmp_path / "images")
    with pytest.raises(InputError, match="no photo ids"):
        packaged(tmp_path, source, photo_id=None)


def test_one_photo_serves_all_its_images(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/123.jpg").write_bytes(image("x"))
    assert packaged(tmp_path, tmp_path / "images", photo_id="123").images == len(IDS)


@pytest.mark.parametrize("make", [nested, tar_of_tars, flickr_ids], ids=lambda make: make.__name__)
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


def test_hostile_member_names_are_only_names(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    members = {
        f"../../../{IDS[0]}.JPEG": image(IDS[0]),
        f"/etc/{IDS[1]}.JPEG": image(IDS[1]),
        "n01440764_1" * 5000 + ".JPEG": image("x"),
    }
    (tmp_path / "images/0.tar").write_bytes(tar_of(members))
    made = packaged(tmp_path, tmp_path / "images")
    assert made.images == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.outcomes.parquet", "c.parquet", "images", "out"]


def test_a_folder_that_may_not_be_read_is_no_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = nested(tmp_path / "images")
    scan = os.scandir

    def refusing(path: str | int) -> object:
        if str(path).endswith("n02687172"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(InputError, match="n02687172 cannot be read: Permission denied"):
        packaged(tmp_path, source)
