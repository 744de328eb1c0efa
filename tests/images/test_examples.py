"""Images in every layout, as training reads them."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.testsets import open_test_set
from imagenet_captions.exports.export import export
from imagenet_captions.exports.settings import ExportSettings
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.image_ids import IMAGE_SUFFIXES
from imagenet_captions.images import examples as in_parquet
from imagenet_captions.images.examples import (
    Class,
    Examples,
    Texts,
    classes_without_images,
    only_ids,
    open_examples,
    require_classes,
    select,
)
from imagenet_captions.images.reading import ColumnImages, FileImages
from imagenet_captions.images.sources import ImageSource
from tests.dataset.made import make_dataset, rows
from tests.packager.made import IDS, image, images, tar_of, train_folder


def all_of(examples: Examples) -> list[tuple[str, bytes, Texts, str | None]]:
    """Every row as plain values, its class by key; and that a copy sent to another process says the same."""
    copy = pickle.loads(pickle.dumps(examples))
    found = []
    for row in range(len(examples)):
        label = int(examples.labels[row])
        key = examples.classes[label].key if examples.classes and label >= 0 else None
        found.append((examples.image_id(row), examples.image(row), examples.texts(row), key))
        assert (copy.image_id(row), copy.image(row), copy.texts(row)) == found[-1][:3]
    return found


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("dataset"), rows(7), images=True)


@pytest.mark.parametrize("in_place", [True, False])
def test_a_dataset_of_ours(dataset: Path, in_place: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not in_place:
        monkeypatch.setattr(in_parquet, "images_in_place", _unreadable)
    held = [row for number, row in enumerate(rows(7)) if number % 10]
    wanted = [(row["image_id"], image(row["image_id"]), _texts(row), row["wnid"]) for row in held]
    examples = open_examples(dataset)
    assert isinstance(examples.images, FileImages if in_place else ColumnImages)
    assert all_of(examples) == wanted
    assert examples.left_out == 4
    assert [class_.key for class_ in examples.classes or ()] == list(classes.wnids())
    assert len(classes_without_images(examples)) == 995


def _unreadable(*_: object) -> None:
    raise in_parquet.UnreadablePages


def _texts(row: dict[str, object]) -> Texts:
    return Texts(row["title"], row["description"], tuple(row["tags"]), row["caption"])  # type: ignore[arg-type]


def test_large_parquet_is_read_from_the_cache_of_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_parquet, "LARGEST_IN_MEMORY", 0)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    held = [{"bytes": bytes([number]) * 100_000, "path": None} if number != 2 else None for number in range(5)]
    pq.write_table(pa.table({"image": held, "label": range(5)}), tmp_path / "x.parquet", compression="zstd")
    examples = open_examples(tmp_path / "x.parquet")
    rows = [(f"{number:08d}", bytes([number]) * 100_000, Texts(), str(number)) for number in (0, 1, 3, 4)]
    assert (all_of(examples), examples.left_out) == (rows, 1)
    assert len(pickle.dumps(examples)) < 20_000  # the name of the cache, not what is in it


def write_parquet(path: Path, **columns: object) -> Path:
    held = [{"bytes": image(name), "path": f"some/{name}.png"} for name in "abc"]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": held, **columns}), path, compression="zstd")
    return path


@pytest.mark.parametrize(
    ("columns", "classes_", "labels", "ids", "captions"),
    [
        ({"label": [1, 0, 1], "class_name": ["truck", "frog", "truck"]}, ["frog", "truck"], [1, 0, 1], "paths", None),
        ({"class_name": ["truck", "frog", None]}, ["frog", "truck"], [1, 0, -1], "paths", None),
        ({"label": ["7", "10", "7"]}, ["7", "10"], [0, 1, 0], "paths", None),
        ({"label": [2, None, 0], "target": [9, 9, 9]}, ["0", "1", "2"], [2, -1, 0], "paths", None),
        ({"wnid": ["n01443537", "", "n01440764"]}, ["n01440764", "n01443537"], [1, -1, 0], "paths", None),
        ({"text": ["a", None, "NA"], "key": ["k1", "k2", "k3"]}, None, [-1] * 3, ["k1", "k2", "k3"], ["a", "", "NA"]),
        ({"caption": ["a", "b", "c"], "txt": ["d", "e", "f"]}, None, [-1] * 3, "paths", ["a", "b", "c"]),
    ],
)
def test_columns_of_parquet(
    tmp_path: Path,
    columns: dict[str, list[object]],
    classes_: list[str] | None,
    labels: list[int],
    ids: str | list[str],
    captions: list[str] | None,
) -> None:
    examples = open_examples(write_parquet(tmp_path / "x.parquet", **columns))
    assert (examples.classes and [each.key for each in examples.classes]) == classes_
    assert examples.labels.tolist() == labels
    found = all_of(examples)
    assert [each[0] for each in found] == (["some/a", "some/b", "some/c"] if ids == "paths" else ids)
    assert [each[2].caption for each in found] == (captions or [""] * 3)
    if min(labels) < 0:
        with pytest.raises(InputError, match=r"1 images of .* have no label" if classes_ else "has no labels"):
            require_classes(examples)


def test_the_parquet_of_imagenet_1k(tmp_path: Path) -> None:
    # ILSVRC/imagenet-1k names its classes by WordNet's words, and repeats the class in the path.
    names = [", ".join(classes.by_index(number).lemmas) for number in range(1000)]
    features = {"label": {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    held = [{"bytes": image(each), "path": f"{each}_{each[:9]}.JPEG"} for each in IDS]
    labels = [classes.index_of(each[:9]) for each in IDS]
    table = pa.table({"image": held, "label": labels})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    (tmp_path / "data").mkdir()
    for number, part in enumerate((table[:5], table[5:])):
        pq.write_table(part, tmp_path / f"data/train-{number:05d}-of-00002.parquet")
    pq.write_table(table[:1], tmp_path / "data/validation-00000-of-00001.parquet")
    with pytest.raises(InputError, match="splits train and validation"):
        open_examples(tmp_path)
    examples = open_examples(tmp_path / "data/train-*.parquet")
    assert [(each[0], each[3]) for each in all_of(examples)] == [(each, each[:9]) for each in IDS]
    assert examples.classes is not None
    assert examples.classes[0] == Class("n01440764", "tench")


def test_webdataset_that_we_wrote(dataset: Path, tmp_path: Path) -> None:
    export(dataset, tmp_path / "wds", ExportSettings(to="webdataset", shard_size=10))
    examples = open_examples(tmp_path / "wds")
    from_dataset = {each[0]: each for each in all_of(open_examples(dataset))}
    found = {each[0]: each for each in all_of(examples)}
    assert set(found) <= set(from_dataset)
    assert len(found) > 20
    for image_id, (_, data, texts, key) in found.items():
        _, stored, held, wnid = from_dataset[image_id]
        joined = [replace(each, tags=tuple(" ".join(each.tags).split())) for each in (texts, held)]
        assert (data, key, joined[0]) == (stored, wnid, joined[1])
    assert len(examples.classes or ()) == 1000


def write_shards(folder: Path, **more: bytes) -> Path:
    folder.mkdir(parents=True)
    for number in range(3):
        members = {}
        for sample in range(2):
            key = f"{number}{sample:04d}"
            members[f"{key}.cls"] = str(sample).encode()
            members[f"{key}.PNG" if sample else f"{key}.jpg"] = image(key)
            members[f"{key}.txt"] = f"text of {key}\n".encode()
        (folder / f"{number:05d}.tar").write_bytes(tar_of({**members, **more}))
    return folder


@pytest.mark.parametrize("pattern", ["", "{00000..00002}.tar", "*.tar"])
def test_webdataset_shards_of_any_origin(tmp_path: Path, pattern: str) -> None:
    folder = write_shards(tmp_path / "wds")
    examples = open_examples(folder / pattern if pattern else folder)
    keys = ["00000", "00001", "10000", "10001", "20000", "20001"]
    assert [each[0] for each in all_of(examples)] == keys
    assert [each[1] for each in all_of(examples)] == [image(key) for key in keys]
    assert [each[2] for each in all_of(examples)] == [Texts(caption=f"text of {key}") for key in keys]
    assert examples.classes == (Class("0", "0"), Class("1", "1"))
    assert examples.labels.tolist() == [0, 1] * 3
    assert examples.labels.dtype == np.int64
    (folder / "classnames.txt").write_text("frog\ntruck\n")
    assert open_examples(folder).classes == (Class("frog", "frog"), Class("truck", "truck"))
    (folder / "00000.tar").write_bytes(tar_of({"0.txt": b"alone", "._1.jpg": b"", "2.b.jpg": b"-", "3.jpg": b"x"}))
    assert (len(open_examples(folder)), open_examples(folder).left_out) == (5, 2)


@pytest.mark.parametrize(
    ("header", "first", "second", "captions", "labels", "classes_"),
    [
        ("filepath\ttitle\tlabel", 'a.jpg\t"say ""NA"""\t1', "HERE/b.jpg\tNA \t0", ['say "NA"', "NA"], [1, 0], "01"),
        ("filepath,title", 'a.jpg,"x, y"', "b.jpg", ["x, y", ""], [-1, -1], None),
        ("image,text,labels", "a.jpg,x,9x", "b.jpg,y,", ["x", "y"], [0, -1], ["9x"]),
        ("path,caption,label,class_name", "a.jpg,x,5,frog", "b.jpg,y,3,ant", ["x", "y"], [1, 0], ["ant", "frog"]),
    ],
)
def test_csv_and_tsv(
    tmp_path: Path, header: str, first: str, second: str, captions: list[str], labels: list[int], classes_: object
) -> None:
    for name in "ab":
        (tmp_path / f"{name}.jpg").write_bytes(image(name))
    (tmp_path / "x.csv").write_text("\n".join((header, first, second.replace("HERE", str(tmp_path)))) + "\n")
    examples = open_examples(tmp_path / "x.csv")
    found = all_of(examples)
    assert [each[1:3] for each in found] == [
        (image(name), Texts(caption=caption)) for name, caption in zip("ab", captions, strict=True)
    ]
    assert examples.labels.tolist() == labels
    assert (examples.classes and [each.key for each in examples.classes]) == (classes_ and list(classes_))


