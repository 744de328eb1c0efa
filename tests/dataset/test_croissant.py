"""`croissant.json`: valid for MLCommons' own reader, which reads every row of every kind of dataset by it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import mlcroissant
import pyarrow.parquet as pq
import pytest

import imagenet_captions as ic
from imagenet_captions.dataset import writing
from imagenet_captions.packager.package import PackageSettings, package
from imagenet_captions.schema import CAPTIONS, with_provenance
from tests.packager.made import IDS, PROVENANCE, contents, images, train_folder, write_captions, write_published

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
    captions = write_captions(tmp_path / "c.parquet")
    measured = {"survival": {"years": {"2007": [8, 10], "2008": [1, 2]}, "licenses": {}}}
    schema = with_provenance(CAPTIONS, {**PROVENANCE, "measured": measured})
    pq.write_table(pq.read_table(captions).cast(schema), captions)
    package(captions, tmp_path / "out", PackageSettings())
    limits = described(tmp_path / "out")["rai:dataLimitations"]
    assert limits[-1] == "Of 12 listed photos that Flickr was asked about, 75.0 % answered."
    assert json.loads((tmp_path / "out/manifest.json").read_text())["measured"] == measured
    ic.filter(tmp_path / "out", ic.in_class("n02687172"), out=tmp_path / "some")
    assert described(tmp_path / "some")["rai:dataLimitations"][-1] == limits[-1]
    card = (tmp_path / "some/README.md").read_text()
    assert "Survival was counted before this dataset was filtered." in card
