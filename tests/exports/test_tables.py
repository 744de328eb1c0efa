"""Tables of captions, read back by pandas with its defaults."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pandas._libs.parsers import STR_NA_VALUES

from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.errors import InputError
from imagenet_captions.exports.export import export, verify_delimited, write_delimited
from imagenet_captions.exports.settings import ExportSettings
from imagenet_captions.storage.files import sha256
from tests.exports.datasets import TENCH, dataset, files_left_open, ids
from tests.packager.made import image, images, tar_of, train_folder

MISSING = sorted(STR_NA_VALUES - {""})
NUMBERS = ["42", "0042", "-1.5", "1e3", "inf", "-Infinity", "True", "false", ".5", "-1", "7"]
HOSTILE = [
    *('"an open quote', '"a quoted title" by me', 'a 5" gun', '""', '"', "one\ttab", "a bare\rreturn"),
    *("two\r\nlines\n", " blanks around ", "line\u2028separator \u2029 \u0085 next", "1,000", "#1", "=1+1"),
    *("'single'", "a, b", "back\\slash", "\u00a0no break", "池の亀 🐢", "\ufeffmark", "e\u0301", *NUMBERS, *MISSING),
]


def folded(text: str) -> str:
    return " ".join(text.split())


def read_back(captions: list[str], separator: str, folder: Path) -> list[object]:
    columns = {"filepath": pa.chunked_array([ids(len(captions))]), "title": pa.chunked_array([captions], pa.string())}
    write_delimited(folder / "t", columns, separator)
    read = pd.read_csv(folder / "t", sep=separator)
    assert list(read.columns) == ["filepath", "title"]
    assert read["filepath"].tolist() == ids(len(captions))
    found: list[object] = read["title"].tolist()
    assert all(isinstance(text, str) for text in found)
    assert [folded(str(text)) for text in found] == [folded(text) for text in captions]
    return found


@pytest.mark.parametrize("separator", ["\t", ","])
def test_hostile_captions_come_back_as_written(tmp_path: Path, separator: str) -> None:
    found = read_back([*HOSTILE, "the end"], separator, tmp_path)
    # Nothing but folded white space differs, and that only where there was some, or at the end of "missing" words.
    plain = [text for text in HOSTILE if text == folded(text) and text not in MISSING]
    assert set(plain) <= set(found)
    for caption in HOSTILE:  # alone in its column
        read_back([caption], separator, tmp_path)


def test_a_column_of_nothing_but_numbers_stays_text(tmp_path: Path) -> None:
    for caption in NUMBERS:
        found = read_back([caption] * 5, "\t", tmp_path)
        assert found[:4] == [caption] * 4, "one marked caption is enough"


def test_numbers_at_the_end_of_a_stretch_that_pandas_guesses_from(tmp_path: Path) -> None:
    read_back(["a dog"] * 262_144 + ["2008"] * 1000, "\t", tmp_path)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
awkward = st.sampled_from(HOSTILE) | st.text('0.e-+"\t\r\n, aN', min_size=1, max_size=6) | texts


@given(st.lists(awkward.filter(lambda text: folded(text) != ""), min_size=1, max_size=8))
@example(["1", "NA"])
@example(["nan", "1.5", "0"])
def test_any_captions_come_back(tmp_path_factory: pytest.TempPathFactory, captions: list[str]) -> None:
    read_back(captions, "\t", tmp_path_factory.mktemp("any"))


def test_a_file_that_comes_back_otherwise_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("title\n0042\n7\n")
    with pytest.raises(InputError, match="does not read the column title back"):
        verify_delimited(tmp_path / "t", {"title": pa.chunked_array([["0042", "7"]])}, "\t")


def test_open_clips_table(tmp_path: Path) -> None:
    made, out = dataset(tmp_path, ['"quoted" tench', "", "NA", "a tench"]), tmp_path / "train.tsv"
    exported = export(made, out, ExportSettings("open-clip-csv", path_prefix="/data/train"))
    assert exported.counts == {"rows": 4, "empty": 1, "marked": 1, "exported": 3}
    read = pd.read_csv(out, sep="\t")
    assert read["filepath"].tolist() == [f"/data/train/{TENCH}/{ids(4)[i]}.JPEG" for i in (0, 2, 3)]
    assert read["title"].tolist() == ['"quoted" tench', "NA ", "a tench"]
    record = json.loads((tmp_path / "train.tsv.json").read_text())
    assert record["files"] == {"train.tsv": {"sha256": sha256(out), "bytes": out.stat().st_size}}
    assert record["inputs"] == {"dataset": sha256(made / "manifest.json")}
    assert (record["settings"]["caption"], record["counts"]) == ("title tags description", exported.counts)


def test_paths_as_in_a_train_folder(tmp_path: Path) -> None:
    made, file = dataset(tmp_path, ["a", "b"]), f"{TENCH}/{TENCH}_000000.JPEG"
    for prefix, first in ((None, file), ("", file), ("/", f"/{file}"), ("s3://b/t/", f"s3://b/t/{file}")):
        export(made, tmp_path / "t.tsv", ExportSettings("open-clip-csv", path_prefix=prefix), overwrite=True)
        assert pd.read_csv(tmp_path / "t.tsv", sep="\t")["filepath"][0] == first


def test_paths_of_the_files_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = dataset(tmp_path, ["a", "b", "c"])
    train_folder(tmp_path / "pictures", images(ids(3)[:2]))
    exported = export(made, tmp_path / "t.tsv", ExportSettings("open-clip-csv", images=Path("pictures")))
    assert exported.counts == {"rows": 3, "no_image": 1, "exported": 2}
    paths = pd.read_csv(tmp_path / "t.tsv", sep="\t")["filepath"].tolist()
    assert paths == [f"pictures/Data/CLS-LOC/train/{TENCH}/{i}.JPEG" for i in ids(3)[:2]]
    data = pytest.importorskip("open_clip_train.data")
    with files_left_open():
        table = data.CsvDataset("t.tsv", lambda picture: picture.size, "filepath", "title", "\t", list)
        assert [text for _, text in table] == ["a", "b"]
    settings = ExportSettings("open-clip-csv", images=Path("pictures"), path_prefix="/x")
    export(made, tmp_path / "t.tsv", settings, overwrite=True)
    assert pd.read_csv(tmp_path / "t.tsv", sep="\t")["filepath"][0].startswith("/x/Data/CLS-LOC/train/")
    tar = tmp_path / "images.tar"
    tar.write_bytes(tar_of({f"{ids(1)[0]}.JPEG": image(ids(1)[0])}))
    with pytest.raises(InputError, match="not a folder of them"):
        export(made, tmp_path / "u.tsv", ExportSettings("open-clip-csv", images=tar))


def test_several_captions_of_an_image_are_a_json_list(tmp_path: Path) -> None:
    columns = {"title": ["A fish", "IMG_1234"], "tags": [["wet"], []], "description": ["", 'say "c"']}
    made = dataset(tmp_path, ["x", "y"], columns=columns)
    lists = CaptionTemplate.parse("title tags description captions=list")
    export(made, tmp_path / "t", ExportSettings("slim", caption=lists))
    found = [json.loads(text) for text in pd.read_csv(tmp_path / "t")["caption"]]
    assert found == [["A fish", "wet"], ['say "c"']]


def test_the_datasets_own_template_gives_its_own_captions(tmp_path: Path) -> None:
    made = dataset(tmp_path, [f"Photo {image_id} one zwei" for image_id in ids(3)])
    export(made, tmp_path / "own.csv", ExportSettings("slim"))
    export(made, tmp_path / "made.csv", ExportSettings("slim", caption=CaptionTemplate()))
    assert (tmp_path / "own.csv").read_bytes() == (tmp_path / "made.csv").read_bytes()


@pytest.mark.parametrize(("to", "separator", "column"), [("slim", ",", "caption"), ("open-clip-csv", "\t", "title")])
def test_further_columns_are_read_back(tmp_path: Path, to: str, separator: str, column: str) -> None:
    texts = ["=1+1 fish", "+1", "-1+cmd|' /C calc'!A0", "@SUM(1)", "caption"]
    columns = {
        "title": [""] * 5,
        "description": ["", "0042", "", 'a "b"\tc', ""],
        "tags": [["new york", "b"], [], ["None"], ["a,b"], ["7"]],
        "language": [None, "en", None, "nan", "de"],
    }
    made = dataset(tmp_path, texts, columns=columns)
    wanted = ("label", "class_name", "wnid", "title", "description", "tags", "language")
    wanted = tuple(name for name in wanted if name != column)
    export(made, tmp_path / "plain", ExportSettings(to))
    export(made, tmp_path / "t", ExportSettings(to, columns=wanted))
    plain, table = (pd.read_csv(tmp_path / name, sep=separator) for name in ("plain", "t"))
    assert list(table) == [*plain, *wanted]
    assert table[list(plain)].equals(plain)
    assert table["label"].tolist() == [0] * 5
    assert set(table["class_name"]) == {"tench"}
    assert [json.loads(tags) for tags in table["tags"]] == columns["tags"]
    assert [text.strip() for text in table["description"].fillna("")] == ["", "0042", "", 'a "b" c', ""]
    assert [text.strip() for text in table["language"].fillna("")] == ["", "en", "", "nan", "de"]
    assert to != "slim" or table["title"].isna().all()
    with (tmp_path / "t").open(newline="", encoding="utf-8") as opened:  # as other programs read it
        assert [row[column] for row in csv.DictReader(opened, delimiter=separator)] == texts


def test_a_seed_orders_the_rows_and_keeps_them(tmp_path: Path) -> None:
    made = dataset(tmp_path, [f"caption {number}" for number in range(30)])
    orders = []
    for seed in (None, 0, 1):
        export(made, tmp_path / f"t{seed}", ExportSettings("slim", columns=["image_id"], shuffle=seed))
        table = pd.read_csv(tmp_path / f"t{seed}")
        assert (table["filename"] == table["image_id"] + ".JPEG").all()
        assert [int(text.split()[1]) for text in table["caption"]] == [int(each[-6:]) for each in table["image_id"]]
        orders.append(table["image_id"].tolist())
    assert orders[0] == ids(30)
    assert sorted(orders[1]) == sorted(orders[2]) == ids(30)
    assert len(set(map(tuple, orders))) == 3