def test_a_csv_as_open_clip_reads_it_names_files_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work/a.jpg").write_bytes(image("a"))
    (tmp_path / "train.csv").write_text("filepath\ttitle\na.jpg\ttext\n")
    monkeypatch.chdir(tmp_path / "work")
    assert all_of(open_examples(tmp_path / "train.csv")) == [("a", image("a"), Texts(caption="text"), None)]


def test_a_file_that_is_not_there_or_goes_later_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text("filepath\ttitle\na.jpg\ttext\n")
    with pytest.raises(InputError, match=r"a\.jpg in its first row, which is not a file"):
        open_examples(tmp_path / "x.tsv")
    (tmp_path / "a.jpg").write_bytes(image("a"))
    examples = open_examples(tmp_path / "x.tsv")
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(InputError, match=r"a\.jpg cannot be read: No such file"):
        examples.image(0)


def test_an_imagenet_folder(tmp_path: Path) -> None:
    examples = open_examples(train_folder(tmp_path))
    assert {each[0]: each[1] for each in all_of(examples)} == images()
    assert [each[3] for each in all_of(examples)] == [each[0][:9] for each in all_of(examples)]
    assert [class_.key for class_ in examples.classes or ()] == sorted({each[:9] for each in IDS})
    one_class = open_examples(tmp_path / "Data/CLS-LOC/train/n01440764")
    assert one_class.classes == (Class("n01440764", "tench"),)
    assert set(one_class.labels.tolist()) == {0}


