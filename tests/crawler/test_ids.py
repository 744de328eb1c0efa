"""The ids of a training set are the same in every form in which people keep one."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imagenet_captions.crawler.match import read_ids
from imagenet_captions.errors import InputError

IDS = ["n01440764_10026", "n01440764_10027", "n01440764_7", "n02017213_4263", "n02017213_95"]
VALIDATION = "ILSVRC2012_val_00000293"


def found(path: Path) -> list[str]:
    ids: list[str] = read_ids(path).ids.to_pylist()
    return ids


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def inner_tar(wnid: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for image_id in IDS:
            if image_id.startswith(wnid):
                add(archive, f"{image_id}.JPEG", b"\xff\xd8" * 1000)
    return packed.getvalue()


def outer_tar(path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        for wnid in ("n01440764", "n02017213"):
            add(archive, f"{wnid}.tar", inner_tar(wnid))
    return path


def write_parquet(path: Path, paths: list[str | None]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = pa.array([{"bytes": b"x" * 100, "path": path} for path in paths])
    pq.write_table(pa.table({"image": images, "label": pa.array([0] * len(paths))}), path)
    return path


def test_a_nested_train_folder(tmp_path: Path) -> None:
    for image_id in IDS:
        file = tmp_path / "ILSVRC/Data/CLS-LOC/train" / image_id[:9] / f"{image_id}.JPEG"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "ILSVRC/Data/CLS-LOC/train/n01440764/n01440764_10026.json").touch()  # a sidecar
    (tmp_path / "ILSVRC/Data/CLS-LOC/val").mkdir()
    (tmp_path / f"ILSVRC/Data/CLS-LOC/val/{VALIDATION}.JPEG").touch()
    for folder in (tmp_path, tmp_path / "ILSVRC/Data/CLS-LOC/train"):
        assert found(folder) == IDS
    flat = tmp_path / "ILSVRC/Data/CLS-LOC/train/n02017213"
    assert found(flat) == IDS[3:]


def test_tars_of_tars_and_of_images(tmp_path: Path) -> None:
    assert found(outer_tar(tmp_path / "ILSVRC2012_img_train.tar")) == IDS
    with tarfile.open(tmp_path / "train.tar", "w") as archive:
        for image_id in IDS:
            add(archive, f"train/{image_id[:9]}/{image_id}.JPEG", b"\xff\xd8")
    assert found(tmp_path / "train.tar") == IDS


def test_a_truncated_tar_is_an_error(tmp_path: Path) -> None:
    whole = outer_tar(tmp_path / "whole.tar").read_bytes()
    path = tmp_path / "cut.tar"
    path.write_bytes(whole[: 512 * 4])
    with pytest.raises(InputError, match="cut off or damaged"):
        read_ids(path)


@pytest.mark.parametrize(
    "form",
    [
        "{id}\n",
        "{id}\r\n",
        "{id}.jpg\n\n",
        "  ./train/{id}.JPEG  \n",
        "/my data, all/train/{id}.JPEG\n",
        "{id}_{wnid}.JPEG\n",
        '"{id}","x"\n',
        "{id}\thttp://example.com/{id}\n",
        "{id},n02017213 355 155 430 273 n02017213 178 123 290 332\n",  # LOC_train_solution.csv, below its header
        "{wnid}/{id} 27\n",  # train_cls.txt
    ],
)
def test_a_text_with_an_id_a_line(tmp_path: Path, form: str) -> None:
    path = tmp_path / "ids.txt"
    lines = [form.format(id=image_id, wnid=image_id[:9]) for image_id in IDS]
    path.write_bytes("".join(lines + lines[:2]).rstrip("\r\n").encode())
    assert found(path) == IDS
    path.write_bytes("\ufeffImageId,PredictionString\n".encode() + "".join(lines).encode())
    assert found(path) == IDS


def test_a_folder_of_imagenet_1k_parquet(tmp_path: Path) -> None:
    names = [f"{image_id}_{image_id[:9]}.JPEG" for image_id in IDS]
    write_parquet(tmp_path / "data/train-00000-of-00002.parquet", [*names[:3], None])
    write_parquet(tmp_path / "data/train-00001-of-00002.parquet", list(names[3:]))
    write_parquet(tmp_path / "data/validation-00000-of-00001.parquet", [f"{VALIDATION}_n01440764.JPEG"])
    assert found(tmp_path) == found(tmp_path / "data") == IDS
    assert found(tmp_path / "data/train-00000-of-00002.parquet") == IDS[:3]


def test_the_digest_is_that_of_the_sorted_ids(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("\n".join(reversed(IDS)))
    # printf '%s\n' n01440764_10026 n01440764_10027 n01440764_7 n02017213_4263 n02017213_95 | sha256sum
    expected = "183f040e62b6a4bc69f537ec95f64bd641103f0f90a313af1cf0717ef77b9a33"
    assert read_ids(tmp_path / "ids.txt").digest() == expected


def test_only_a_lists_entries_are_inputs(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("n01440764_7\nn01440764_1O026\n../../etc/passwd\nn01440764_①\n")
    assert read_ids(tmp_path / "ids.txt")[1:] == (3, "n01440764_1O026")
    (tmp_path / "train").mkdir()
    for name in ("n01440764_7.JPEG", "README.md"):
        (tmp_path / "train" / name).touch()
    assert read_ids(tmp_path / "train")[1:] == (0, "")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no image id"),
        (b"00000000\n00000001\n", "no image id"),
        (b"\x1f\x8b\x08\0 not gzip", "damaged"),
        (b"PAR1 not Parquet", "not a Parquet file"),
    ],
)
def test_a_file_without_ids_is_an_error(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "ids").write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_ids(tmp_path / "ids")


def test_a_folder_without_names_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no images"):
        read_ids(tmp_path)
    write_parquet(tmp_path / "train.parquet", [None, "00000001.jpg"])
    with pytest.raises(InputError, match="no names to join on"):
        read_ids(tmp_path)
