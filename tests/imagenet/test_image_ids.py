"""Every name under which people keep a training image leads to the same id, and nothing else does."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_captions.imagenet.image_ids import image_id, wnid_of, wnids_of

# How people hold the images, and what they call one of them.
NAMES = [
    ("train/n01440764/n01440764_10026.JPEG", "torchvision ImageFolder"),
    ("ILSVRC2012_img_train/n01440764_10026.JPEG", "flat folder (LAIONet)"),
    ("n01440764_10026.JPEG", "a member of an inner tar of ILSVRC2012_img_train.tar"),
    ("ILSVRC/Data/CLS-LOC/train/n01440764/n01440764_10026.JPEG", "Kaggle's folder"),
    ("n01440764_10026", "LOC_train_solution.csv, the key of timm/imagenet-1k-wds"),
    ("n01440764/n01440764_10026", "train_cls.txt"),
    ("n01440764_10026_n01440764.JPEG", "image.path of ILSVRC/imagenet-1k"),
    ("n01440764/n01440764_10026.JPEG", "filename in the JSON of imagenet-1k-wds"),
    ("/data/imagenet/train/n01440764/n01440764_10026.jpeg", "an absolute path"),
    ("..\\train\\n01440764\\n01440764_10026.Jpeg", "a path from Windows"),
    *[(f"n01440764_10026.{ending}", "re-encoded") for ending in ("png", "webp", "GIF", "bmp")],
    ("n01440764_10026_n01440764", "suffix without an extension"),
]

NOT_IDS = [
    *("", "n01440764", "n01440764_", "n01440764_.JPEG", "n0144076_10026.JPEG", "n014407641_10026.JPEG"),
    *("N01440764_10026.JPEG", "n01440764_10026_n01440765.JPEG", "n01440764_10026_N01440764.JPEG"),
    *("n01440764-10026.JPEG", "n01440764_①.JPEG"),
    *("n01440764_10026.JPEG\n", "n01440764_10026 .JPEG", "n01440764_10026.JPEG.JPEG"),
    "n01440764_10026.txt",
    "n01440764_10026\0.JPEG",
    "ILSVRC2012_val_00000293_n01440764.JPEG",
    "00000000.jpg",
    "../../etc/passwd",
    "n01440764_../../x",
    "n01440764_" + "1" * 10,
]


@pytest.mark.parametrize(("name", "seen"), NAMES)
def test_every_layout_has_the_same_id(name: str, seen: str) -> None:
    assert image_id(name) == "n01440764_10026", seen


@pytest.mark.parametrize("name", NOT_IDS)
def test_anything_else_is_none(name: str) -> None:
    assert image_id(name) is None


def test_the_class_and_a_columns_classes() -> None:
    assert image_id("n01440764_0001.JPEG") == "n01440764_0001"  # leading zeros stay
    assert wnid_of("n01440764_0001") == "n01440764"
    assert wnids_of(pa.array(["n01440764_0001", "n02017213_4"])).to_pylist() == ["n01440764", "n02017213"]


@given(st.one_of(st.text(), st.text("n0123456789_./\\JPEG\0", max_size=40)))
def test_a_result_is_always_safe_as_a_file_name(name: str) -> None:
    found = image_id(name)
    assert found is None or re.fullmatch("n[0-9]{8}_[0-9]{1,9}", found)