@pytest.mark.parametrize(
    ("files", "ids", "keys", "labels"),
    [
        ("frog/1.jpg frog/deep/2.jpg truck/1.png ant/x.txt", "frog/1 frog/deep/2 truck/1", "ant frog truck", [1, 1, 2]),
        # ImageNetV2's folders; sorted as texts, "10" would be class 1.
        ("10/1.jpg 9/1.jpg 11/1.jpg", "10/1 11/1 9/1", "9 10 11", [1, 2, 0]),
        ("1.jpg", "1", None, [-1]),
        ("n01440764_1.JPEG x/2.jpg", "n01440764_1 x/2", "n01440764 x", [0, 1]),
    ],
)
def test_folders_are_classes(tmp_path: Path, files: str, ids: str, keys: str | None, labels: list[int]) -> None:
    for name in files.split():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(image(name))
    examples = open_examples(tmp_path)
    assert [each[0] for each in all_of(examples)] == ids.split()
    assert [each.key for each in examples.classes or ()] == (keys or "").split()
    assert examples.labels.tolist() == labels
    assert len(classes_without_images(examples)) == (keys or "").split().count("ant")


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_all_endings_of_images_are_known_everywhere(tmp_path: Path, suffix: str) -> None:
    name, folder = f"n01440764/n01440764_1{suffix.upper()}", tmp_path / "n01440764"
    folder.mkdir()
    (tmp_path / name).write_bytes(image("x"))
    assert open_test_set("imagenet", folder, tmp_path).images.image(0) == image("x")
    (tmp_path / "x.tar").write_bytes(tar_of({name: image("x")}))
    pq.write_table(pa.table({suffix[1:]: [image("x")], "key": [name]}), tmp_path / "x.parquet")
    for source in (folder, tmp_path / "x.tar", tmp_path / "x.parquet"):
        examples = open_examples(source)
        assert [examples.image_id(0), examples.image(0)] == ["n01440764_1", image("x")]
        if source.suffix != ".parquet":
            assert ImageSource(source).keys.to_pylist() == ["n01440764_1"]


