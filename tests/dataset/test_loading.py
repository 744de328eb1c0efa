"""Opening a dataset, and every condition against the same question in plain Python, through each of its readers."""

from __future__ import annotations

import pickle
import random
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as pads
import pytest

import imagenet_captions as ic
from imagenet_captions.dataset import loading
from imagenet_captions.errors import InputError
from imagenet_captions.flickr.photos import LICENSES, resolve_license
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.classes import list_names, read_list
from tests.command_line import invoke
from tests.dataset.made import TAGS, WNIDS, make_dataset, rows


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


Row = dict[str, Any]
ROWS = rows()


def split_hash(image_id: str) -> int:
    """The hash of an image id, below 2^32; ids with a hash below fraction · 2^32 are `val`."""
    mixed = (int(image_id[1:9]) * 10**9 + int(image_id[10:])) * 0x9E3779B97F4A7C15 % 2**64
    return ((mixed ^ mixed >> 32) * 0xD6E8FEB86659FD93 % 2**64) >> 32


def any_tag(regex: str) -> Callable[[Row], bool]:
    return lambda row: any(re.search(regex, tag) for tag in row["tags"])


CASES: dict[str, tuple[Callable[[], pc.Expression], Callable[[Row], bool]]] = {
    "a class": (lambda: ic.in_class("tench"), lambda r: r["wnid"] == "n01440764"),
    "two classes": (lambda: ic.in_class("tench", 999), lambda r: r["wnid"] in ("n01440764", "n15075141")),
    "an ancestor": (lambda: ic.in_class("dog"), lambda r: r["wnid"] in ("n02099601", "n02113799")),
    "no such rows": (lambda: ic.in_class("teddy bear"), lambda r: False),
    "a list": (lambda: ic.in_list("imagenette"), lambda r: r["wnid"] in ("n01440764", "n03000684")),
    "has a title": (lambda: ic.has("title"), lambda r: r["title"] != ""),
    "has tags": (lambda: ic.has("tags"), lambda r: bool(r["tags"])),
    "has a license": (lambda: ic.has("license"), lambda r: r["license"] is not None),
    "has an owner name": (lambda: ic.has("owner_name"), lambda r: False),
    "contains": (lambda: ic.contains("title", "dog"), lambda r: "dog" in r["title"].lower()),
    "contains, case": (lambda: ic.contains("title", "dog", ignore_case=False), lambda r: "dog" in r["title"]),
    "contains é": (lambda: ic.contains("title", "CAFÉ"), lambda r: "café" in r["title"].lower()),
    "contains no pattern": (lambda: ic.contains("title", "5.00 ("), lambda r: "5.00 (" in r["title"]),
    "contains in tags": (lambda: ic.contains("tags", "dog"), lambda r: any("dog" in t for t in r["tags"])),
    "contains over two tags": (lambda: ic.contains("tags", "new\nyork"), lambda r: False),
    "contains in one tag": (lambda: ic.contains("tags", "W YORK"), lambda r: "new york" in r["tags"]),
    "matches": (lambda: ic.matches("title", "^A.*beach$"), lambda r: bool(re.search("^A.*beach$", r["title"]))),
    "matches, any case": (lambda: ic.matches("title", "(?i)dog"), lambda r: "dog" in r["title"].lower()),
    "matches a tag": (lambda: ic.matches("tags", "^dogs?$"), any_tag("^dogs?$")),
    "matches no two tags": (lambda: ic.matches("tags", "new.?york"), any_tag("new.?york")),
    "matches a class in a tag": (lambda: ic.matches("tags", r"[a-c]\|"), any_tag(r"[a-c]\|")),
    "languages": (lambda: ic.language("en", "und"), lambda r: r["language"] in ("en", "und")),
    "licenses": (lambda: ic.license_in("by", 9), lambda r: r["license"] in (4, 11, 9)),
    "names its class": (lambda: ic.names_class(), lambda r: r["names_class"]),
    "names a class": (lambda: ic.names_class(5), lambda r: " 5 " in r["mentions"]),
    "names a dog": (lambda: ic.names_class("dog"), lambda r: any(f" {i} " in r["mentions"] for i in range(151, 269))),
    "val": (lambda: ic.in_split("val", 0.3), lambda r: split_hash(r["image_id"]) < round(0.3 * 2**32)),
    "train": (lambda: ic.in_split("train", 0.3), lambda r: split_hash(r["image_id"]) >= round(0.3 * 2**32)),
    "and": (lambda: ic.in_class("dog") & ic.contains("title", "dog"),
            lambda r: r["wnid"] in WNIDS[1:3] and "dog" in r["title"].lower()),
    "or": (lambda: ic.language("de") | ic.has("license"), lambda r: r["language"] == "de" or r["license"] is not None),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_condition_and_its_opposite(text_dataset: Path, name: str) -> None:
    condition, wanted = CASES[name][0](), CASES[name][1]
    expected = [row["image_id"] for row in ROWS if wanted(row)]
    assert bool(expected) == (name not in ("no such rows", "has an owner name", "contains over two tags"))
    others = [row["image_id"] for row in ROWS if not wanted(row)]
    for asked, answer in ((condition, expected), (~condition, others)):
        assert list(ic.load(text_dataset, asked)["image_id"]) == answer
        assert pads.dataset(text_dataset / "data").to_table(filter=asked)["image_id"].to_pylist() == answer
    assert pickle.loads(pickle.dumps(condition)).equals(condition)


def test_the_same_object_goes_to_load_dataset(text_dataset: Path, tmp_path: Path) -> None:
    import datasets
    from datasets.packaged_modules.parquet.parquet import ParquetConfig

    if not hasattr(ParquetConfig, "filters"):
        pytest.skip("this version of datasets has no filters=")
    condition, wanted = CASES["matches a tag"][0](), CASES["matches a tag"][1]
    files = sorted(map(str, (text_dataset / "data").iterdir()))
    loaded = datasets.Dataset.from_parquet(files, filters=condition, cache_dir=str(tmp_path))
    assert list(loaded["image_id"]) == [row["image_id"] for row in ROWS if wanted(row)]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: ic.in_class("dgo"), "no class is called 'dgo'; did you mean"),
        (lambda: ic.in_class(), "needs a class"),
        (lambda: ic.in_list("imagenet-100"), "several lists are called 'imagenet-100'.*imagenet-100-captionnet"),
        (lambda: ic.in_list("imagenet-z"), "'imagenet-z' is neither a class list nor a file.*imagenet-a"),
        (lambda: ic.has("subtitle"), "the field must be one of .*, not 'subtitle'"),
        (lambda: ic.contains("wnid", "x"), "'wnid' is not a text field"),
        (lambda: ic.contains("title", ""), "every title contains the empty text"),
        (lambda: ic.matches("title", "(?<=a)b"), "invalid perl operator: \\(\\?<"),
        (lambda: ic.matches("tags", r"new\s+york"), "across two tags"),
        (lambda: ic.language("English"), "'English' is not a language code"),
        (lambda: ic.license_in("bye"), "'bye' is not a license"),
        (lambda: ic.in_split("test"), "the split must be train or val, not 'test'"),
        (lambda: ic.in_split("val", 1.0), "such as 0.1, not 1.0"),
        (lambda: ic.contains("x" * 10_000, "x"), "'x{79}…' is not a text field"),
    ],
)
def test_what_cannot_be_asked(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ic.InputError, match=sentence) as raised:
        make()
    assert len(str(raised.value)) < 1500


