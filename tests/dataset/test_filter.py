"""The filter command: ids and datasets, what they say of their parent, and that the counts add up."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import imagenet_captions as ic
from imagenet_captions.dataset.settings import FilterSettings, RowConditions
from imagenet_captions.dataset.writing import read_outcome_counts
from imagenet_captions.outcomes import Outcome
from imagenet_captions.packager.package import verify
from imagenet_captions.storage.files import sha256
from tests.command_line import invoke
from tests.dataset.made import WNIDS, make_dataset, read_ids, rows
from tests.packager.made import contents

ROWS = rows()


def filtered(dataset: Path, out: Path, **settings: Any) -> Path:
    wanted = {name: settings.pop(name) for name in list(settings) if name in RowConditions.__dataclass_fields__}
    ic.filter(dataset, FilterSettings(RowConditions(**wanted), **settings), out=out)
    verify(out)
    return out


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        ("--class tench --class 999", lambda r: r["wnid"] in ("n01440764", "n15075141")),
        ("--class-list imagenette", lambda r: r["wnid"] in ("n01440764", "n03000684")),
        ("--contains title=dog --contains title=beach", lambda r: r["title"] == "A Dog at the beach"),
        ("--matches title=[a-z]=?", lambda r: any("a" <= c <= "z" for c in r["title"])),
        ("--license by --license cc0", lambda r: r["license"] in (4, 9, 11)),
        ("--names-class", lambda r: r["names_class"]),
        ("--class dog --has tags", lambda r: r["wnid"] in WNIDS[1:3] and r["tags"]),
        ("--sample 7", 7),
        ("--sample 0.1", 20),
        ("--per-class 3", 15),
        ("--trim-tail 2:1", 122),
        ("--class dog --per-class 3 --sample 5 --seed 4", 5),
        ("--like counts.tsv", 5),
        ("--class dog --sample 1000", 80),
    ],
)
def test_every_flag(
    text_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    flags: str,
    wanted: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO")
    Path("counts.tsv").write_text("wnid\tcount\nn01440764\t3\nn02099601\t2\nn01443537\t9\n")
    code, told = invoke("filter", text_dataset, *flags.split(), "--out-ids", "ids.txt")
    assert code == 0, told
    found = read_ids(Path("ids.txt"))
    if isinstance(wanted, int):
        assert len(found) == wanted
    else:
        assert found == [row["image_id"] for row in ROWS if wanted(row)]
    assert ("1 of 3 classes have fewer rows than the table asks for" in caplog.text) == ("--like" in flags)
    assert ("only 80 rows are there for a sample of 1,000" in caplog.text) == ("1000" in flags)


def test_a_list_of_ids_says_how_it_was_made(text_dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "lists" / "ids.txt"
    settings = FilterSettings(RowConditions(classes=["dog"], lists=["imagewoof"], contains=["title=dog"]), per_class=2)
    counts = ic.filter(text_dataset, settings, out_ids=out)
    record = json.loads(out.with_name("ids.txt.json").read_text())
    assert record == {
        "format": "imagenet-captions export",
        "version": 1,
        "made_with": {"imagenet-captions": version("imagenet-captions")},
        "parent": sha256(text_dataset / "manifest.json"),
        "filter": {"class": ["dog"], "class-list": ["imagewoof"], "contains": ["title=dog"], "per-class": 2, "seed": 0},
        "counts": counts,
        "files": {"ids.txt": {"sha256": sha256(out), "bytes": out.stat().st_size}},
    }
    assert sum(counts.values()) == len(ROWS)
    assert read_ids(out) == sorted(read_ids(out))


def test_a_dataset_of_a_dataset(image_dataset: Path, tmp_path: Path) -> None:
    child = filtered(image_dataset, tmp_path / "child", classes=["dog"], per_class=5)
    manifest = json.loads((child / "manifest.json").read_text())
    parent = json.loads((image_dataset / "manifest.json").read_text())
    assert manifest["inputs"] == {**parent["inputs"], "parent": sha256(image_dataset / "manifest.json")}
    assert manifest["settings"]["filter"] == [{"class": ["dog"], "per-class": 5, "seed": 0}]
    assert manifest["settings"]["caption"] == parent["settings"]["caption"]
    card = (child / "README.md").read_text()
    assert manifest["inputs"]["parent"] in card
    assert "`[{'class': ['dog'], 'per-class': 5, 'seed': 0}]`" in card
    assert "| `filtered` | 90 |" in card

    funnel, before = (read_outcome_counts(each / "outcomes.parquet") for each in (child, image_dataset))
    assert funnel == {Outcome.KEPT: 10, Outcome.UNKNOWN_CLASS: 7, Outcome.FILTERED: 90}
    assert sum(funnel.values()) == sum(before.values())
    details = pq.read_table(child / "outcomes.parquet").to_pylist()
    assert [row["detail"] for row in details if row["image_id"] == ROWS[0]["image_id"]] == [
        "a remark; no image in the source; condition"
    ]

    # Rows, bytes of images and both configs are the parent's.
    for config in ("data", "raw"):
        kept, all_rows = (pq.read_table(each / config).to_pylist() for each in (child, image_dataset))
        ids = {row["image_id"] for row in kept}
        assert kept == [row for row in all_rows if row["image_id"] in ids]
    assert ic.load(child).features == ic.load(image_dataset).features


def test_local_labels_keep_the_original(text_dataset: Path, tmp_path: Path) -> None:
    plain = filtered(text_dataset, tmp_path / "plain", classes=["dog", "999"])
    assert set(ic.load(plain)["label"]) == {207, 267, 999}
    assert "label_original" not in ic.load(plain).column_names
    local = ic.load(filtered(text_dataset, tmp_path / "local", classes=["dog", "999"], local_labels=True))
    assert local.features["label"].names == [WNIDS[1], WNIDS[2], WNIDS[4]]
    assert len(local.features["label_original"].names) == 1000
    for row in local:
        assert local.features["label"].int2str(row["label"]) == row["wnid"]
        assert local.features["label_original"].int2str(row["label_original"]) == row["wnid"]
    assert "label_original" in ic.load(tmp_path / "local", config="raw").column_names
    again = filtered(tmp_path / "local", tmp_path / "again", classes=["999"])
    assert (set(ic.load(again)["label"]), set(ic.load(again)["label_original"])) == ({0}, {999})
    manifest = json.loads((again / "manifest.json").read_text())
    first = {"class": ["dog", "999"], "local-labels": True}
    assert manifest["settings"]["filter"] == [first, {"class": ["999"]}]
    assert sum(manifest["counts"].values()) == len(ROWS) + 7


def test_without_images_it_is_the_dataset_packaged_without(image_dataset: Path, tmp_path: Path) -> None:
    texts, packaged = filtered(image_dataset, tmp_path / "texts", without_images=True), make_dataset(tmp_path, rows(20))
    for config in ("data", "raw"):
        copied, made = (pq.read_table(dataset / config, partitioning=None) for dataset in (texts, packaged))
        assert copied.equals(made, check_metadata=True)
        groups = [pq.read_metadata(next((dataset / config).iterdir())).num_row_groups for dataset in (texts, packaged)]
        assert groups == [1, 1]
    manifest = json.loads((texts / "manifest.json").read_text())
    assert (manifest["images"], manifest["settings"]["missing"]) == (None, None)
    assert manifest["settings"]["filter"] == [{"without-images": True}]
    pictured = ic.load(filtered(image_dataset, tmp_path / "some", has=["image"], without_images=True))
    assert (len(pictured), "image" in pictured.column_names) == (90, False)
    with pytest.raises(ic.InputError, match="has no images; leave out `without_images`"):
        filtered(texts, tmp_path / "out", without_images=True)
    with pytest.raises(ic.InputError, match="`without_images` needs `out`"):
        ic.filter(image_dataset, FilterSettings(without_images=True), out_ids=tmp_path / "ids")


def test_a_denylist(text_dataset: Path, tmp_path: Path) -> None:
    deny = tmp_path / "deny.txt"
    deny.write_text(f"{ROWS[0]['photo_id']}\n{ROWS[1]['owner']}\n{ROWS[2]['filename']}\n")
    child = filtered(text_dataset, tmp_path / "child", deny=deny)
    assert list(ic.load(child)["image_id"]) == [row["image_id"] for row in ROWS[3:]]
    outcomes = {row["image_id"]: row for row in pq.read_table(child / "outcomes.parquet").to_pylist()}
    assert [outcomes[row["image_id"]]["outcome"] for row in ROWS[:4]] == ["denied"] * 3 + ["kept"]
    assert "3 entries" in json.loads((child / "manifest.json").read_text())["settings"]["filter"][0]["deny"]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("--out-ids x --class tench --contains title=zebra", "nothing in .* matches"),
        ("--out x --class teddy.bear", "no class is called"),
        ("--out-ids x --contains title", "--contains must be FIELD=TEXT, such as"),
        ("--out-ids x --like nothing.tsv", "nothing.tsv does not exist"),
        ("--out-ids x --ids words.txt", "line 1: 'hello' is not an image id"),
        ("--out-ids x --split test", "--split must be one of train, val, not 'test'"),
        ("--out-ids x --split val --val-fraction 2", "the validation share must be between 0 and 1"),
        ("--out-ids x --val-fraction 0.2", "--val-fraction has no effect without --split; leave it out"),
        ("--out-ids x --has image", "does not fit"),
        ("--out-ids x --local-labels", "needs --out"),
        ("--out-ids x --out y", "give --out DATASET, or --out-ids FILE"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    text_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("words.txt").write_text("hello\n")
    before = contents(tmp_path)
    code, told = invoke("filter", text_dataset, *flags.split())
    assert code == 2, told
    assert told.startswith("imagenet-captions: ")
    assert all(part in told for part in sentence.split(".*")), told
    assert contents(tmp_path) == before


@pytest.mark.parametrize("images", [False, True])
def test_a_parent_of_many_shards_gives_its_rows(images: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole shards and whole row groups may be left out between those with rows; labels and row groups are new."""
    monkeypatch.setattr("imagenet_captions.dataset.writing.SMALL_SHARD", 300)
    monkeypatch.setattr("imagenet_captions.dataset.filtering.TEXT_ROWS", 1)
    monkeypatch.setattr("imagenet_captions.packager.package.TEXT_ROWS", 1)
    parent = make_dataset(tmp_path, rows(20), images)
    assert len(list(parent.glob("data/*"))) > 3
    for number, classes in enumerate((["n01440764", "n15075141"], ["n02099601", "n02113799"])):
        child = filtered(parent, tmp_path / str(number), classes=classes)
        for config in ("default", "raw"):
            expected = ic.load(parent, config=config).to_pandas()
            expected = expected[expected["wnid"].isin(classes)].reset_index(drop=True)
            assert ic.load(child, config=config).to_pandas().equals(expected)
