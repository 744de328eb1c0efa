"""Opening a dataset: what comes back, what is read, what is refused, and what importing the package costs."""

from __future__ import annotations

import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

import imagenet_captions as ic
from imagenet_captions.dataset import loading
from imagenet_captions.errors import InputError
from tests.command_line import invoke
from tests.dataset.made import make_dataset, rows


def reference(dataset: Path, cache: Path) -> Any:
    import datasets

    files = sorted(map(str, (dataset / "data").iterdir()))
    return datasets.Dataset.from_parquet(files, cache_dir=str(cache))


def test_everything_as_load_dataset_gives_it(image_dataset: Path, tmp_path: Path) -> None:
    expected = reference(image_dataset, tmp_path)
    loaded = ic.load(image_dataset)
    assert loaded.features == expected.features
    assert loaded.split == "train"
    for one, other in zip(loaded, expected, strict=True):
        one_image, other_image = one.pop("image"), other.pop("image")
        assert one == other
        assert (one_image is None) == (other_image is None)
        assert one_image is None or one_image.tobytes() == other_image.tobytes()
    assert sum(row["image"] is None for row in loaded) == 10


def test_streaming_gives_the_same_rows(image_dataset: Path) -> None:
    condition = ic.in_class("dog") & ~ic.contains("title", "beach")
    streamed = ic.load(image_dataset, condition, streaming=True)
    loaded = ic.load(image_dataset, condition)
    assert streamed.features == loaded.features
    plain = list(streamed.remove_columns("image"))
    assert plain == loaded.remove_columns("image").to_list()
    assert next(iter(streamed.filter(lambda row: row["image"] is not None)))["image"].size[1] == 20


def test_what_is_too_large_for_memory_goes_through_the_cache(
    image_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    condition = ic.in_class("dog") & ic.has("title")
    small = ic.load(image_dataset, condition)
    assert not small.cache_files
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(loading, "LARGEST_IN_MEMORY", 1000)
    large = ic.load(image_dataset, condition)
    assert large.cache_files
    assert large.features == small.features
    assert large.remove_columns("image").to_list() == small.remove_columns("image").to_list()
    assert ic.load(image_dataset, ic.in_class("teddy bear")).cache_files == [], "no row group can have any of it"


def test_columns_and_the_raw_config(text_dataset: Path) -> None:
    some = ic.load(text_dataset, filters=ic.in_class("tench"), columns=["label", "tags"], split="train")
    assert some.column_names == ["label", "tags"]
    fingerprints = [ic.load(text_dataset, ic.in_class(name))._fingerprint for name in ("dog", "dog", "goldfish")]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]
    assert some.features["label"].names[:1] == ["n01440764"]
    raw = ic.load(text_dataset, ic.contains("title", "dog"), config="raw")
    assert raw[0]["title"].startswith("<")
    assert "caption" not in raw.column_names


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"config": "cooked"}, "`config` must be default or raw, not 'cooked'"),
        ({"columns": ["label", "subtitle"]}, "no column 'subtitle'; it has image_id"),
        ({"columns": "title"}, r"`columns` must be a list of names, such as \['title'\], not 'title'"),
        ({"split": "val"}, "`split` must be train, which has all rows, not 'val'; filter by `in_split`"),
        ({"filters": ic.has("image")}, "does not fit .*whose columns are image_id.*image"),
        ({"filters": ic.has("image"), "streaming": True}, "does not fit"),
        ({"filters": ic.contains("caption", "x"), "config": "raw"}, "does not fit .*caption"),
    ],
)
def test_what_the_dataset_does_not_have(text_dataset: Path, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ic.InputError, match=sentence):
        ic.load(text_dataset, **arguments)


def test_what_is_no_dataset(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere", "user/dataset"):
        with pytest.raises(ic.InputError, match=r"made by `imagenet-captions package`|does not exist"):
            ic.load(path)
    dataset = make_dataset(tmp_path, rows(1))
    next((dataset / "data").iterdir()).write_bytes(b"PAR1 and no more")
    with pytest.raises(ic.InputError, match="damaged"):
        ic.load(dataset)


def test_a_shard_that_did_not_arrive_whole_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the first one, whose schema every reader looks at anyway."""
    monkeypatch.setattr("imagenet_captions.dataset.writing.SMALL_SHARD", 300)
    monkeypatch.setattr("imagenet_captions.packager.package.TEXT_ROWS", 1)
    dataset = make_dataset(tmp_path, rows(20))
    last = sorted((dataset / "data").iterdir())[-1]
    last.write_bytes(last.read_bytes()[:-100])
    sentence = f"data/{last.name} is not there whole; copy or package it again"
    with pytest.raises(InputError, match=sentence):
        ic.load(dataset)
    code, told = invoke("stats", dataset)
    assert (code, told.count("\n"), sentence in told) == (2, 1, True)


def test_importing_is_cheap_and_loading_asks_nobody(text_dataset: Path) -> None:
    script = f"""
import socket, sys
before = set(sys.modules)
import imagenet_captions as ic
new = {{name.split(".")[0] for name in set(sys.modules) - before}}
assert new - set(sys.stdlib_module_names) == {{"imagenet_captions"}}, new
assert not new & {{"asyncio", "multiprocessing", "http", "json", "email", "dataclasses", "inspect", "logging"}}, new
condition = ic.in_class("tench") & ic.in_split("train")
assert "datasets" not in sys.modules
def refuse(*args, **kwargs):
    raise SystemExit("the network was asked")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
whole = len(ic.load({str(text_dataset)!r}, condition))
assert whole == sum(1 for _ in ic.load({str(text_dataset)!r}, condition, streaming=True)) > 0
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_workers_share_the_shards_of_a_stream(image_dataset: Path, tmp_path: Path) -> None:
    ic.filter(image_dataset, ic.FilterSettings(shuffle=0, shards=4), out=tmp_path / "shuffled")
    stream = ic.load(tmp_path / "shuffled", streaming=True)
    assert stream.n_shards == 4
    parts = [[row["image_id"] for row in stream.shard(num_shards=3, index=at)] for at in range(3)]
    assert all(parts)
    whole = [row["image_id"] for row in stream]
    assert sorted(chain.from_iterable(parts)) == sorted(whole)
