"""Text, Markdown, CSV and counts, and the command that writes them."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import imagenet_captions as ic
from imagenet_captions.dataset.sampling import read_counts
from imagenet_captions.dataset.shards import Shards
from imagenet_captions.demo.run import SAMPLE, run_demo
from imagenet_captions.statistics.collect import Stats, measure
from imagenet_captions.statistics.report import (
    Section,
    as_markdown,
    as_text,
    choose,
    counts_tsv,
    frequencies_tsv,
    gallery,
    per_class_csv,
    picture,
    report,
    sections,
)
from imagenet_captions.statistics.settings import Thumbnails
from imagenet_captions.storage.faults import how_to_install
from tests.command_line import run_bash, run_cli, run_lines
from tests.packager.made import IDS, image

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "stats.md"


@pytest.fixture(scope="module")
def stats(dataset: Path) -> Stats:
    return ic.stats(dataset)


def test_text(stats: Stats) -> None:
    text = as_text(sections(stats))
    assert (
        "What the 12 rows have\n  field                 rows    share\n  title                   11   91.7 %\n" in text
    )
    assert "  input        13  100.0 %\n" in text
    assert "names its class          4   33.3 %" in text
    assert "2 rows (16.7 %) share their caption with another row; captions that occur more than once: 1." in text
    assert "\n  CC BY 2.0    12  100.0 %\n" in text
    assert "classes without any" in text


def test_texts_of_photographers_do_no_harm() -> None:
    section = Section("duplicates", "T", ("caption", "rows"), (("a\x1b[31m\u202eb\r", 2),))
    assert as_text([section]) == "T\n  caption    rows\n  a [31m b      2"
    section = Section("duplicates", "T", ("caption", "rows"), (("<b>*x*|`y` [a](http://b)", 1234),), "n <b>")
    assert r"| \<b\>\*x\*\|\`y\` \[a\](http://b) | 1,234 |" in as_markdown([section]).splitlines()
    assert r"n \<b\>" in as_markdown([section])


def test_csv_has_a_line_per_class(stats: Stats) -> None:
    rows = list(csv.DictReader(io.StringIO(per_class_csv(stats))))
    assert len(rows) == 1000
    assert rows[0] | {"wnid": "n01440764", "name": "tench", "rows": "3", "images": "3", "on_disk": ""} == rows[0]
    assert rows[1]["rows"] == "0"
    assert sum(int(row["rows"]) for row in rows) == 12


def test_classes_that_nobody_counted_have_an_empty_count(tmp_path: Path) -> None:
    entry = {"filename": "n00007846_7.JPEG", "wnid": "n00007846", "title": "a person", "description": "", "tags": []}
    (tmp_path / "release.json").write_text(json.dumps([entry]), encoding="utf-8")
    done = run_cli("build", "--release", tmp_path / "release.json", "--classes", "all", "--out", tmp_path / "all")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(per_class_csv(ic.stats(tmp_path / "all")))))
    assert [(row["wnid"], row["published"]) for row in rows if row["rows"] == "1"] == [("n00007846", "")]


def test_counts_and_frequencies(stats: Stats, tmp_path: Path) -> None:
    path = tmp_path / "counts.tsv"
    path.write_text(counts_tsv(stats), encoding="utf-8")
    assert read_counts(path) == {entry.wnid: entry.rows for entry in stats.classes}
    lines = frequencies_tsv(stats).splitlines()
    assert len(lines) == 1000
    assert lines[:2] == ["tench\t3", "goldfish\t0"]


def test_the_choice_is_spread_over_classes_and_stays() -> None:
    chosen = choose(IDS, 8)
    assert sorted({image_id[:9] for image_id in chosen[:4]}) == sorted({image_id[:9] for image_id in IDS})
    assert chosen[:4] == choose(IDS, 4)
    assert chosen[:3] == ["n15075141_17", "n03888257_10026", "n02687172_17"]


def test_the_gallery_prefers_rows_with_images(dataset: Path) -> None:
    cards = gallery(Shards(dataset), None, 200, Thumbnails.OPEN)
    assert len(cards) == 11
    assert all(card["picture"] is not None for card in cards)
    assert {card["page"] for card in cards} == {None, "https://www.flickr.com/photos/11632020@N00/1/"}


def too_large() -> bytes:
    out = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(out, "PNG")
    assert len(out.getvalue()) < 100_000
    return out.getvalue()


@pytest.mark.parametrize(
    "data", [b"", b"no image", image("n01440764_1")[:200], b"\x89PNG\r\n\x1a\n" + bytes(40), too_large()]
)
def test_what_is_no_image_makes_no_picture(data: bytes) -> None:
    assert picture(data) is None


def test_a_page_without_images_or_rows_that_tell(dataset: Path) -> None:
    page = report(Shards(dataset), measure([]))
    assert "<dt>rows</dt><dd>0</dd>" in page


def test_the_command(dataset: Path, tmp_path: Path) -> None:
    names = ["classes.csv", "stats.md", "report.html", "counts.tsv", "names.tsv"]
    flags = ["--csv", "--markdown", "--html", "--counts", "--frequencies"]
    given = [part for flag, name in zip(flags, names, strict=True) for part in (flag, str(tmp_path / name))]
    done = run_cli("stats", dataset, *given)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("How the inputs ended\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    again = run_cli("stats", dataset, "--html", tmp_path / "again.html")
    assert again.returncode == 0
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "report.html").read_bytes()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["nowhere"], "the dataset nowhere does not exist"),
        (["DATASET", "--images", "nowhere"], "nowhere does not exist"),
        (["DATASET", "--csv", "DATASET/classes.csv"], "lies inside the dataset"),
        (["DATASET", "--csv", "x", "--markdown", "x"], "x is to be written twice"),
        (["DATASET", "--html", "."], "has no name of its own"),
    ],
)
def test_wrong_input(given: list[str], sentence: str, dataset: Path) -> None:
    done = run_cli("stats", *(part.replace("DATASET", str(dataset)) for part in given))
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_jinja2_a_page_is_refused_before_anything_is_measured(dataset: Path, tmp_path: Path) -> None:
    run = "import sys\nsys.modules['jinja2'] = None\nfrom imagenet_captions.cli.main import main\nmain()"
    arguments = [sys.executable, "-c", run, "stats", str(dataset), "--html", str(tmp_path / "r.html")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.strip().endswith(how_to_install("report"))
    assert not (tmp_path / "r.html").exists()


def test_the_page_of_the_docs(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    shutil.copytree(SAMPLE / "train", tmp_path / "ILSVRC2012_img_train")
    run_demo(tmp_path / "rebuilt")
    commands = "".join(re.findall(r"^```bash\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    shown = run_lines(re.sub("^pip install.*$", "", commands, flags=re.MULTILINE), tmp_path).stdout
    assert shown.endswith("report.html\n")
    assert (tmp_path / "coverage.csv").read_text().startswith("wnid,label,name,rows,title,")
    assert (tmp_path / "stats.md").read_text().startswith("# ImageNet-Captions: statistics\n")
    assert (tmp_path / "alike" / "manifest.json").is_file()
    tables = run_lines("imagenet-captions stats rebuilt", tmp_path).stdout
    (example,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert run_bash(f"python - <<'EOF'\n{example}EOF", tmp_path).endswith(tables)