def test_some_of_many(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "wds")
    whole = open_examples(folder)
    part = select(whole, [4, 1])
    assert all_of(part) == [all_of(whole)[4], all_of(whole)[1]]
    assert part.labels.tolist() == [0, 1]
    assert all_of(only_ids(whole, {"20000", "00001"})) == [all_of(whole)[1], all_of(whole)[4]]
    with pytest.raises(InputError, match="1 of 2 ids are not in"):
        only_ids(whole, ["20000", "nobody"])
    with pytest.raises(IndexError):
        select(whole, [6])


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("texts/dataset", "texts without images; build or package it again with `images`"),
        ("empty", "holds no images that can be read"),
        ("splits", "holds the folders train and val; give one of them"),
        ("paths.parquet", "holds paths of images and not the images, and '/x/a.jpg' is not an im"),
        ("base64.parquet", "has no column of images"),
        ("x.csv", "no column of images; call one of its columns filepath"),
        ("wds", "the label 1 belongs to no class"),
        ("nothing", "does not exist"),
        ("{0..2}.tar", "names .*, which does not exist"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, source: str, words: str) -> None:
    make_dataset(tmp_path / "texts", rows(2))
    (tmp_path / "empty").mkdir()
    for name in ("splits/train/frog/1.jpg", "splits/val/frog/2.jpg"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(image(name))
    for name, cell in (("paths", {"bytes": None, "path": "/x/a.jpg"}), ("base64", {"bytes": "/9j/", "path": "a.jpg"})):
        pq.write_table(pa.table({"image": [cell] * 2}), tmp_path / f"{name}.parquet")
    (tmp_path / "x.csv").write_text("url,title\nhttp://x,y\n")
    (write_shards(tmp_path / "wds") / "classnames.txt").write_text("frog\n")
    with pytest.raises(InputError, match=words):
        open_examples(tmp_path / source)


@pytest.mark.parametrize("at", ["absolute", "beside", "here"])
@pytest.mark.parametrize("stored", [False, True])
def test_paths_of_images_are_read_where_the_files_are(
    tmp_path: Path, at: str, stored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `Dataset.to_parquet` writes of a folder of images; and with some images stored beside the paths."""
    monkeypatch.chdir(tmp_path)
    files = {name: (tmp_path / name if at != "beside" else tmp_path / "set" / name) for name in "a.png b.png".split()}
    (tmp_path / "set").mkdir()
    for name, file in files.items():
        file.write_bytes(name.encode())
    named = {name: str(file) if at == "absolute" else name for name, file in files.items()}
    rows = [
        {"image": {"bytes": None, "path": named["a.png"]}, "label": 0},
        {"image": {"bytes": None, "path": "lost.png"}, "label": 1},
        {"image": {"bytes": b"c" if stored else None, "path": "c.png"}, "label": 2},
        {"image": {"bytes": None, "path": named["b.png"]}, "label": 3},
        {"image": None, "label": 4},
    ]
    schema = pa.schema({"image": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "label": pa.int64()})
    for number, part in enumerate((rows[:2], rows[2:])):
        pq.write_table(pa.Table.from_pylist(part, schema), tmp_path / "set" / f"{number}.parquet")
    found = pickle.loads(pickle.dumps(open_examples(tmp_path / "set" / "*.parquet")))
    expected = [(b"a.png", 0), *([(b"c", 2)] if stored else []), (b"b.png", 3)]
    assert [(found.image(row), found.labels[row]) for row in range(len(found))] == expected
    assert found.left_out == 5 - len(expected)


def test_what_datasets_writes_and_how_docs_data_embeds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.chdir(tmp_path)
    train_folder(tmp_path / "train")
    files = sorted(map(str, (tmp_path / "train").rglob("*.JPEG")))
    rows = datasets.Dataset.from_dict({"image": files}).cast_column("image", datasets.Image())
    rows.to_parquet("paths.parquet")
    page = (Path(__file__).parent.parent.parent / "docs" / "reference" / "data.md").read_text(encoding="utf-8")
    (embed,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(textwrap.dedent(embed), {"rows": rows})
    expected = [Path(file).read_bytes() for file in files]
    assert pq.read_table("paths.parquet")["image"][0]["bytes"].as_py() is None
    for name in ("paths.parquet", "images.parquet"):
        found = open_examples(tmp_path / name)
        assert [found.image(row) for row in range(len(found))] == expected
    shutil.rmtree(tmp_path / "train")
    assert len(open_examples(tmp_path / "images.parquet")) == len(files)
    with pytest.raises(InputError, match="put the files in that place, give the folder of the images, or embed them"):
        open_examples(tmp_path / "paths.parquet")


def test_a_file_that_was_replaced_gives_no_image_of_another_place(dataset: Path, tmp_path: Path) -> None:
    ours = shutil.copytree(dataset, tmp_path / "ours")
    opened = open_examples(ours)
    shard = next((ours / "data").iterdir())
    other = shard.with_name("other")
    other.write_bytes(shard.read_bytes()[::-1])
    other.replace(shard)
    for read in (pickle.loads(pickle.dumps(opened)), opened):  # as in a worker that opens the file later
        with pytest.raises(InputError, match="was replaced since it was opened; run the same command again"):
            read.image(0)
