"""WebDataset shards of a table of image paths and captions, read back by the webdataset library."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.errors import InputError
from imagenet_captions.exports.export import export
from imagenet_captions.exports.settings import ExportSettings
from imagenet_captions.flickr.denylist import Denylist
from tests.exports.datasets import files_left_open
from tests.packager.made import image
from tests.storage.conftest import invoke

NAMES = [f"dogs/{number}.jpg" for number in range(7)]


@pytest.fixture(name="pictures")
def _pictures(tmp_path: Path) -> dict[str, bytes]:
    return put(tmp_path, NAMES)


def put(folder: Path, names: Sequence[str]) -> dict[str, bytes]:
    held = {name: image(name) for name in names}
    for name, data in held.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return held


def rows(**columns: Sequence[Any]) -> list[dict[str, Any]]:
    values = {"filepath": NAMES, "title": [f"a dog, {number} 池" for number in range(len(NAMES))], **columns}
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def write(path: Path, table: Sequence[Mapping[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(table)), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table), encoding="utf-8")
    else:
        with path.open("w", encoding="utf-8", newline="") as opened:
            writer = csv.DictWriter(opened, list(table[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(table)
    return path


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """All samples by key, by the webdataset library."""
    wds = pytest.importorskip("webdataset")
    with files_left_open():
        samples = list(wds.WebDataset(sorted(map(str, folder.rglob("*.tar"))), shardshuffle=False))
    found = {sample["__key__"]: sample for sample in samples}
    assert len(found) == len(samples)
    return found


def made(folder: Path, table: Sequence[Mapping[str, Any]], name: str = "t.csv", **settings: Any) -> Any:
    """Export a table; return its samples by key."""
    export(write(folder / name, table), folder / "wds", ExportSettings("webdataset", **settings))
    return read(folder / "wds")


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.parquet", "t.jsonl"])
def test_every_kind_of_table(tmp_path: Path, pictures: dict[str, bytes], name: str) -> None:
    table = rows(label=[4, 4, 0, 1, 2, 3, 4], photographer=list("abcdefg"))
    samples = made(tmp_path, table, name, shard_size=3)
    assert sorted(path.name for path in (tmp_path / "wds").glob("*.tar")) == ["00000.tar", "00001.tar", "00002.tar"]
    assert sorted(samples) == [str(number) for number in range(7)]
    for number, row in enumerate(table):
        sample = samples[str(number)]
        assert sample["jpg"] == pictures[row["filepath"]]
        assert sample["txt"].decode() == row["title"]
        assert sample["cls"].decode() == str(row["label"])
        said = json.loads(sample["json"])
        assert said == ({**row, "label": str(row["label"])} if name[2:] in ("csv", "tsv") else row)
    receipt = json.loads((tmp_path / "wds.json").read_text())
    assert receipt["counts"] == {"rows": 7, "exported": 7}
    assert receipt["command"].startswith("imagenet-captions export TABLE --to webdataset")
    assert receipt["inputs"].keys() == {"table"}


def test_the_same_table_gives_the_same_bytes(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    table = write(tmp_path / "t.csv", rows())
    for out in ("one", "two"):
        export(table, tmp_path / out, ExportSettings("webdataset", shard_size=2, seed=3))
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_table_without_labels_has_no_cls(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    assert {tuple(sorted(sample)) for sample in made(tmp_path, rows()).values()} == {
        ("__key__", "__local_path__", "__url__", "jpg", "json", "txt")
    }


@pytest.mark.parametrize(
    ("columns", "labels"),
    [
        ({"label": ["7.0", "0.0", "", "-1", "nan", "7", "1"]}, ["7", "0", None, None, None, "7", "1"]),
        ({"label": list("cabcabc")}, ["2", "0", "1", "2", "0", "1", "2"]),
        ({"wnid": ["n02", "", *["n01"] * 5]}, ["1", None, *["0"] * 5]),
        ({"class_name": list("bbbbbba"), "label": ["5", *"123456"]}, ["5", "1", "2", "3", "4", "5", "6"]),
    ],
)
def test_labels(
    tmp_path: Path, pictures: dict[str, bytes], columns: dict[str, list[str]], labels: list[str | None]
) -> None:
    samples = made(tmp_path, rows(**columns))
    assert [samples[str(n)]["cls"].decode() if "cls" in samples[str(n)] else None for n in range(7)] == labels


def test_keys_are_names_that_differ_or_else_row_numbers(tmp_path: Path) -> None:
    names = ["n01440764/n01440764_10026.JPEG", "n01440764_7_n01440764.JPEG"]
    put(tmp_path, names)
    assert sorted(made(tmp_path, rows(filepath=names, title=["a", "b"]))) == ["n01440764_10026", "n01440764_7"]
    for odd in (["a/1.jpg", "b/1.jpg"], ["v1.0.jpg", "v1.5.jpg"], ["池.jpg", "b.jpg"], ["a b.jpg", f"{'x' * 99}.jpg"]):
        held = put(tmp_path, odd)
        samples = made(tmp_path, rows(filepath=odd, title=["a", "b"]))
        assert [samples[f"00000000{number}"]["jpg"] for number in range(2)] == list(held.values())
        assert [json.loads(samples[f"00000000{number}"]["json"])["filepath"] for number in range(2)] == odd


def test_one_image_may_have_several_captions(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    samples = made(tmp_path, rows(filepath=[NAMES[0]] * 7))
    assert [sample["jpg"] for sample in samples.values()] == [pictures[NAMES[0]]] * 7
    assert {sample["txt"].decode() for sample in samples.values()} == {row["title"] for row in rows()}
    lists = made(tmp_path, rows(title=[["one", "", "two"]] * 7), "t.parquet")
    assert {sample["txt"] for sample in lists.values()} == {b"one\ntwo"}


def test_every_row_is_counted(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    (tmp_path / "n01440764_5.jpg").write_bytes(pictures[NAMES[0]])
    (tmp_path / NAMES[1]).write_bytes(b"<html>429</html>")
    paths = [*NAMES[:2], "gone.jpg", "dogs", "", "n01440764_5.jpg", "a\0b.jpg"]
    table = rows(filepath=paths, title=[" ", *"bcdefg"])
    deny = Denylist(images=("n01440764_5",))
    with pytest.raises(InputError, match="none of the images can be used"):
        export(write(tmp_path / "t.jsonl", table), tmp_path / "w", ExportSettings("webdataset", deny=deny))
    table += rows()[3:4]
    done = export(write(tmp_path / "t.jsonl", table), tmp_path / "w", ExportSettings("webdataset", deny=deny))
    assert done.counts == {"rows": 8, "denied": 1, "empty": 1, "no_image": 4, "broken_image": 1, "exported": 1}


def test_a_denied_owner_is_left_out(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    deny = Denylist(photos=("12",), owners=("9@n00",))
    assert len(made(tmp_path, rows(owner=["9@N00", *["8@N00"] * 6], photo_id=[11, 12, *[13] * 5]), deny=deny)) == 5


def test_paths_start_at_the_table_or_at_images(
    tmp_path: Path, pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tables").mkdir()
    table = write(tmp_path / "tables" / "t.csv", rows())
    with pytest.raises(InputError, match=r"none of the 7 images .* such as dogs/0.jpg; .* folder with `images`"):
        export(table, tmp_path / "wds", ExportSettings("webdataset"))
    export(table, tmp_path / "wds", ExportSettings("webdataset", images=tmp_path))
    assert len(read(tmp_path / "wds")) == 7
    write(table, rows(filepath=[str(tmp_path / name) for name in NAMES]))
    export(table, tmp_path / "wds", ExportSettings("webdataset"))
    monkeypatch.chdir(tmp_path / "tables")
    write(table, rows(filepath=[f"../{name}" for name in NAMES]))
    export("t.csv", "../wds", ExportSettings("webdataset"))
    assert len(read(tmp_path / "wds")) == 7
    with pytest.raises(InputError, match="is not a folder of them"):
        export(table, tmp_path / "wds", ExportSettings("webdataset", images=tmp_path / NAMES[0]))
    write(table, rows(filepath=["https://a.b/c.jpg"] * 7))
    with pytest.raises(InputError, match=r"such as https://a.b/c.jpg; download them"):
        export(table, tmp_path / "new", ExportSettings("webdataset"))


def test_columns_with_other_names(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    table = [{"img": row["filepath"], "said": row["title"], "kind": "x"} for row in rows()]
    with pytest.raises(InputError, match=r"no column of image paths \(filepath, .*\), but img, said, kind"):
        made(tmp_path, table)
    with pytest.raises(InputError, match="called 'saids'; did you mean said"):
        made(tmp_path, table, columns=["img", "saids"])
    assert not (tmp_path / "wds").exists()
    assert {sample["cls"] for sample in made(tmp_path, table, columns=["img", "said", "kind"]).values()} == {b"0"}
    for wrong in (["img"], ["img", "img"], ["a", "b", "c", "d"]):
        with pytest.raises(InputError, match="are a table's columns of image paths and captions"):
            ExportSettings("webdataset", columns=wrong)


def test_the_json_holds_what_json_can(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    values: dict[str, Any] = {"nan": [float("nan")] * 7, "at": [datetime(2020, 1, 2)] * 7, "raw": [b"\xff"] * 7}
    said = json.loads(made(tmp_path, rows(**values), "t.parquet")["0"]["json"])
    assert said == {**rows()[0], "nan": None, "at": "2020-01-02 00:00:00"}


def test_clip_benchmarks_layout(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    with pytest.raises(InputError, match="`clip_benchmark` needs a name for every class"):
        made(tmp_path, rows(label=list("0001110")), clip_benchmark="test")
    made(tmp_path, rows(class_name=["dog", "cat", *["pug"] * 5]), clip_benchmark="test")
    assert (tmp_path / "wds" / "classnames.txt").read_text() == "cat\ndog\npug\n"
    table = rows(label=[1, 0, 0, 0, 0, 0, 0], wnid=["n01440764", *["n02687172"] * 6])
    made(tmp_path, table, clip_benchmark="test")
    assert (tmp_path / "wds" / "classnames.txt").read_text() == "aircraft carrier\ntench\n"
    assert (tmp_path / "wds" / "test" / "nshards.txt").read_text() == "1\n"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.csv", "filepath,title\n", "holds no rows"),
        ("t.csv", "filepath,title\na.jpg,one, two\n", "1 lines with more fields than its header"),
        ("t.jsonl", '{"filepath": "a.jpg", "title": "a"}\n\n[]\n', "line 3 of .* is not a JSON object"),
        ("t.parquet", "text", "is not a Parquet file"),
        ("t.csv", "filepath,title\na.jpg,\n", "nothing is left to export: of 1 rows 0 are denied and 1 have no"),
    ],
)
def test_a_table_that_cannot_be_read(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        export(tmp_path / name, tmp_path / "wds", ExportSettings("webdataset"))
    assert {path.name for path in tmp_path.iterdir()} == {name}


def test_what_a_table_is_not_for(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    table = write(tmp_path / "t.csv", rows())
    with pytest.raises(InputError, match=r"`to='slim'` needs a dataset, and .* is a table"):
        export(table, tmp_path / "x.csv", ExportSettings("slim"))
    with pytest.raises(InputError, match=r"`caption` makes captions of a dataset's texts"):
        export(table, tmp_path / "x", ExportSettings("webdataset", caption=CaptionTemplate.parse("title")))
    with pytest.raises(InputError, match=r"the table .* does not exist"):
        export(tmp_path / "no.csv", tmp_path / "x", ExportSettings("webdataset"))
    with pytest.raises(InputError, match=r"holds something else than an earlier export"):
        export(table, tmp_path / "dogs", ExportSettings("webdataset"))
    with pytest.raises(InputError, match=r"lies inside the output"):
        export(table, tmp_path, ExportSettings("webdataset"))


def test_a_remote_table(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    store = fsspec.filesystem("memory")
    store.pipe({f"/sets/{name}": data for name, data in pictures.items()})
    store.pipe("/sets/t.csv", write(tmp_path / "t.csv", rows()).read_bytes())
    try:
        export("memory://sets/t.csv", tmp_path / "wds", ExportSettings("webdataset"))
        assert {sample["jpg"] for sample in read(tmp_path / "wds").values()} == set(pictures.values())
        export("memory://sets/t.csv", tmp_path / "here", ExportSettings("webdataset", images=tmp_path))
        same = [(tmp_path / name / "00000.tar").read_bytes() for name in ("wds", "here")]
        assert same[0] == same[1]
        store.pipe("/sets/t.csv", write(tmp_path / "t.csv", rows(filepath=["x.jpg", *NAMES[:6]])).read_bytes())
        done = export("memory://sets/t.csv", tmp_path / "wds", ExportSettings("webdataset"))
        assert done.counts["no_image"] == 1
    finally:
        store.rm("/sets", recursive=True)


def test_what_open_clip_reads_becomes_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line, with a table as open_clip's `--dataset-type csv` reads it by default."""
    put(tmp_path, NAMES)
    write(tmp_path / "train.tsv", rows())
    monkeypatch.chdir(tmp_path)
    assert invoke("export", "train.tsv", "--to", "webdataset", "--out", "wds")[0] == 0
    assert {sample["txt"].decode() for sample in read(Path("wds")).values()} == {row["title"] for row in rows()}
    code, told = invoke("export", "train.tsv", "--to", "webdataset", "--columns", "a,b", "--out", "wds")
    assert (code, told.count("\n")) == (2, 1)
    assert "no column of train.tsv is called 'a'" in told
