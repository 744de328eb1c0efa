"""Text, Markdown, CSV and counts, and the command that writes them."""

from __future__ import annotations

import csv
import io
import re
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

import imagenet_captions as ic
from imagenet_captions.dataset.sampling import read_counts
from imagenet_captions.dataset.shards import Shards
from imagenet_captions.demo.run import SAMPLE, run_demo
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.statistics.collect import Stats, measure
from imagenet_captions.statistics.report import (
    Section,
    as_markdown,
    as_text,
    choose,
    counts_tsv,
    frequencies_tsv,
    per_class_csv,
    picture,
    report,
    sections,
)
from imagenet_captions.storage.faults import how_to_install
from tests.command_line import blocks, invoke, run_bash, run_lines
from tests.packager.made import IDS, image


@pytest.fixture(scope="module")
def stats(dataset: Path) -> Stats:
    return ic.stats(dataset)


def test_text(stats: Stats) -> None:
    text = as_text(sections(stats))
    for part in (
        "What the 12 rows have\n  field                 rows    share\n  title                   11   91.7 %\n",
        "  input        13  100.0 %\n",
        "names its class          4   33.3 %",
        "2 rows (16.7 %) share their caption with another row; captions that occur more than once: 1.",
        "\n  CC BY 2.0    12  100.0 %\n",
        "classes without any",
    ):
        assert part in text


def test_texts_of_photographers_do_no_harm() -> None:
    section = Section("duplicates", "T", ("caption", "rows"), (("a\x1b[31m\u202eb\r", 2),))
    assert as_text([section]) == "T\n  caption    rows\n  a [31m b      2"
    section = Section("duplicates", "T", ("caption", "rows"), (("<b>*x*|`y` [a](http://b)", 1234),), "n <b>")
    assert r"| \<b\>\*x\*\|\`y\` \[a\](http://b) | 1,234 |" in as_markdown([section]).splitlines()
    assert r"n \<b\>" in as_markdown([section])


def test_a_line_per_class(stats: Stats, tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(per_class_csv(stats))))
    assert len(rows) == 1000
    assert rows[0] | {"wnid": "n01440764", "name": "tench", "rows": "3", "images": "3", "on_disk": ""} == rows[0]
    assert sum(int(row["rows"]) for row in rows) == 12
    (tmp_path / "counts.tsv").write_text(counts_tsv(stats), encoding="utf-8")
    assert read_counts(tmp_path / "counts.tsv") == {entry.wnid: entry.rows for entry in stats.classes}
    lines = frequencies_tsv(stats).splitlines()
    assert (len(lines), lines[:2]) == (1000, ["tench\t3", "goldfish\t0"])
    of_all = csv.DictReader(io.StringIO(per_class_csv(measure([], among=ClassSet.ALL))))
    assert {row["published"] for row in of_all if row["wnid"] == "n00007846"} == {""}  # nobody counted it


def test_the_choice_is_spread_over_classes_and_stays() -> None:
    chosen = choose(IDS, 8)
    assert sorted({image_id[:9] for image_id in chosen[:4]}) == sorted({image_id[:9] for image_id in IDS})
    assert chosen[:4] == choose(IDS, 4)
    assert chosen[:3] == ["n15075141_17", "n03888257_10026", "n02687172_17"]


def too_large() -> bytes:
    out = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("data", [b"", image("n01440764_1")[:200], b"\x89PNG\r\n\x1a\n" + bytes(40), too_large()])
def test_what_is_no_image_makes_no_picture(data: bytes) -> None:
    assert picture(data) is None


def test_a_page_without_rows(dataset: Path) -> None:
    assert "<dt>rows</dt><dd>0</dd>" in report(Shards(dataset), measure([]))


def test_the_command(dataset: Path, tmp_path: Path) -> None:
    names = ["classes.csv", "stats.md", "report.html", "counts.tsv", "names.tsv"]
    flags = ["--csv", "--markdown", "--html", "--counts", "--frequencies"]
    given = [part for flag, name in zip(flags, names, strict=True) for part in (flag, str(tmp_path / name))]
    code, told = invoke("stats", str(dataset), *given)
    assert (code, told.startswith("How the inputs ended\n")) == (0, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["DATASET", "--csv", "x", "--markdown", "x"], "x is to be written twice"),
        (["DATASET", "--html", "r.html"], how_to_install("report")),
    ],
)
def test_wrong_input(given: list[str], sentence: str, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    code, told = invoke("stats", *(part.replace("DATASET", str(dataset)) for part in given))
    assert (code, told.count("\n")) == (2, 1)
    assert sentence in told


def test_the_page_of_the_docs(tmp_path: Path) -> None:
    shutil.copytree(SAMPLE / "train", tmp_path / "ILSVRC2012_img_train")
    run_demo(tmp_path / "rebuilt")
    commands = "".join(blocks("how-to/stats.md"))
    shown = run_lines(re.sub("^pip install.*$", "", commands, flags=re.MULTILINE), tmp_path).stdout
    assert shown.endswith("report.html\n")
    assert (tmp_path / "coverage.csv").read_text().startswith("wnid,label,name,rows,title,")
    assert (tmp_path / "stats.md").read_text().startswith("# ImageNet-Captions: statistics\n")
    assert (tmp_path / "alike" / "manifest.json").is_file()
    tables = run_lines("imagenet-captions stats rebuilt", tmp_path).stdout
    (example,) = blocks("how-to/stats.md", "python")
    assert run_bash(f"python - <<'EOF'\n{example}EOF", tmp_path).endswith(tables)
