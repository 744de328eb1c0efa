"""What a dataset says of itself: a card that the Hub accepts, and a croissant.json that MLCommons' own reader reads."""

from __future__ import annotations

import hashlib
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import mlcroissant
import pyarrow.parquet as pq
import pytest
import yaml

import imagenet_captions as ic
from imagenet_captions.dataset import writing
from imagenet_captions.dataset.card import DatasetFacts, card
from imagenet_captions.packager.package import PackageSettings, package
from tests.dataset.made import make_dataset, rows
from tests.packager.made import (
    IDS,
    PROVENANCE,
    caption_row,
    contents,
    images,
    train_folder,
    write_captions,
    write_published,
    write_rows,
)


def made_card(rows: int, **facts: Any) -> str:
    tables = "by_class filled languages sources licenses counts inputs settings made_with files".split()
    given: dict[str, Any] = {**{name: {} for name in tables}, "rows": rows, "shards_a_config": 1, "repeated": 0}
    return card(DatasetFacts(**{**given, "images": None, "retrieved": None, **facts}))


def header(rows: int, **languages: int) -> dict[str, list[str]]:
    found: dict[str, list[str]] = yaml.safe_load(made_card(rows, languages=languages).split("---")[1])
    return found


@pytest.mark.parametrize("rows", [0, *(10**power - less for power in range(3, 13) for less in (1, 0)), 5 * 10**13])
def test_the_hub_knows_the_size_at_any_size(rows: int) -> None:
    known = json.loads(files("datasets").joinpath("utils/resources/size_categories.json").read_text())
    (size,) = header(rows)["size_categories"]
    assert size in known


def test_the_hub_knows_the_license_and_the_tags() -> None:
    found = header(10)
    assert (found["license"], found["license_link"]) == ("other", "https://www.image-net.org/download.php")
    assert {"imagenet", "captions", "robustness"} < set(found["tags"])


def test_languages_of_fewer_rows_than_one_in_a_thousand_are_left_out() -> None:
    assert header(1000, en=990, und=8, no=1, so=1)["language"] == ["en", "no", "so"]
    assert header(1001, en=990, und=9, no=1, so=1)["language"] == ["en"]
    assert header(1000, und=1000)["language"] == ["en"]


def test_the_datasheet_has_what_was_measured() -> None:
    told = made_card(
        10,
        filled={"names_class": 4},
        repeated=3,
        measured={"survival": {"years": {"2007": [8, 10], "2008": [1, 2]}, "licenses": {"10": 1, "4": 3}}},
    )
    tables = [block.splitlines() for block in told.split("\n\n") if block.startswith("|")]
    assert tables[1][2:] == ["| 2007 | 10 | 8 | 80.0 % |", "| 2008 | 2 | 1 | 50.0 % |", "| all | 12 | 9 | 75.0 % |"]
    assert tables[2][2:] == ["| 4 CC BY 2.0 | 3 | 75.0 % |", "| 10 Public Domain Mark 1.0 | 1 | 25.0 % |"]
    assert tables[3][2:] == [
        "| name their own class | 4 | 40.0 % |",
        "| have a caption that another row has too | 3 | 30.0 % |",
    ]
    assert "The texts were cleaned by fixed rules" in told
    told = made_card(10, settings={"as_published": True})
    assert "| not known: Flickr was not asked about photos, so none is known to be gone |  |  |  |" in told
    assert "| not known: the source states no licenses |  |  |" in told
    assert "no cleaning rule was applied" in told
    assert "the exact texts of the source, a `caption` joined from them, the language\n" in told


def test_licenses_and_repeated_captions_are_those_of_the_rows(tmp_path: Path) -> None:
    made = [{**row, "caption": row["caption"] if number % 9 else ""} for number, row in enumerate(rows(20))]
    captions = [row["caption"] for row in made]
    repeated = sum(captions.count(caption) > 1 for caption in captions if caption)
    told = (make_dataset(tmp_path, made) / "README.md").read_text(encoding="utf-8")
    assert 0 < repeated < 100
    assert f"| have a caption that another row has too | {repeated} | {repeated}.0 % |" in told
    assert f"| 4 CC BY 2.0 | {sum(row['license'] == 4 for row in made)} | 25.0 % |" in told


def test_texts_of_strangers_do_not_break_out_of_the_card() -> None:
    hostile = "`<script>`\n# \x1b[31m"
    shown = "`'<script>' # \\u001b[31m`"
    told = made_card(
        10,
        inputs={hostile: hostile},
        settings={"score-model": hostile, "filter": [{"score-model": hostile}]},
        sources={hostile: 10},
        languages={'en"\n': 10},
        measured={"survival": {"years": {"<script>": [1, 1]}}},
    )
    for line in (
        f"- input {shown}: SHA-256 {shown}",
        f"- setting `score-model`: {shown}",
        f"- texts from: {shown} 10",
        "| &lt;script&gt; | 1 | 1 | 100.0 % |",
    ):
        assert line in told.splitlines()
    assert yaml.safe_load(told.split("---\n")[1])["language"] == ['en"\n']
    assert "<script>" not in re.sub(r"`[^`\n]*`", "", told)


UNKNOWN = dict.fromkeys(("photo_id", "license", "date_taken", "date_posted", "retrieved_at"))


