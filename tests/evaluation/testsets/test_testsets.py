"""Test sets in every layout: which images, with which labels, over which classes, and what is missing."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.known_sets import KNOWN, devkit_order, objectnet_folders, read_labels
from imagenet_captions.evaluation.testsets import TestSet, open_test_set
from imagenet_captions.imagenet import classes
from tests.evaluation.made_sets import (
    GOLDFISH,
    GROUND_TRUTH,
    SHARK,
    TENCH,
    flat_val,
    ground_truth,
    hugging_face_names,
    picture,
    write_files,
    write_parquet,
    write_tar,
)

VAL = [SHARK, TENCH, GOLDFISH, TENCH]
BY_WNID = {f"{wnid}/{number}.JPEG": picture(number) for number, wnid in enumerate(VAL)}


def found_in(test_set: TestSet) -> dict[bytes, str]:
    """What each image, by its bytes, is said to show."""
    keys = [test_set.answers[label] for label in test_set.labels]
    return {test_set.images.image(index): key for index, key in enumerate(keys)}


R, A = (KNOWN[name].wnids for name in ("imagenet-r", "imagenet-a"))
IMAGES = [picture(number) for number in range(4)]
# "10" comes before "2" in the order of ImageFolder, which shifts every label.
BY_NUMBER = {f"{number}/{number}.jpeg": IMAGES[at] for at, number in enumerate((0, 2, 10, 999))}
NUMBERED = [classes.by_index(number).wnid for number in (0, 2, 10, 999)]
IN_R = {f"./imagenet-r/{wnid}/{number}.jpg": IMAGES[number] for number, wnid in enumerate(R[:3])}
AROUND = {f"a/val/{name}": data for name, data in BY_WNID.items()}
NO_IMAGES = {"a/README.txt": b"x", f"a/val/{TENCH}/._0.JPEG": b"x", "__MACOSX/n01440764/1.JPEG": b"x"}
NAMED = {f"ILSVRC2012_val_{number:08d}_{wnid}.JPEG": IMAGES[number] for number, wnid in enumerate(VAL)}
OBJECTS = ["Butcher's knife", "Air freshener", "T-shirt"]
OBJECTS_SHOWN = ["butchers_knife", None, "t-shirt"]


def shards(path: Path, tar: str) -> Path:
    """Write WebDataset shards of CLIP_benchmark: an index for each image, and the names of classes."""
    samples = {f"s{number}.jpg": IMAGES[number] for number in range(3)}
    samples |= {"s0.cls": b"1", "s1.cls": b"0", "s2.cls": b"199"}
    (path / "test").mkdir(parents=True)
    write_tar(path / "test" / "0.tar", dict(sorted(samples.items())))
    (path / "classnames.txt").write_text("\n".join(hugging_face_names(R)))
    return path / "test" / tar


def table(*content: Any) -> Callable[[Path], Path]:
    return lambda path: write_parquet(path / "a.parquet", *content)


def files(content: dict[str, bytes], given: str = "") -> Callable[[Path], Path]:
    return lambda path: write_files(path, content) / given


# A set, how it is written below a path, and what its images, in order, show; None is left out.
LAYOUTS: list[tuple[str, Callable[[Path], Path], Sequence[str | None]]] = [
    ("imagenet", files(BY_WNID), VAL),
    ("imagenet", files(AROUND | NO_IMAGES), VAL),
    ("imagenet", files({f"{TENCH}/1.JPEG": IMAGES[0]}, TENCH), [TENCH]),
    ("imagenet", files(NAMED), VAL),
    ("imagenet-r", lambda path: write_tar(path.with_suffix(".tar"), IN_R), R[:3]),
    ("imagenet-r", lambda path: write_tar(path.with_suffix(".tar.gz"), IN_R, "w:gz"), R[:3]),
    ("imagenet-v2", files(BY_NUMBER), NUMBERED),
    ("imagenet-v2", files({f"{TENCH}/2.jpeg": IMAGES[0]}), [TENCH]),
    ("imagenet", table([0, 1, 0], [SHARK, TENCH]), [SHARK, TENCH, SHARK]),
    (
        "imagenet",
        table([3, 999, 0], hugging_face_names(classes.wnids())),
        [classes.wnids()[3], classes.wnids()[-1], TENCH],
    ),
    ("imagenet-r", table([3, 199, 0], hugging_face_names(R)), [R[3], R[-1], R[0]]),
    ("objectnet", table([0, 1, 2], OBJECTS), OBJECTS_SHOWN),
    # 0 is not an index of ImageNet-A's, so these count its own classes.
    ("imagenet-a", table([0, 1, 5], None), [A[0], A[1], A[5]]),
    ("imagenet-sketch", table([0, 999], None), [TENCH, classes.wnids()[-1]]),
    ("imagenet-r", lambda path: shards(path, "0.tar"), [R[1], R[0], R[199]]),
    ("imagenet-r", lambda path: shards(path, ""), [R[1], R[0], R[199]]),
]


@pytest.mark.parametrize(("name", "write", "shown"), LAYOUTS)
def test_layouts(tmp_path: Path, name: str, write: Callable[[Path], Path], shown: Sequence[str | None]) -> None:
    found = open_test_set(name, write(tmp_path / "set"), tmp_path)
    expected = {image: key for image, key in zip(IMAGES, shown, strict=False) if key}
    assert found_in(found) == expected
    assert found_in(pickle.loads(pickle.dumps(found))) == expected


def test_classes_are_those_of_the_set(tmp_path: Path) -> None:
    found = open_test_set("imagenet", write_files(tmp_path / "val", BY_WNID), tmp_path)
    assert tuple(each.key for each in found.classes) == found.answers == classes.wnids()
    assert found.classes[0].name == "tench"
    assert (found.groups == range(1000)).all()
    gaps = found.completeness()
    assert (gaps["missing"], len(gaps["empty_classes"])) == (50_000 - 4, 997)
    assert gaps["short_classes"] == {TENCH: 2, GOLDFISH: 1, SHARK: 1}
    path = shards(tmp_path / "r", "0.tar")
    assert open_test_set("mine", path, tmp_path).classes[0].name == hugging_face_names(R)[0]
    assert open_test_set("imagenet-r", path, tmp_path).answers == R


VAL_ANSWERS = {picture(number): wnid for number, wnid in enumerate(VAL, 1)}


def test_tars_of_one_name_are_two_and_are_unpacked_once(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    paths = [tmp_path / wnid / "r.tar.gz" for wnid in R[:2]]
    for path, wnid in zip(paths, R, strict=False):
        path.parent.mkdir()
        write_tar(path, {f"{wnid}/1.jpg": wnid.encode()}, "w:gz")
    written = []
    for _ in range(2):
        opened = [open_test_set("imagenet-r", path, tmp_path / "scratch") for path in paths]
        assert [found_in(each) for each in opened] == [{wnid.encode(): wnid} for wnid in R[:2]]
        written.append({path: path.stat().st_mtime_ns for path in (tmp_path / "scratch").iterdir()})
    assert len(written[0]) == 2
    assert written[0] == written[1]


VAL_NAMES = [f"ILSVRC2012_val_{number:08d}" for number in range(1, 5)]
BOXES = "".join(f"{name},{wnid} 85 1 499 272 {wnid} 0 0 9 9 \n" for name, wnid in zip(VAL_NAMES, VAL, strict=True))
INDICES = "".join(f"{name}.JPEG {classes.index_of(wnid)}\n" for name, wnid in zip(VAL_NAMES, VAL, strict=True))


@pytest.mark.parametrize("tar", [False, True])
@pytest.mark.parametrize(
    ("place", "data"),
    [
        (GROUND_TRUTH, ground_truth(VAL)),
        (f"ILSVRC2012_devkit_t12/data/{GROUND_TRUTH}", ground_truth(VAL)),
        ("LOC_val_solution.csv", f"ImageId,PredictionString\n{BOXES}".encode()),
        ("val.txt", INDICES.encode()),
        ("val.txt", INDICES.replace("G ", "G 00").encode()),
    ],
    ids=["ground truth", "devkit", "Kaggle", "Caffe", "zeros"],
)
def test_flat_validation_images(tmp_path: Path, place: str, data: bytes, tar: bool) -> None:
    write_files(tmp_path, {place: data})
    if tar:
        path = write_tar(tmp_path / "ILSVRC2012_img_val.tar", flat_val(4))
    else:
        path = write_files(tmp_path / "ILSVRC" / "Data" / "CLS-LOC" / "val", flat_val(4))
    assert found_in(open_test_set("imagenet", path, tmp_path)) == VAL_ANSWERS


def test_labels_from_the_packed_devkit(tmp_path: Path) -> None:
    val = write_files(tmp_path / "val", flat_val(4))
    devkit = tmp_path / "elsewhere" / "devkit.tar.gz"
    devkit.parent.mkdir()
    write_tar(devkit, {f"ILSVRC2012_devkit_t12/data/{GROUND_TRUTH}": ground_truth(VAL)}, "w:gz")
    with pytest.raises(InputError, match=r"no labels lie beside it.*`labels`"):
        open_test_set("imagenet", val, tmp_path)
    assert found_in(open_test_set("imagenet", val, tmp_path, devkit)) == VAL_ANSWERS
    devkit.rename(tmp_path / "ILSVRC2012_devkit_t12.tar.gz")
    assert found_in(open_test_set("imagenet", val, tmp_path)) == VAL_ANSWERS


def test_the_devkit_has_an_order_of_its_own() -> None:
    assert sorted(devkit_order()) == list(classes.wnids())
    # ILSVRC2012_ID of some validation images, and the index of their classes in Caffe's val.txt
    for number, index in ((490, 65), (361, 970), (171, 230), (822, 809), (297, 516), (482, 57), (13, 334)):
        assert classes.index_of(devkit_order()[number - 1]) == index


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (b"490\n361\n", "no label for 2 images.*00000003"),
        (b"490\n1001\n3\n4\n", "line 2: '1001'"),
        (b"0\n1\n1\n1\n", "line 1: '0'"),
        (b"", "no labels"),
        (b"ILSVRC2012_val_00000001.JPEG n00000000\n", "line 1: .*n00000000"),
        (b"ILSVRC2012_val_00000001.JPEG 0\nnonsense\n", "line 2: 'nonsense'"),
        (b"\xff\xfe\x00", "not a text file"),
    ],
)
def test_labels_that_do_not_fit(tmp_path: Path, labels: bytes, message: str) -> None:
    val = write_files(tmp_path / "val", flat_val(4))
    write_files(tmp_path, {"labels.txt": labels})
    with pytest.raises(InputError, match=message):
        open_test_set("imagenet", val, tmp_path, tmp_path / "labels.txt")


def test_objectnet_groups_its_classes(tmp_path: Path) -> None:
    files = {
        "objectnet-1.0/images/bicycle/a.png": picture(1, kind="PNG"),
        "objectnet-1.0/images/air_freshener/b.png": picture(2, kind="PNG"),
        "objectnet-1.0/images/plate/c.png": picture(3, kind="PNG"),
        "objectnet-1.0/mappings/folder_to_objectnet_label.json": b"{}",
    }
    found = open_test_set("objectnet", write_files(tmp_path / "o", files), tmp_path)
    assert found_in(found) == {picture(1, kind="PNG"): "bicycle", picture(3, kind="PNG"): "plate"}
    assert found.left_out == {"no class of ImageNet's": 1}
    assert (len(found.classes), len(found.answers), found.border) == (125, 113, 2)
    group = found.answers.index("bicycle")
    members = [each.key for each, of in zip(found.classes, found.groups, strict=True) if of == group]
    assert members == ["n02835271", "n03792782"] == sorted(objectnet_folders()["bicycle"])


@pytest.mark.parametrize("name", ["imagenet", "mine"])
def test_rows_without_a_label_are_counted(tmp_path: Path, name: str) -> None:
    path = write_parquet(tmp_path / "set.parquet", [0, -1, 1], [TENCH, SHARK])
    found = open_test_set(name, path, tmp_path)
    assert (found.left_out, len(found.images)) == ({"no label": 1}, 2)
    assert found_in(found) == {picture(0): TENCH, picture(2): SHARK}


def test_any_other_name_is_a_set_of_its_own(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "micro.parquet", [1, 0, 1], ["cat", "dog"])
    found = open_test_set("micro", path, tmp_path)
    assert found_in(found) == {picture(0): "dog", picture(1): "cat", picture(2): "dog"}
    assert [tuple(each) for each in found.classes] == [("cat", "cat"), ("dog", "dog")]
    assert (found.completeness()["expected"], found.completeness()["missing"]) == (None, 0)
    folders = write_files(tmp_path / "shapes", {"disc/1.png": picture(1), "ring/2.png": picture(2)})
    assert open_test_set("shapes", folders, tmp_path).answers == ("disc", "ring")


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        ("imagenet-r", BY_WNID | {"n02107312/x.JPEG": b"x", "n01440765/x.JPEG": b"x"}, "'n01440765'"),
        ("imagenet-r", {"n01495701/x.JPEG": b"x"}, "'n01495701' beside the classes of ImageNet-R"),
        ("imagenet", {"cat/x.JPEG": b"x"}, "names? as a validation image|lies in no folder of a class"),
        (
            "imagenet-sketch",
            {"cat/x.JPEG": b"x", "dog/x.JPEG": b"x"},
            "'cat', 'dog' beside the classes of ImageNet-Sketch",
        ),
        ("imagenet-v2", {"1000/x.JPEG": b"x"}, "has '1000'"),
        ("imagenet-a", {"11/x.JPEG": b"x", "13/x.JPEG": b"x"}, "give the set with wnids"),
        ("objectnet", {"air_freshener/x.png": b"x"}, "has 'air_freshener'"),
        ("imagenet", {"README": b"x"}, "holds no images"),
        ("micro", {"1.png": b"x", "2.png": b"x"}, "no labels"),
    ],
)
def test_places_that_are_not_the_set(tmp_path: Path, name: str, files: dict[str, bytes], message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_test_set(name, write_files(tmp_path / "set", files), tmp_path)


def test_archives_that_cannot_be_used(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "whole.tar.gz", BY_WNID, "w:gz").read_bytes()
    (tmp_path / "half.tar.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "none.tar").write_bytes(b"no tar" * 1000)
    (tmp_path / "o.zip").write_bytes(b"PK\x03\x04")
    (tmp_path / "devkit.tar.gz").write_bytes(whole[: len(whole) // 2])
    for labels, message in (
        (tmp_path / "nowhere", "does not exist"),
        (tmp_path, f"data/{GROUND_TRUTH} does not exist"),
        (tmp_path / "devkit.tar.gz", "is not a whole devkit"),
        (write_tar(tmp_path / "other.tar", {"x": b""}), f"no {GROUND_TRUTH}"),
        (write_tar(tmp_path / "bytes.tar", {GROUND_TRUTH: b"\xff\n"}), "has no labels"),
    ):
        with pytest.raises(InputError, match=message):
            read_labels(labels)
    for name, message in (
        ("half.tar.gz", "not a whole gzip"),
        ("none.tar", "is not a tar"),
        ("o.zip", "unpack it"),
        ("nowhere", "does not exist"),
    ):
        with pytest.raises(InputError, match=message):
            open_test_set("imagenet-r", tmp_path / name, tmp_path)
    with pytest.raises(InputError, match="no sample with an image"):
        open_test_set("imagenet-r", write_tar(tmp_path / "empty.tar", {"x.txt": b""}), tmp_path)
