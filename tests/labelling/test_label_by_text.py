"""Labelled tables from every form of caption table, and how well they fit the truth."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imagenet_captions.dataset.sampling import sampling_key
from imagenet_captions.demo.run import SAMPLE
from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.testsets import open_test_set
from imagenet_captions.imagenet import classes
from imagenet_captions.labelling.label import label_by_text
from imagenet_captions.labelling.settings import LabelSettings, Mode
from tests.command_line import blocks, invoke, run_lines, succeed
from tests.packager.made import tar_of
from tests.sources.made_yfcc import row as photo
from tests.sources.made_yfcc import write

TENCH, GOLDFISH, CRANE = "n01440764", "n01443537", "n02012849"
# caption, true wnid
ROWS = [
    ("A tench", TENCH),  # right
    ("goldfish in a bowl", TENCH),  # wrong
    ("a tench and a goldfish", TENCH),  # two
    ("nothing at all", TENCH),  # none
    ("Tinca tinca", TENCH),  # right, by a lemma
    ("goldfish", GOLDFISH),  # right
    ("a crane", CRANE),  # two classes have the name
    ("tench", "n02084071"),  # its class is none of the 1000
]


def write_parquet(path: Path, rows: Sequence[tuple[str, str | None]], **columns: Any) -> Path:
    own = {"key": list(range(len(rows))), "caption": [row[0] for row in rows], "wnid": [row[1] for row in rows]}
    pq.write_table(pa.table({**own, **columns}), path, row_group_size=3)
    return path


def label(table: Path, mode: Mode = Mode.SINGLE, **more: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The labeled rows, and the report."""
    out = table.with_name("out.parquet")
    report = label_by_text(table, out, LabelSettings(mode=mode, **{"workers": 1, **more}), overwrite=True)
    written = json.loads(out.with_suffix(".report.json").read_text(encoding="utf-8"))
    assert written == {"format": "imagenet-captions label report", **report.as_dict()}
    return pq.read_table(out).to_pylist(), report.as_dict()


def test_single(tmp_path: Path) -> None:
    rows, report = label(write_parquet(tmp_path / "t.parquet", [*ROWS, ("tench", None)]))
    assert [(row["key"], row["label"], row["wnid"], row["true_wnid"]) for row in rows] == [
        (0, 0, TENCH, TENCH),
        (1, 1, GOLDFISH, TENCH),
        (4, 0, TENCH, TENCH),
        (5, 1, GOLDFISH, GOLDFISH),
        (7, 0, TENCH, "n02084071"),
        (8, 0, TENCH, None),
    ]
    assert list(rows[0]) == ["key", "caption", "true_wnid", "label", "wnid", "class_name"]
    assert rows[0]["class_name"] == "tench"
    assert report == {
        "settings": {"mode": "single", "text": ["caption"], "case_sensitive": False}, "skipped": {},
        "rows": 9, "labelled": 6, "named_none": 1, "named_one": 6, "named_several": 2,
        "known_class": 7, "right": 3, "wrong": 1, "precision": 0.75, "recall": round(3 / 7, 6),
    }  # fmt: skip
    with (tmp_path / "out.report.tsv").open(encoding="utf-8", newline="") as opened:
        found = {row["wnid"]: row for row in csv.DictReader(opened, delimiter="\t")}
    assert len(found) == 1000
    assert found[TENCH] == {
        "label": "0", "wnid": TENCH, "class_name": "tench", "given": "4", "known_class": "5", "right": "2",
        "wrong": "0", "precision": "1.0", "recall": "0.4",
    }  # fmt: skip
    assert found[GOLDFISH]["precision"] == "0.5"
    assert (found[CRANE]["precision"], found[CRANE]["recall"]) == ("", "0.0")
    assert sum(int(row["right"]) for row in found.values()) == 3


