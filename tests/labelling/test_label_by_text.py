"""Labelled tables from every form of caption table, and how well they fit the truth."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import re
import resource
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.labelling.label import LabelReport, LabelSettings, label_by_text, report_path
from imagenet_captions.labelling.settings import Mode
from tests.command_line import run_cli

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
WITHOUT_TRUTH = [("tench", None)]


def write_parquet(path: Path, rows: Sequence[tuple[str, str | None]], **columns: Any) -> Path:
    table = pa.table({"key": list(range(len(rows))), "caption": [row[0] for row in rows],
                      "wnid": pa.array([row[1] for row in rows], pa.string()), **columns})  # fmt: skip
    pq.write_table(table, path, row_group_size=3)
    return path


def label(table: Path, out: Path, mode: Mode = Mode.SINGLE, **more: Any) -> tuple[list[dict[str, Any]], LabelReport]:
    report = label_by_text(table, out, LabelSettings(mode=mode, **{"workers": 1, **more}), overwrite=True)
    return pq.read_table(out).to_pylist(), report


def classes_of(out: Path) -> dict[str, dict[str, str]]:
    with report_path(out, ".tsv").open(encoding="utf-8", newline="") as opened:
        return {row["wnid"]: row for row in csv.DictReader(opened, delimiter="\t")}


def test_single(tmp_path: Path) -> None:
    rows, report = label(write_parquet(tmp_path / "t.parquet", ROWS + WITHOUT_TRUTH), tmp_path / "out.parquet")
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
    assert asdict(report) == {
        "settings": {"mode": "single", "text": ["caption"], "case_sensitive": False}, "skipped": {},
        "rows": 9, "labelled": 6, "named_none": 1, "named_one": 6, "named_several": 2,
        "known_class": 7, "right": 3, "wrong": 1, "precision": 0.75, "recall": round(3 / 7, 6),
    }  # fmt: skip
    written = json.loads(report_path(tmp_path / "out.parquet", ".json").read_text(encoding="utf-8"))
    assert written == {"format": "imagenet-captions label report", **asdict(report)}


def test_multi(tmp_path: Path) -> None:
    rows, report = label(write_parquet(tmp_path / "t.parquet", ROWS), tmp_path / "out.parquet", Mode.MULTI)
    assert [row["labels"] for row in rows] == [[0], [1], [0, 1], [0], [1], [134, 517], [0]]
    assert rows[5]["wnids"] == [CRANE, "n03126707"]
    assert rows[5]["class_names"] == ["crane bird", "construction crane"]
    assert rows[0]["wnid"] == TENCH  # the true one, since nothing of that name is added
    assert (report.right, report.wrong, report.precision, report.recall) == (5, 3, 0.625, round(5 / 7, 6))


def test_strict(tmp_path: Path) -> None:
    rows, report = label(write_parquet(tmp_path / "t.parquet", ROWS), tmp_path / "out.parquet", Mode.STRICT)
    assert [row["key"] for row in rows] == [0, 1, 5, 7]
    assert report.named_none == 3


def test_scores_of_each_class(tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    _, report = label(write_parquet(tmp_path / "t.parquet", ROWS + WITHOUT_TRUTH), out)
    found = classes_of(out)
    assert len(found) == 1000
    assert found[TENCH] == {
        "label": "0", "wnid": TENCH, "class_name": "tench", "given": "4", "known_class": "5", "right": "2",
        "wrong": "0", "precision": "1.0", "recall": "0.4",
    }  # fmt: skip
    assert found[GOLDFISH]["precision"] == "0.5"
    assert (found[CRANE]["precision"], found[CRANE]["recall"]) == ("", "0.0")
    assert sum(int(row["right"]) for row in found.values()) == report.right


def test_without_any_truth_there_is_no_score(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"text": ["tench"]}), path)
    _, report = label(path, tmp_path / "out.parquet")
    assert (report.known_class, report.precision, report.recall) == (0, None, None)


def test_a_label_as_truth(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    labels = pa.array([0, 1, 5000, -1, None], pa.int64())
    pq.write_table(pa.table({"text": ["tench"] * 5, "label": labels}), path)
    rows, report = label(path, tmp_path / "out.parquet")
    assert [(row["label"], row["true_label"]) for row in rows] == [(0, 0), (0, 1), (0, 5000), (0, -1), (0, None)]
    assert report.known_class == 2


def test_case_can_count(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "t.parquet", [("Great Dane", None), ("great dane", None)])
    assert len(label(path, tmp_path / "out.parquet")[0]) == 2
    assert [row["key"] for row in label(path, tmp_path / "out.parquet", case_sensitive=True)[0]] == [0]


def test_the_columns_that_are_looked_at(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "t.parquet", [("tench", None)], title=["goldfish"], tags=[["lynx", "tench"]])
    assert label(path, tmp_path / "a.parquet", Mode.MULTI)[0][0]["labels"] == [0, 1, 287]
    assert label(path, tmp_path / "b.parquet", Mode.MULTI, texts=("caption",))[0][0]["labels"] == [0]
    assert label(path, tmp_path / "c.parquet", Mode.MULTI, texts=("tags", "title"))[0][0]["labels"] == [0, 1, 287]


@pytest.mark.parametrize("ending", [".parquet", ".tsv"])
def test_the_same_with_any_number_of_workers(tmp_path: Path, ending: str) -> None:
    table = write_parquet(tmp_path / "t.parquet", ROWS * 6000)
    written = []
    for workers in (1, 2):
        out = tmp_path / f"{workers}" / f"out{ending}"
        label_by_text(table, out, LabelSettings(mode=Mode.MULTI, workers=workers))
        written.append({path.name: path.read_bytes() for path in out.parent.iterdir()})
    assert written[0] == written[1]
    assert set(written[0]) == {f"out{ending}", "out.report.json", "out.report.tsv"}


def test_texts_stored_in_other_ways(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    titles = pa.array(["tench", None]).dictionary_encode()
    tags = pa.array([["x"], ["goldfish"]], pa.large_list(pa.large_string()))
    pq.write_table(pa.table({"title": titles, "tags": tags, "image": [b"1", b"2"]}), path)
    rows, _ = label(path, tmp_path / "out.parquet")
    assert [(row["title"], row["tags"], row["label"]) for row in rows] == [("tench", ["x"], 0), (None, ["goldfish"], 1)]
    assert "image" not in rows[0]


def test_a_folder_of_parquet_files(tmp_path: Path) -> None:
    folder = tmp_path / "set" / "data"
    folder.mkdir(parents=True)
    for number in (1, 0):
        write_parquet(folder / f"train-{number}.parquet", ROWS[number : number + 1])
    rows, _ = label(tmp_path / "set", tmp_path / "out.parquet")
    assert [row["caption"] for row in rows] == ["A tench", "goldfish in a bowl"]
    pq.write_table(pa.table({"other": [1]}), folder / "train-2.parquet")
    with pytest.raises(InputError, match="other columns"):
        label(tmp_path / "set", tmp_path / "out.parquet")


COMMA = [
    "filepath,title",
    'a.jpg,"A tench, ""big"""',
    "b.jpg,nothing",
    "c.jpg",
    "e.jpg,1,2",
    'd.jpg,"gold\nfish, goldfish"',
]
TABS = ["filepath\ttitle", 'a.jpg\t"A tench, ""big"""', "b.jpg\tno\0thing", "c.jpg", "e.jpg\t1\t2", ""]
TABS += ['d.jpg\t"gold\nfish, goldfish"']


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.csv", "\n".join(COMMA)),
        ("c.csv", "\n".join(TABS) + "\n"),
        ("c.tsv", "\ufeff" + "\r\n".join(TABS)),
    ],
    ids=["comma", "open_clip", "mark and other line ends"],
)
def test_separated_files(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8", newline="")
    rows, report = label(path, tmp_path / "out.parquet")
    assert [(row["filepath"], row["title"], row["label"]) for row in rows] == [
        ("a.jpg", 'A tench, "big"', 0),
        ("d.jpg", "gold\nfish, goldfish", 1),
    ]
    assert report.rows == 4
    assert report.skipped == {"more fields than the header": 1}


def test_a_quote_that_is_never_closed(tmp_path: Path) -> None:
    path = tmp_path / "c.tsv"
    path.write_text('filepath\ttitle\na.jpg\t"tench\n' + "b.jpg\ttench\n" * 100_000, encoding="utf-8")
    with pytest.raises(InputError, match="a quote mark may be open"):
        label(path, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_truth_in_a_separated_file(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("title,label\ntench,0\ntench,1\ntench,fish\ntench,\n", encoding="utf-8")
    _, report = label(path, tmp_path / "out.parquet")
    assert (report.known_class, report.precision) == (2, 0.5)


def test_a_labelled_table_as_text(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "t.parquet", [('a\ttench\r\nand a "goldfish"', TENCH)])
    out = tmp_path / "out.tsv"
    label_by_text(path, out, LabelSettings(mode=Mode.MULTI, workers=1))
    with out.open(encoding="utf-8", newline="") as opened:
        assert list(csv.reader(opened, delimiter="\t")) == [
            ["key", "caption", "wnid", "labels", "wnids", "class_names"],
            ["0", 'a tench  and a "goldfish"', TENCH, "0|1", f"{TENCH}|{GOLDFISH}", "tench|goldfish"],
        ]


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_webdataset_tars(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    said = {"title": "goldfish", "tags": ["lynx", 5], "wnid": GOLDFISH, "width": 3, "caption": None}
    first = {"a/0.jpg": b"\xff" * 700, "a/0.txt": b"A tench", "a/0.cls": b"0", "b/0.TXT": b"caf\xe9 goldfish"}
    second = {"1.json": json.dumps(said).encode(), "1.txt": b"nothing", "2.json": b"[", "3.jpg": b"x", "4.cls": b"1"}
    write_tar(folder / "00000.tar", first)
    write_tar(folder / "00001.tar", second)
    rows, report = label(folder, tmp_path / "out.parquet", Mode.MULTI)
    assert [(row["__key__"], row["__tar__"], row["labels"]) for row in rows] == [
        ("a/0", "00000.tar", [0]),
        ("b/0", "00000.tar", [1]),
        ("1", "00001.tar", [1, 287]),
    ]
    assert rows[2]["tags"] == ["lynx", "5"]
    assert report.skipped == {"a .json that is not a JSON object": 1, "a sample without text": 2}
    assert report.known_class == 1  # by wnid; where some samples have one, the others' class is not known
    (folder / "00001.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(InputError, match="is not a tar, or is cut off or damaged"):
        label(folder, tmp_path / "out.parquet")


def test_a_long_line_and_a_cut_file_are_read_in_bounded_memory(tmp_path: Path) -> None:
    path, out = tmp_path / "yfcc.gz", tmp_path / "out.parquet"
    with gzip.open(path, "wb", compresslevel=1) as opened:
        opened.write(yfcc_line(0, "A tench").encode())
        for _ in range(256):
            opened.write(bytes(1 << 20))
        opened.write(b"\n" + yfcc_line(1, "A goldfish").encode())
    done = subprocess.run(
        [sys.executable, "-m", "imagenet_captions", "label-by-text", str(path), "--out", str(out)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (700 << 20, 700 << 20)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert pq.read_table(out)["title"].to_pylist() == ["A tench", "A goldfish"]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"the table .*yfcc\.gz is damaged or cut short"):
        label_by_text(path, tmp_path / "other.parquet", LabelSettings())


def yfcc_line(number: int, title: str, tags: str = "", marker: int = 0, old: bool = False) -> str:
    fields = [str(number), str(5_000_000_000 + number), "0" * 32, "1@N00", "Some+Body", "2009-05-01 12:00:00.0", "1241",
              "Canon", quote_plus(title), quote_plus("<b>a & b</b>"), tags, "", "", "", "", "http://page/", "http://img",
              "Attribution License", "http://l", "1", "1", "aa", "bb", "jpg", str(marker)]  # fmt: skip
    return "\t".join(fields[1:2] + fields[3:] if old else fields) + "\n"


@pytest.mark.parametrize("old", [False, True], ids=["25 columns", "23 columns"])
@pytest.mark.parametrize("name", ["yfcc100m_dataset", "yfcc100m_dataset-0.bz2", "yfcc100m_dataset-0.gz"])
def test_yfcc_metadata(tmp_path: Path, name: str, old: bool) -> None:
    lines = [yfcc_line(0, "A tench + 1%", old=old), yfcc_line(1, "", "gold+fish,goldfish,caf%C3%A9", old=old),
             yfcc_line(2, "tench", marker=1, old=old), "half a line\t\n", yfcc_line(3, "nothing", old=old)]  # fmt: skip
    data = "".join(lines).encode()
    path = tmp_path / name
    packed = {".bz2": bz2.compress, ".gz": gzip.compress}
    path.write_bytes(packed.get(path.suffix, bytes)(data))
    rows, report = label(path, tmp_path / "out.parquet")
    assert [(row["photo_id"], row["title"], row["tags"], row["label"]) for row in rows] == [
        ("5000000000", "A tench + 1%", [], 0),
        ("5000000001", "", ["gold fish", "goldfish", "café"], 1),
    ]
    assert (rows[0]["owner_name"], rows[0]["description"]) == ("Some Body", "<b>a & b</b>")
    assert report.skipped == {"a video": 1, "not a line of 25 or 23 fields": 1}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("nothing.parquet --out x.parquet", "nothing.parquet does not exist"),
        ("t.parquet --out x.json", "should end in .parquet, .csv or .tsv"),
        ("t.parquet --out t.parquet", "is the input t.parquet itself"),
        (". --out x.parquet", "lies inside the input"),
        ("t.parquet --out x.parquet --text subtitle", "'subtitle' is not a column of the table; it has 'key'"),
        ("t.parquet --out x.parquet --text key", "'key' holds no text"),
        ("t.parquet --out x.parquet --workers 0", "`workers` must be at least 1, not 0"),
        ("bad.parquet --out x.parquet", "is not a Parquet file"),
        ("bad.tar --out x.parquet", "is not a tar, or is cut off or damaged"),
        ("bad.bin --out x.parquet", "is not a table that can be read"),
        ("numbers.parquet --out x.parquet", "name one with `text`"),
        ("empty.csv --out x.parquet", "has no header"),
        ("again.parquet --out x.parquet", "as if it had been labeled"),
        ("latin1.parquet --out x.parquet", "text that is not UTF-8"),
        ("folder --out x.parquet", "folder has no .parquet and no .tar file"),
    ],
)
def test_what_cannot_be_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, sentence: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_parquet(Path("t.parquet"), ROWS)
    for name in ("bad.parquet", "bad.tar", "bad.bin"):
        Path(name).write_bytes(b"bad bytes\n" * 100)
    pq.write_table(pa.table({"n": [1], "word": ["tench"]}), "numbers.parquet")
    Path("empty.csv").write_bytes(b"")
    write_parquet(Path("again.parquet"), ROWS[:1], true_wnid=[TENCH])
    latin1 = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\3\0\0\0"), pa.py_buffer(b"\xff\xe9t"))
    pq.write_table(pa.table({"title": latin1}), "latin1.parquet")
    Path("folder").mkdir()
    table, *flags = arguments.split()
    given = dict(zip(flags[::2], flags[1::2], strict=True))
    texts, workers = tuple(filter(None, [given.get("--text")])), int(given.get("--workers", 1))
    with pytest.raises(InputError, match=re.escape(sentence)) as refused:
        label_by_text(Path(table), Path(given["--out"]), LabelSettings(texts=texts, workers=workers))
    assert "\n" not in str(refused.value)
    assert not Path("x.parquet").exists()


def test_the_command(tmp_path: Path) -> None:
    table = write_parquet(tmp_path / "t.parquet", ROWS)
    done = run_cli("label-by-text", table, "--out", tmp_path / "out.parquet", "--mode", "strict", "--text", "caption")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "text: caption",
        "rows                      8 100.0 %",
        "labelled                  4  50.0 %",
        "named none                3  37.5 %",
        "named one                 4  50.0 %",
        "named several             1  12.5 %",
        "against the true class of 7 rows: precision 0.6667, recall 0.2857",
        str(tmp_path / "out.parquet"),
    ]
    done = run_cli("label-by-text", table, "--out", tmp_path / "out.json")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
