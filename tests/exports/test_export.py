"""What holds for every export: nothing lost, nothing half-written, nothing written where it does not belong."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.demo.run import SAMPLE, run_demo
from imagenet_captions.errors import InputError
from imagenet_captions.exports.export import export
from imagenet_captions.exports.settings import TARGETS, ExportSettings
from imagenet_captions.flickr.denylist import Denylist
from imagenet_captions.packager.package import PackageSettings, package
from imagenet_captions.sources.release import ReleaseSource
from imagenet_captions.storage.outputs import record_path
from tests.command_line import blocks, invoke, run_lines
from tests.exports.datasets import dataset, ids
from tests.packager.made import IDS, contents, write_published


@pytest.mark.parametrize("to", TARGETS)
def test_a_failed_export_leaves_nothing(tmp_path: Path, to: str) -> None:
    made, out = dataset(tmp_path, ["a", "b", "c"]), tmp_path / ("out.md" if to == "attribution" else "out")
    before = contents(tmp_path)
    with pytest.raises(InputError, match="nothing is left to export"):
        export(made, out, ExportSettings(to, deny=Denylist(images=tuple(ids(3)))))
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"to": "parquet"}, "must be one of open-clip-csv, webdataset"),
        ({"to": "attribution", "caption": CaptionTemplate()}, "`caption` has no effect"),
        ({"to": "slim", "workers": 0}, "`workers` must be at least 1, not 0"),
        ({"to": "webdataset", "clip_benchmark": "../x"}, "is not the name of a split"),
        ({"to": "slim", "columns": ["labels"]}, "no column is called 'labels'; did you mean label"),
        ({"to": "slim", "columns": ["label", "label"]}, "`columns` names label, which the table has already"),
        ({"to": "slim", "columns": ["caption"]}, "`columns` names caption, which the table has already"),
    ],
)
def test_a_setting_without_effect_is_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        ExportSettings(**settings)  # type: ignore[arg-type]


def test_the_published_form_and_back(tmp_path: Path) -> None:
    made = dataset(
        tmp_path,
        ["a", "b", "c"],
        columns={
            "raw_title": ["A <b>fish</b>", "", 'quote " \\ \u2028 </script>'],
            "raw_description": ["one\r\ntwo\x00", "NA", "池"],
            "raw_tags": [["New York", "geo:lat=1", ""], [], ["🐢"]],
        },
    )
    out = tmp_path / "captions.json"
    assert export(made, out, ExportSettings("release-json")).counts == {"rows": 3, "exported": 3}
    entries = json.loads(out.read_text(encoding="utf-8"))
    assert list(entries[0]) == ["filename", "wnid", "title", "description", "tags"]
    read = [row for batch in ReleaseSource(out).batches() for row in batch.to_pylist()]
    raw = pq.read_table(made / "raw").to_pylist()
    texts = ("image_id", "wnid", "title", "description", "tags")
    assert [[row[name] for name in texts] for row in read] == [[row[name] for name in texts] for row in raw]


OWNERS = {
    "owner": ["1@N00", "2@N00", None],
    "owner_name": ["heron <script>alert(1)</script>|`*_[x](y)", None, None],
    "photo_page": ["https://www.flickr.com/photos/1@N00/7/", "javascript:alert(1)", None],
    "license": [4, 0, None],
}


def test_attribution_in_markdown_and_csv(tmp_path: Path) -> None:
    made, out = dataset(tmp_path, ["a", "b", "c"], columns=OWNERS), tmp_path / "ATTRIBUTION.md"
    page, license_ = "https://www.flickr.com/photos/1@N00/7/", "https://creativecommons.org/licenses/by/2.0/"
    assert export(made, out, ExportSettings("attribution")).counts == {"rows": 3, "unknown_owner": 1, "exported": 3}
    first, second, third = out.read_text().splitlines()[-3:]
    for part in (f"[photo](<{page}>)", f"[CC BY 2\\.0](<{license_}>)", "2023\\-11\\-14"):
        assert part in first
    assert "<script" not in first
    assert len([at for at in range(1, len(first)) if first[at] == "|" and first[at - 1] != "\\"]) == 5
    assert "](javascript" not in second
    assert "All Rights Reserved" in second
    assert third.count("unknown") == 3
    export(made, tmp_path / "a.csv", ExportSettings("attribution"))
    first, second, third = pd.read_csv(tmp_path / "a.csv").values.tolist()
    assert first == [f"{ids(1)[0]}.JPEG", page, "1@N00", OWNERS["owner_name"][0], "CC BY 2.0", license_, "2023-11-14"]
    assert second[3:6] == ["unknown", "All Rights Reserved", "none"]
    assert third[1:5] == ["unknown"] * 4


FORMULAS = ["=1+1", "+1", "-1+cmd|' /C calc'!A0", "@SUM(1)", "\t=1", "\r=1", " =1", "\u202e=1", "\x00=1"]
FORMULAS.append("\ufeff\u200b=1")


def test_no_cell_of_the_csv_is_a_formula(tmp_path: Path) -> None:
    columns = {"owner_name": [*FORMULAS, "heron", "a=b"], "photo_page": [*FORMULAS, "x", "y"]}
    count = len(columns["owner_name"])
    made = dataset(tmp_path, ["a"] * count, columns={**columns, "owner": [*FORMULAS, "1@N00", None]})
    export(made, tmp_path / "a.csv", ExportSettings("attribution"))
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    assert len(rows) == count
    assert not [cell for row in rows for cell in row.values() if cell[0] in "=+-@\t\r"]
    for row, formula in zip(rows, FORMULAS, strict=False):
        guarded = "'" + re.sub("[^=+@-]*", "", formula, count=1)
        assert (row["owner_name"], row["photo_page"], row["owner"]) == (guarded,) * 3
    assert (rows[-1]["owner_name"], rows[-2]["owner"]) == ("a=b", "1@N00")


def test_an_owners_name_cannot_turn_the_text_around(tmp_path: Path) -> None:
    marks = "".join(map(chr, [*range(10), *range(127, 160), 0x61C, 0x200B, 0x200E, 0x2028, 0x202E, 0x2066, 0xFEFF]))
    kept = "\U0001f469\u200d\U0001f692 \u0646\u0645\u06cc\u200c\u062f\u0627\u0646\u0645"  # joiners of emoji and Persian
    names = ["".join(f"a{mark}" for mark in marks), kept]
    made = dataset(tmp_path, ["a", "b"], columns={"owner_name": names, "owner": [f"1{marks}@N00", None]})
    for form in ("csv", "md"):
        export(made, tmp_path / f"a.{form}", ExportSettings("attribution"))
        text = (tmp_path / f"a.{form}").read_text(encoding="utf-8")
        assert not set(marks) & set(text)
        assert kept in text
        assert re.search(r"1 *\\?@N00", text)


@pytest.mark.parametrize("to", ["open-clip-csv", "slim", "release-json", "attribution"])
def test_what_is_denied_is_in_no_export(tmp_path: Path, to: str) -> None:
    columns = {"photo_id": ["1", "2", "3", "4"], "owner": ["1@N00", "2@N00", "3@N00", "11632020@N00"]}
    deny = Denylist(photos=("2",), owners=("11632020@n00",), images=(ids(4)[2],))
    made, out = dataset(tmp_path, ["a", "b", "c", "d"], columns=columns), tmp_path / "out.csv"
    assert export(made, out, ExportSettings(to, deny=deny)).counts == {"rows": 4, "denied": 3, "exported": 1}
    content = out.read_text()
    assert [image_id for image_id in ids(4) if image_id in content] == ids(1)
    assert "3 entries" in json.loads((tmp_path / "out.csv.json").read_text())["settings"]["deny"]


def test_a_release_names_nobody(tmp_path: Path) -> None:
    made = dataset(tmp_path, ["a"], columns={"owner": [None], "photo_page": [None]})
    with pytest.raises(InputError, match="does not know whose photos they are"):
        export(made, tmp_path / "a.md", ExportSettings("attribution"))
    with pytest.raises(InputError, match="CSV or Markdown"):
        export(made, tmp_path / "a.txt", ExportSettings("attribution"))


def test_the_command_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    made = dataset(tmp_path, ["a fish", "", "c"])
    (tmp_path / "deny.txt").write_text(f"{ids(3)[2]}.JPEG\n")
    slim = ["--to", "slim", "--out", tmp_path / "s.csv", "--deny", tmp_path / "deny.txt"]
    code, told = invoke("export", made, *slim)
    assert (code, "1  on the denylist" in told, "1  without a caption" in told) == (0, True, True)
    assert invoke("export", made, "--to", "open-clip-csv", "--out", tmp_path / "t.csv")[0] == 0
    assert "t.csv is separated by tabs, as open_clip expects it" in caplog.text


def test_a_caption_of_an_as_published_dataset_has_its_camera_names(tmp_path: Path) -> None:
    captions, out = write_published(tmp_path / "captions.parquet", title="IMG_1234"), tmp_path / "s.csv"
    package(captions, tmp_path / "dataset", PackageSettings())
    exported = export(tmp_path / "dataset", out, ExportSettings("slim", caption=CaptionTemplate(("title",))))
    assert exported.counts["exported"] == len(IDS)
    receipt = json.loads(record_path(out).read_text(encoding="utf-8"))
    assert receipt["settings"]["caption"] == "title camera_names=keep"
    assert "--caption 'title camera_names=keep'" in receipt["command"]


def test_the_page_of_the_docs(tmp_path: Path) -> None:
    shutil.copy(SAMPLE / "release.json", tmp_path / "imagenet_captions.json")
    shutil.copytree(SAMPLE / "train", tmp_path / "ILSVRC2012_img_train")
    run_demo(tmp_path / "rebuilt")
    run_lines("imagenet-captions build --release imagenet_captions.json --out imagenet-captions", tmp_path)
    for block in blocks("how-to/export.md"):
        run_lines(block, tmp_path)
    assert len(pd.read_csv(tmp_path / "train.tsv", sep="\t")) > 0
    assert list((tmp_path / "shards").glob("*.tar"))
    assert (tmp_path / "ATTRIBUTION.md").read_text().startswith("# Attribution")
    assert pd.read_csv(tmp_path / "templates.tsv", sep="\t")["filepath"].str.startswith("/data/train/n").all()
    page = (Path(__file__).parents[2] / "docs/how-to/export.md").read_text(encoding="utf-8")
    assert all(f"| `{target}` |" in page for target in TARGETS)


def test_a_denylist_that_cannot_be_followed_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = dataset(tmp_path, ["a"], columns={"photo_id": [None]})
    export(made, tmp_path / "s.csv", ExportSettings("slim", deny=Denylist(photos=("2",))))
    assert "this dataset knows no photos or owners, and the denylist names 1" in caplog.text
