"""WebDataset shards, read back by the webdataset library."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.errors import InputError
from imagenet_captions.exports.export import export
from imagenet_captions.exports.settings import ExportSettings
from imagenet_captions.flickr.denylist import Denylist
from imagenet_captions.storage.files import sha256
from tests.exports.datasets import dataset, files_left_open, ids
from tests.packager.made import image, images, tar_of, train_folder

COUNT = 25


@pytest.fixture(name="pictures")
def _pictures(tmp_path: Path) -> dict[str, bytes]:
    """Pictures of all rows; one is a PNG that is called JPEG, as in ImageNet, one is CMYK."""
    held = images(ids(COUNT))
    held[ids(COUNT)[3]] = image(ids(COUNT)[3], "PNG", "RGBA")
    held[ids(COUNT)[4]] = image(ids(COUNT)[4], "JPEG", "CMYK")
    train_folder(tmp_path / "pictures", held)
    return held


def captions() -> list[str]:
    return [f"caption {number} 池" for number in range(COUNT)]


def read(folder: Path) -> list[dict[str, Any]]:
    """All samples, by the webdataset library."""
    wds = pytest.importorskip("webdataset")
    tars = sorted(str(path) for path in folder.glob("*.tar"))
    with files_left_open():
        return list(wds.WebDataset(tars, shardshuffle=False))


def test_samples_are_what_the_dataset_holds(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    columns = {"title": ["A title"] * COUNT, "tags": [["new york", "b"]] * COUNT, "photo_id": list("x" * COUNT)}
    made = dataset(tmp_path, captions(), columns=columns)
    exported = export(made, tmp_path / "wds", ExportSettings("webdataset", tmp_path / "pictures", shard_size=10))
    assert exported.counts == {"rows": COUNT, "exported": COUNT}
    samples = {sample["__key__"]: sample for sample in read(tmp_path / "wds")}
    assert sorted(samples) == ids(COUNT)
    for number, image_id in enumerate(ids(COUNT)):
        sample = {name: data for name, data in samples[image_id].items() if name[0] != "_" and name != "json"}
        ending = "png" if number == 3 else "jpg"
        assert sample == {ending: pictures[image_id], "txt": captions()[number].encode(), "cls": b"0"}
    facts = json.loads(samples[ids(1)[0]]["json"])
    known = {
        "title": "A title", "tags": ["new york", "b"], "caption": captions()[0], "class_name": "tench", "license": 4,
        "license_name": "CC BY 2.0", "retrieved_at": "2023-11-14T22:13:20+00:00", "filename": f"{ids(1)[0]}.JPEG",
    }  # fmt: skip
    assert {name: facts[name] for name in known} == known


def test_shards_sizes_and_the_order_of_the_seed(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    made = dataset(tmp_path, captions(), images=tmp_path / "pictures")
    orders = []
    for seed in (None, 0, 1):
        out = tmp_path / f"wds{seed}"
        export(made, out, ExportSettings("webdataset", seed=seed, shard_size=10))
        assert json.loads((out / "sizes.json").read_text()) == {"00000.tar": 10, "00001.tar": 10, "00002.tar": 5}
        receipt = json.loads((tmp_path / f"wds{seed}.json").read_text())
        digests = {name: entry["sha256"] for name, entry in receipt["files"].items()}
        assert digests == {path.name: sha256(path) for path in out.iterdir()}
        orders.append([sample["__key__"] for sample in read(out)])
    assert orders[0] == orders[1] != orders[2]
    assert all(Counter(order) == Counter(ids(COUNT)) for order in orders)
    # The order that a seed stands for is the same for ever.
    assert orders[0][:3] == ["n01440764_000008", "n01440764_000004", "n01440764_000020"]


def test_several_captions_of_an_image_are_lines_and_a_list(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    columns = {"title": ["", *["A title"] * (COUNT - 1)], "tags": [[], *[["b", "c"]] * (COUNT - 1)]}
    made = dataset(tmp_path, captions(), columns=columns, images=tmp_path / "pictures")
    template = CaptionTemplate.parse("title tags captions=list empty=keep")
    export(made, tmp_path / "wds", ExportSettings("webdataset", caption=template))
    found = {sample["__key__"]: sample for sample in read(tmp_path / "wds")}
    assert len(found) == COUNT
    for image_id, texts in ((ids(1)[0], []), (ids(2)[1], ["A title", "b c"])):
        assert found[image_id]["txt"].decode() == "\n".join(texts)
        assert json.loads(found[image_id]["json"])["caption"] == texts


def test_clip_benchmarks_layout_has_the_same_shards(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    made = dataset(tmp_path, captions(), images=tmp_path / "pictures")
    export(made, tmp_path / "wds", ExportSettings("webdataset", shard_size=10))
    for _ in range(2):  # the second replaces the first
        export(made, tmp_path / "bench", ExportSettings("webdataset", shard_size=10, clip_benchmark="test"))
    split = tmp_path / "bench" / "test"
    for number in range(3):
        assert (split / f"{number}.tar").read_bytes() == (tmp_path / "wds" / f"{number:05d}.tar").read_bytes()
    assert (split / "nshards.txt").read_text() == "3\n"
    assert json.loads((split / "sizes.json").read_text()) == {"0.tar": 10, "1.tar": 10, "2.tar": 5}
    names = (tmp_path / "bench" / "classnames.txt").read_text(encoding="utf-8").splitlines()
    assert (len(names), names[0], names[850]) == (1000, "tench", "teddy bear")
    sentences = (tmp_path / "bench" / "zeroshot_classification_templates.txt").read_text().splitlines()
    assert (len(sentences), sentences[0].format(c="tench")) == (80, "a bad photo of a tench.")
    files = json.loads((tmp_path / "bench.json").read_text())["files"]
    assert set(files) == {path.relative_to(tmp_path / "bench").as_posix() for path in split.parent.rglob("*.*")}


def test_own_images_and_those_of_a_folder_or_tar_give_the_same(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    with_images = dataset(tmp_path / "a", captions(), images=tmp_path / "pictures")
    without = dataset(tmp_path / "b", captions())
    (tmp_path / "images.tar").write_bytes(tar_of({f"{key}.JPEG": data for key, data in pictures.items()}))
    settings = ExportSettings("webdataset", shard_size=10)
    export(with_images, tmp_path / "own", settings)
    for source in ("pictures", "images.tar"):
        export(without, tmp_path / "other", ExportSettings("webdataset", tmp_path / source, shard_size=10))
        for path in (tmp_path / "own").iterdir():
            assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()


def test_rows_without_caption_or_image_have_no_sample(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    folder = tmp_path / "pictures" / "Data/CLS-LOC/train" / "n01440764"
    (folder / f"{ids(COUNT)[0]}.JPEG").unlink()
    (folder / f"{ids(COUNT)[1]}.JPEG").write_bytes(b"\xff\xd8\xff" + bytes(20))
    (folder / f"{ids(COUNT)[2]}.JPEG").write_bytes(image("x", "GIF", "L"))
    texts = captions()
    texts[5] = " "
    made = dataset(tmp_path, texts)
    deny = Denylist(images=(ids(COUNT)[6],))
    exported = export(made, tmp_path / "wds", ExportSettings("webdataset", tmp_path / "pictures", deny=deny))
    left_out = {"denied": 1, "empty": 1, "no_image": 1, "broken_image": 2}
    assert exported.counts == {"rows": COUNT, **left_out, "exported": COUNT - 5}
    assert json.loads((tmp_path / "wds/sizes.json").read_text()) == {"00000.tar": COUNT - 5}
    assert not {ids(COUNT)[i] for i in (0, 1, 2, 5, 6)} & {sample["__key__"] for sample in read(tmp_path / "wds")}


def test_a_dataset_without_images_needs_them(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    made = dataset(tmp_path, captions())
    with pytest.raises(InputError, match="say where they lie with `images`"):
        export(made, tmp_path / "wds", ExportSettings("webdataset"))
    train_folder(tmp_path / "others", images(["n02687172_17"]))
    with pytest.raises(InputError, match="none of the 25 rows' images"):
        export(made, tmp_path / "wds", ExportSettings("webdataset", tmp_path / "others"))
    assert not (tmp_path / "wds").exists()