def test_no_pattern_that_is_let_through_finds_more_than_a_single_tag_has(text_dataset: Path) -> None:
    """Patterns made of random pieces: either refused, or equal to asking each tag on its own."""
    random_ = random.Random(0)
    pieces = [*r"new|\ |.|york|do|g|.*|[a-z]+|\S|\w*|^|$|\b|?|[^x]|\s|(?i)|\W|(?:dog)|\.|[ -~]".split("|"), "|", " "]
    tables = pads.dataset(text_dataset / "data").to_table(columns=["image_id", "tags"])
    passed = 0
    for _ in range(400):
        regex = "".join(random_.choices(pieces, k=random_.randrange(1, 5)))
        try:
            condition = ic.matches("tags", regex)
        except ic.InputError:
            continue
        passed += 1
        alone = {tag: bool(pc.match_substring_regex([tag], regex)[0].as_py()) for tags in TAGS for tag in tags}
        expected = [row["image_id"] for row in tables.to_pylist() if any(alone[tag] for tag in row["tags"])]
        assert tables.filter(condition)["image_id"].to_pylist() == expected, regex
    assert passed > 100


def test_the_lists() -> None:
    lists = {name: read_list(name) for name in list_names()}
    assert {name: len(wnids) for name, wnids in lists.items()} == {
        **dict.fromkeys(("imagenet-a", "imagenet-r", "imagenet-o"), 200), "objectnet": 125,
        **dict.fromkeys(("imagenette", "imagewoof"), 10),
        **{f"imagenet-100-{name}": 100 for name in ("cmc", "captionnet", "clip-beyond-tail")},
    }  # fmt: skip
    for wnids in lists.values():
        assert list(wnids) == sorted(set(wnids))
        assert all(map(classes.is_class, wnids))
    # As vlhub's notebook has them by index: 107 jellyfish is in A and R; FACTS of clip-beyond-tail: 15, 45, 54, 57, 64.
    assert classes.wnids()[107] in set(lists["imagenet-a"]) & set(lists["imagenet-r"])
    first = [classes.index_of(wnid) for wnid in lists["imagenet-100-clip-beyond-tail"]][:5]
    assert first == [15, 45, 54, 57, 64]


def test_a_list_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "my classes.txt"
    path.write_bytes("\ufeff# mine\nn01440764 tench, Tinca tinca\r\ngolden retriever\n\n999\n".encode())
    assert read_list(path) == ("n01440764", "n02099601", "n15075141")
    for content, sentence in (
        (b"goldfish\ndgo\n", "line 2: no class is called"),
        (b"# none\n", "has no class"),
        (b"\xff\xfe\x00", "not a text file"),
    ):
        path.write_bytes(content)
        with pytest.raises(ic.InputError, match=sentence):
            read_list(path)


def test_licenses() -> None:
    assert [entry.id for entry in LICENSES] == list(range(17))
    assert [resolve_license(entry.short_name) for entry in LICENSES] == [(number,) for number in range(17)]
    assert [resolve_license(entry.name) for entry in LICENSES] == [(number,) for number in range(17)]
    assert resolve_license("cc-by-nc-sa") == (1, 15)