def test_a_test_set_is_balanced_disjoint_and_has_its_images(tmp_path: Path) -> None:
    """Rows with one class, two a class by a hash of the id, none of those listed; the wrong ones are counted."""
    names = [("tench", TENCH), ("goldfish", GOLDFISH), ("tench and goldfish", TENCH), ("tench", GOLDFISH)]
    rows = [names[at % 4] for at in range(40)]
    ids = [f"n01440764_{at}" for at in range(40)]
    images = [{"bytes": os.urandom(9), "path": f"{at}.jpg"} for at in range(40)]
    written = [f"train/{each}.JPEG" if at < 20 else each for at, each in enumerate(ids)]
    table = write_parquet(tmp_path / "t.parquet", rows, image_id=written, image=images)
    (tmp_path / "ids.txt").write_text("\ufeff" + "".join(f"{each}.jpg\n" for each in ids[:20]))
    found, report = label(table, per_class=2, without=tmp_path / "ids.txt", seed=3)
    order = sorted(range(20, 40), key=lambda at: sampling_key(ids[at], 3))
    says = {0: [at for at in order if at % 4 in (0, 3)][:2], 1: [at for at in order if at % 4 == 1][:2]}
    assert [(row["key"], row["label"]) for row in found] == sorted((at, name) for name in says for at in says[name])
    assert [row["image"] for row in found] == [images[row["key"]] for row in found]
    assert report["skipped"] == {"in the list of ids": 20}
    wrong = sum(at % 4 == 3 for at in says[0])
    assert report["test_set"] == {
        "per_class": 2, "seed": 3, "rows": 4, "classes": 2, "short_classes": 0, "known_class": 4,
        "label_noise": wrong / 4,
    }  # fmt: skip
    opened = open_test_set("ours", tmp_path / "out.parquet", tmp_path)
    assert opened.answers == classes.wnids()
    assert [opened.images.image(row) for row in range(4)] == [row["image"]["bytes"] for row in found]
    assert label(table, per_class=100)[1]["test_set"]["short_classes"] == 2


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"mode": Mode.MULTI, "per_class": 2}, "a test set needs one label a row"),
        ({"per_class": 2}, "no row names exactly one class"),
        ({"seed": 1}, "`seed` .*`per_class`"),
        ({"without": Path(__file__)}, "`without` needs a column of ids, called image_id, "),
    ],
)
def test_a_test_set_that_cannot_be_made(tmp_path: Path, given: dict[str, Any], sentence: str) -> None:
    pq.write_table(pa.table({"text": ["nothing"]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=sentence):
        label(tmp_path / "t.parquet", **given)


def test_multi_and_strict(tmp_path: Path) -> None:
    table = write_parquet(tmp_path / "t.parquet", ROWS)
    rows, report = label(table, Mode.MULTI)
    assert [row["labels"] for row in rows] == [[0], [1], [0, 1], [0], [1], [134, 517], [0]]
    assert rows[5]["wnids"] == [CRANE, "n03126707"]
    assert rows[5]["class_names"] == ["crane bird", "construction crane"]
    assert rows[0]["wnid"] == TENCH  # the true one, since nothing of that name is added
    assert (report["right"], report["wrong"], report["precision"]) == (5, 3, 0.625)
    rows, report = label(table, Mode.STRICT)
    assert [row["key"] for row in rows] == [0, 1, 5, 7]
    assert report["named_none"] == 3


@pytest.mark.parametrize(
    ("truth", "known", "precision"),
    [
        ({}, 0, None),
        ({"label": pa.array([0, 1, 5000, -1, None], pa.int64())}, 2, 0.5),
        ({"label": ["0", "1", "fish", "", None]}, 2, 0.5),
        ({"label": [0.5, 1.0, None, None, None]}, 0, None),
    ],
)
def test_the_true_class(tmp_path: Path, truth: dict[str, Any], known: int, precision: float | None) -> None:
    pq.write_table(pa.table({"text": ["tench"] * 5, **truth}), tmp_path / "t.parquet")
    rows, report = label(tmp_path / "t.parquet")
    assert [row["label"] for row in rows] == [0] * 5
    assert all([row["true_label"] for row in rows] == pa.array(values).to_pylist() for values in truth.values())
    assert (report["known_class"], report["precision"]) == (known, precision)


def test_case_and_the_columns_that_are_looked_at(tmp_path: Path) -> None:
    table = write_parquet(tmp_path / "t.parquet", [("Great Dane", None), ("great dane", None)])
    assert [row["key"] for row in label(table, case_sensitive=True)[0]] == [0]
    table = write_parquet(tmp_path / "t.parquet", [("tench", None)], title=["goldfish"], tags=[["lynx", "tench"]])
    for texts, labels in (((), [0, 1, 287]), (("caption",), [0]), (("tags", "title"), [0, 1, 287])):
        assert label(table, Mode.MULTI, texts=texts)[0][0]["labels"] == labels


def test_the_same_with_any_number_of_workers(tmp_path: Path) -> None:
    table, written = write_parquet(tmp_path / "t.parquet", ROWS * 1500), []
    for workers in (1, 2):
        out = tmp_path / f"{workers}" / "out.tsv"
        label_by_text(table, out, LabelSettings(mode=Mode.MULTI, workers=workers))
        written.append({path.name: path.read_bytes() for path in out.parent.iterdir()})
    assert written[0] == written[1]
    assert set(written[0]) == {"out.tsv", "out.report.json", "out.report.tsv"}


def test_texts_stored_in_other_ways_and_in_several_files(tmp_path: Path) -> None:
    folder = tmp_path / "set" / "data"
    folder.mkdir(parents=True)
    titles = pa.array(["tench", None]).dictionary_encode()
    tags = pa.array([["x"], ["goldfish"]], pa.large_list(pa.large_string()))
    table = pa.table({"title": titles, "tags": tags, "image": [b"1", b"2"]})
    for number in (1, 0):
        pq.write_table(table[number : number + 1], folder / f"train-{number}.parquet")
    rows, _ = label(tmp_path / "set")
    assert rows[0] == {"title": "tench", "tags": ["x"], "label": 0, "wnid": TENCH, "class_name": "tench"}
    assert [(row["title"], row["tags"], row["label"]) for row in rows[1:]] == [(None, ["goldfish"], 1)]
    pq.write_table(pa.table({"other": [1]}), folder / "train-2.parquet")
    with pytest.raises(InputError, match="other columns"):
        label(tmp_path / "set")


TABS = """filepath\ttitle
a.jpg\t"A tench, ""big""\"
b.jpg\tno\0thing
c.jpg
e.jpg\t1\t2

d.jpg\t"gold\nfish, goldfish"
"""


@pytest.mark.parametrize(
    ("name", "content"),
    [("c.csv", TABS), ("c.tsv", "\ufeff" + TABS.replace("\n", "\r\n").replace("gold\r", "gold"))],
    ids=["open_clip", "mark and other line ends"],
)
def test_separated_files(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    rows, report = label(tmp_path / name)
    assert [tuple(row.values())[:3] for row in rows] == [
        ("a.jpg", 'A tench, "big"', 0),
        ("d.jpg", "gold\nfish, goldfish", 1),
    ]
    assert (report["rows"], report["skipped"]) == (4, {"more fields than the header": 1})


def test_a_labelled_table_as_text(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "t.parquet", [('a\ttench\r\nand a "goldfish"', TENCH)])
    label_by_text(path, tmp_path / "out.tsv", LabelSettings(mode=Mode.MULTI, workers=1))
    with (tmp_path / "out.tsv").open(encoding="utf-8", newline="") as opened:
        assert list(csv.reader(opened, delimiter="\t")) == [
            ["key", "caption", "wnid", "labels", "wnids", "class_names"],
            ["0", 'a tench  and a "goldfish"', TENCH, "0|1", f"{TENCH}|{GOLDFISH}", "tench|goldfish"],
        ]


def test_webdataset_tars(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    said = {"title": "goldfish", "tags": ["lynx", 5], "wnid": GOLDFISH, "width": 3, "caption": None}
    first = {
        "a/0.jpg": b"\xff" * 700,
        "a/0.txt": b"A tench",
        "a/0.cls": b"0",
        "a/0.json": b'{"label": 7}',
        "b/0.TXT": b"caf\xe9 goldfish",
    }
    second = {"1.json": json.dumps(said).encode(), "1.txt": b"nothing", "2.json": b"[", "3.jpg": b"x", "4.cls": b"1"}
    for name, members in (("00000.tar", first), ("00001.tar", second)):
        (folder / name).write_bytes(tar_of(members))
    rows, report = label(folder, Mode.MULTI)
    assert [(row["__key__"], row["__tar__"], row["labels"]) for row in rows] == [
        ("a/0", "00000.tar", [0]),
        ("b/0", "00000.tar", [1]),
        ("1", "00001.tar", [1, 287]),
    ]
    assert (rows[0]["label"], rows[2]["tags"]) == (0, ["lynx", "5"])
    assert report["skipped"] == {"a .json that is not a JSON object": 1, "a sample without text": 2}
    assert report["known_class"] == 1  # by wnid; where some samples have one, the others' class is not known


@pytest.mark.parametrize("form", ["old", "bz2", "gz"])
def test_yfcc_metadata(tmp_path: Path, form: str) -> None:
    tench = photo("50", "A tench + 1%", tags="", owner_name="Some Body", description="<b>a & b</b>")
    others = [photo("52", "tench", marker="1"), photo("53", "nothing", tags="")]
    path = write(tmp_path, form, [tench, photo("51", "", tags="gold fish,goldfish,café"), *others])
    with path.open("ab") as opened:
        opened.write({"bz2": bz2.compress, "gz": gzip.compress}.get(form, bytes)(b"half a line\t\n"))
    rows, report = label(path)
    assert [(row["photo_id"], row["title"], row["tags"], row["label"]) for row in rows] == [
        ("50", "A tench + 1%", [], 0),
        ("51", "", ["gold fish", "goldfish", "café"], 1),
    ]
    assert (rows[0]["owner_name"], rows[0]["description"]) == ("Some Body", "<b>a & b</b>")
    assert report["skipped"] == {"a video": 1, "not a line of 25 or 23 fields": 1}


@pytest.mark.parametrize(
    ("table", "out", "more", "sentence"),
    [
        ("t.parquet", "x.json", {}, "should end in .parquet, .csv or .tsv"),
        ("t.parquet", "x.parquet", {"texts": ["subtitle"]}, "`text` 'subtitle' is not a column with text"),
        ("t.parquet", "x.parquet", {"texts": ["key"]}, "`text` 'key' is not a column with text; columns with text"),
        ("bad.parquet", "x.parquet", {}, "is not a Parquet file"),
        ("bad.bin", "x.parquet", {}, "is not a table that can be read"),
        ("open.tsv", "x.parquet", {}, "a quote mark may be open"),
        ("again.parquet", "x.parquet", {}, "as if it had been labeled"),
        ("folder", "x.parquet", {}, "folder has no .parquet and no .tar file"),
    ],
)
def test_what_cannot_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, out: str, more: dict[str, Any], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_parquet(Path("t.parquet"), ROWS)
    for name in ("bad.parquet", "bad.bin"):
        Path(name).write_bytes(b"bad bytes\n" * 100)
    Path("open.tsv").write_text('filepath\ttitle\na.jpg\t"tench\n' + "b.jpg\ttench\n" * 100_000, encoding="utf-8")
    write_parquet(Path("again.parquet"), ROWS[:1], true_wnid=[TENCH])
    Path("folder").mkdir()
    before = sorted(Path().iterdir())
    with pytest.raises(InputError, match=re.escape(sentence)) as refused:
        label_by_text(Path(table), Path(out), LabelSettings(**{"workers": 1, **more}))
    assert "\n" not in str(refused.value)
    assert sorted(Path().iterdir()) == before


def test_the_command(tmp_path: Path) -> None:
    table, out = write_parquet(tmp_path / "t.parquet", ROWS), str(tmp_path / "out.parquet")
    code, told = invoke("label-by-text", table, "--out", out, "--mode", "strict", "--text", "caption")
    rows = [" ".join(line.split()) for line in told.splitlines()[-8:]]
    assert (code, rows[:4]) == (0, ["text: caption", "rows 8 100.0 %", "labelled 4 50.0 %", "named none 3 37.5 %"])
    assert rows[6:] == ["against the true class of 7 rows: precision 0.6667, recall 0.2857", out]


def test_the_page_of_the_docs(tmp_path: Path) -> None:
    (tmp_path / "captions.tsv").write_text("filepath\ttitle\na.jpg\ta tench\nb.jpg\tnothing\n", encoding="utf-8")
    succeed("build", "--release", SAMPLE / "release.json", "--out", tmp_path / "imagenet-captions")
    for block in blocks("how-to/label-by-text.md"):
        run_lines(block, tmp_path)
    assert pq.read_table(tmp_path / "labeled.parquet")["label"].to_pylist() == [0]
    report = json.loads((tmp_path / "by-text.report.json").read_text(encoding="utf-8"))
    assert report["known_class"] == report["rows"] > 0
    assert report["right"] > 0
    header = (tmp_path / "by-text.tsv").read_text(encoding="utf-8").partition("\n")[0].split("\t")
    assert header[-3:] == ["labels", "wnids", "class_names"]
    assert {"mentions", "names_class", "label", "wnid"} <= set(header)
