"""The ids of a training set, in a list or beside images; tests/images has the forms in which images lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagenet_captions.crawler.match import read_ids
from imagenet_captions.errors import InputError

IDS = ["n01440764_10026", "n01440764_10027", "n01440764_7", "n02017213_4263", "n02017213_95"]


def found(path: Path) -> list[str]:
    ids: list[str] = read_ids(path).ids.to_pylist()
    return ids


def test_a_nested_train_folder(tmp_path: Path) -> None:
    for name in (*IDS, "ILSVRC2012_val_00000293", "2737866473"):
        file = tmp_path / "train" / name[:9] / f"{name}.JPEG"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "train/n01440764/n01440764_10026.json").touch()  # a sidecar
    assert found(tmp_path) == found(tmp_path / "train") == IDS
    assert found(tmp_path / "train/n02017213") == IDS[3:]
    with pytest.raises(InputError, match="no names to join on"):
        read_ids(tmp_path / "train/ILSVRC201")


@pytest.mark.parametrize(
    "form",
    [
        "{id}\r\n",
        "{id}.jpg\n\n",
        "  ./train/{id}.JPEG  \n",
        "/my data, all/train/{id}.JPEG\n",
        "{id}_{wnid}.JPEG\n",
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