def made(root: Path, kind: str) -> Path:
    """A dataset of one of the kinds that there are."""
    settings = PackageSettings()
    if kind == "filtered":
        held = {image_id: data for image_id, data in images().items() if image_id != IDS[3]}
        settings = PackageSettings(train_folder(root / "images", held))
    columns: dict[str, Any] = {
        "published": {**UNKNOWN, "source": "release"},
        "yfcc": {**UNKNOWN, "source": "yfcc100m", "license": 2, "language": None},
    }.get(kind, {})
    write = write_published if kind == "published" else write_captions
    package(write(root / "c.parquet", **columns), root / "made", settings)
    if kind == "filtered":
        keep = ic.FilterSettings(condition=ic.in_class("n02687172", "n03888257"), local_labels=True)
        ic.filter(root / "made", keep, out=root / "filtered")
    return root / ("filtered" if kind == "filtered" else "made")


def described(dataset: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((dataset / "croissant.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.filterwarnings("ignore")  # mlcroissant calls deprecated functions of rdflib and pandas
@pytest.mark.parametrize("kind", ["texts", "published", "yfcc", "filtered"])
def test_it_is_valid_and_every_row_is_read_by_it(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "SMALL_SHARD", 1000)  # several shards where there are images
    dataset = made(tmp_path, kind)
    read = mlcroissant.Dataset(dataset / "croissant.json")
    issues = read.metadata.ctx.issues
    assert (issues.errors, issues.warnings, read.metadata.ctx.is_v1_1()) == (set(), set(), True)
    for name, folder in (("default", "data"), ("raw", "raw"), ("outcomes", "outcomes.parquet")):
        stored = pq.read_table(dataset / folder, partitioning=None)
        rows = [{key.partition("/")[2]: value for key, value in row.items()} for row in read.records(name)]
        assert [list(row) for row in rows[:1]] == [stored.column_names]
        for column in {"image_id", "title", "tags", "license", "label", "outcome"}.intersection(stored.column_names):
            assert [row[column] for row in rows] == [as_bytes(value) for value in stored[column].to_pylist()]
        if "image" in stored.column_names:
            assert [row["image"] and row["image"].size for row in rows].count(None) == stored["image"].null_count
    found = described(dataset)
    listed = {entry["contentUrl"]: entry for entry in found["distribution"] if "contentUrl" in entry}
    files = {name: data for name, data in contents(dataset).items() if name.endswith(".parquet")}
    assert {name: (entry["sha256"], entry["contentSize"]) for name, entry in listed.items()} == {
        name: (hashlib.sha256(data).hexdigest(), f"{len(data)} B") for name, data in files.items()
    }
    is_published = kind in ("published", "yfcc")
    assert ("rai:dataCollectionTimeFrame" not in found) == is_published
    assert found["datePublished"] == ("2022-05-03" if is_published else "2023-11-14")
    assert ("url" in found["usageInfo"]) == (kind == "filtered")
    assert found["license"]
    assert all(each.startswith("https://") for each in found["license"])


def as_bytes(value: Any) -> Any:
    """A value as MLCommons' reader gives it: texts are bytes."""
    if isinstance(value, list):
        return [as_bytes(each) for each in value]
    return value.encode() if isinstance(value, str) else value


def test_it_says_where_the_rows_are_from_and_what_they_lack(tmp_path: Path) -> None:
    found = described(made(tmp_path, "filtered"))
    derived = [entry["prov:label"] for entry in found["prov:wasDerivedFrom"]]
    assert derived == ["the ILSVRC-2012 training set: images, labels and ids", "Flickr's answers about the photos",
                       "input parent", "input release"]  # fmt: skip
    assert found["prov:wasDerivedFrom"][-1]["@id"] == "urn:sha256:" + "ab" * 32
    asked, _, last = found["prov:wasGeneratedBy"]
    assert (asked["prov:startedAtTime"], asked["prov:endedAtTime"]) == ("2023-11-14", "2023-11-14")
    assert last["prov:label"].startswith("filtered")
    assert found["rai:dataCollectionMissingData"].startswith("6 of 20 inputs are in the dataset. Of the others: ")
    assert found["rai:dataLimitations"][0].startswith("Of the rows, 100.0 % a title, 0.0 % a description, 100.0 % tags")
    assert found["rai:dataLimitations"][1:2] == ["1 rows have no image."]
    assert found["rai:dataBiases"][1:] == [
        "Most frequent languages: en 100.0 %.",
        "Classes differ in size: the largest has 3 rows, the smallest 3.",
    ]
    assert found["usageInfo"]["url"] == "https://www.image-net.org/download.php"


def test_its_limits_have_the_survival_that_was_measured(tmp_path: Path) -> None:
    measured = {"survival": {"years": {"2007": [8, 10], "2008": [1, 2]}, "licenses": {}}}
    captions = write_rows(tmp_path / "c.parquet", map(caption_row, sorted(IDS)), {**PROVENANCE, "measured": measured})
    package(captions, tmp_path / "out", PackageSettings())
    limits = described(tmp_path / "out")["rai:dataLimitations"]
    assert limits[-1] == "Of 12 listed photos that Flickr was asked about, 75.0 % answered."
    assert json.loads((tmp_path / "out/manifest.json").read_text())["measured"] == measured
    ic.filter(tmp_path / "out", ic.in_class("n02687172"), out=tmp_path / "some")
    assert described(tmp_path / "some")["rai:dataLimitations"][-1] == limits[-1]
    card = (tmp_path / "some/README.md").read_text()
    assert "Survival was counted before this dataset was filtered." in card
