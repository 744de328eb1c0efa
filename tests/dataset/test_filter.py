"""The filter command and function: ids and datasets, what they say of their parent, scores, and orders of a seed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import imagenet_captions as ic
from imagenet_captions.dataset.diff import diff
from imagenet_captions.dataset.settings import FilterSettings, RowConditions
from imagenet_captions.dataset.shards import Shards
from imagenet_captions.dataset.writing import read_outcome_counts
from imagenet_captions.demo.run import SAMPLE
from imagenet_captions.imagenet.classes import list_names
from imagenet_captions.outcomes import Outcome
from imagenet_captions.packager.package import verify
from imagenet_captions.pipeline.build import BuildSettings, build
from imagenet_captions.storage.files import sha256
from tests.command_line import invoke, run_bash, run_lines
from tests.dataset.made import WNIDS, make_dataset, read_ids, rows, write_scores
from tests.packager.made import contents

ROWS = rows()
IDS = [row["image_id"] for row in ROWS]


@pytest.fixture
def scores(text_dataset: Path, tmp_path: Path) -> Path:
    """Row i of 200 has (i - 50) / 200; the last twenty rows have no score, and rows 100 to 109 the same one."""
    values = [(at - 50) / 200 if at not in range(100, 110) else 0.25 for at in range(180)]
    order = sorted(range(180), key=lambda at: IDS[at][::-1])  # a file in another order than the dataset
    ids, similarities = [IDS[at] for at in order], [values[at] for at in order]
    return write_scores(tmp_path / "s.parquet", ids, similarities, text_dataset)


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
        ("--out-ids x --ids absent", "absent does not exist"),
        ("--out-ids x --deny absent", "absent does not exist"),
        ("--out-ids x --ids words.txt", "line 1: 'hello' is not an image id"),
        ("--out-ids x --split test", "--split must be one of train, val, not 'test'"),
        ("--out-ids x --split val --val-fraction 2", "the validation share must be between 0 and 1"),
        ("--out-ids x --val-fraction 0.2", "--val-fraction has no effect without --split; leave it out"),
        ("--out-ids x --has image", "does not fit"),
        ("--out-ids x --local-labels", "needs --out"),
        ("--out-ids x --without-images", "needs --out"),
        ("--out-ids x --shuffle 1", "needs --out"),
        ("--out-ids x --out y", "give --out DATASET, or --out-ids FILE"),
        ("--scores text.parquet", "--scores has no effect without a limit; give --score-above, --score-below or"),
        ("--out x --scores other.parquet --score-top 0.3", "with 180 of its 200 ids; score this one, or the one"),
        ("--out x --scores s.parquet --score-below val=0.9", "has no such column; it has similarity"),
        (
            "--out x --scores s.parquet --score-below 0.9",
            "--score-below must be COLUMN=VALUE, such as imagenet-v2=0.9",
        ),
        (
            "--out x --scores s.parquet --score-top 30",
            "--score-top must be a share above 0 and at most 1, not 30.0",
        ),
        (
            "--out x --scores s.parquet --score-above nan",
            "--score-above must be a similarity from -1 to 1, not nan",
        ),
        ("--out x --scores nowhere.parquet --score-top 0.3", "the file of scores nowhere.parquet does not exist"),
        ("--out x --scores twice.parquet --score-top 0.3", "twice.parquet has an id twice; score the dataset again"),
        (
            "--out x --scores inf.parquet --score-top 0.3",
            "inf.parquet has similarities that are not numbers; score",
        ),
        ("--out x --scores text.parquet --score-top 0.3", "was not written by `imagenet-captions score`"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    text_dataset: Path, scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("words.txt").write_text("hello\n")
    write_scores(tmp_path / "other.parquet", IDS[:180], [0.1] * 180, make_dataset(tmp_path / "o", rows(1)))
    write_scores(tmp_path / "twice.parquet", [*IDS[:180], IDS[0]], [0.1] * 181, text_dataset)
    write_scores(tmp_path / "inf.parquet", IDS[:2], [0.1, float("inf")], text_dataset)
    table = pq.read_table(scores)
    pq.write_table(table.set_column(1, "similarity", table["similarity"].cast("string")), tmp_path / "text.parquet")
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


def kept(dataset: Path, out: Path, **settings: Any) -> list[str]:
    ic.filter(dataset, ic.FilterSettings(**settings), out_ids=out, overwrite=True)
    return read_ids(out)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"score_above": 0.5}, IDS[151:180]),
        ({"score_above": -1.0}, IDS[:180]),
        ({"score_top": 0.1}, IDS[162:180]),
        ({"score_top": 1.0}, IDS[:180]),
        ({"score_above": 0.5, "score_top": 0.1}, IDS[177:180]),
        ({"score_above": 0.25, "score_below": ["similarity=0.5"]}, IDS[110:150]),
        ({"score_top": 0.5, "condition": ic.in_class("n01440764")}, IDS[20:40]),
        # Of rows 100 to 109, with the same score, three are left: those with the lower ids.
        ({"score_top": 73 / 180}, [*IDS[110:180], *sorted(IDS[100:110])[:3]]),
    ],
)
def test_limits(text_dataset: Path, scores: Path, tmp_path: Path, limits: dict[str, Any], expected: list[str]) -> None:
    assert kept(text_dataset, tmp_path / "ids.txt", scores=scores, **limits) == sorted(expected)
    told = json.loads((tmp_path / "ids.txt.json").read_text())
    assert told["filter"].get("score-above") == limits.get("score_above")
    assert told["counts"].get("no-score") == (None if "condition" in limits else 20)


def test_the_dataset_names_the_model_and_its_weights(text_dataset: Path, scores: Path, tmp_path: Path) -> None:
    limits = ["--scores", scores, "--score-top", "0.3", "--workers", "1"]
    code, told = invoke("filter", text_dataset, *limits, "--out", tmp_path / "best")
    assert code == 0, told
    assert told.split()[:10] == "kept 54 left out by no-score 20 left out by".split()
    assert "left out by score-top  126" in told
    verify(tmp_path / "best")
    (record,) = Shards(tmp_path / "best").manifest.settings["filter"]
    weights, digest = "sha256:" + "cd" * 32, f"sha256:{sha256(scores)}"
    assert record == {"score-model": "runs/clip", "score-weights": weights, "score-top": 0.3, "scores": digest}
    again = kept(tmp_path / "best", tmp_path / "ids.txt", scores=scores, score_top=0.5)
    assert again == sorted(IDS[153:180]), "the scores of the dataset that it was filtered from"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A sorted dataset, and its rows in the order of a seed."""
    folder = tmp_path_factory.mktemp("shuffle")
    sorted_ = make_dataset(folder, rows(20), images=True)
    ic.filter(sorted_, FilterSettings(shuffle=7, shards=4), out=folder / "shuffled")
    return sorted_, folder / "shuffled"


def table(dataset: Path, config: str = "default", condition: Any = None) -> dict[str, dict[str, Any]]:
    return {row["image_id"]: row for row in ic.load(dataset, condition, config).with_format("arrow")[:].to_pylist()}


def test_the_same_rows_in_another_order(both: tuple[Path, Path]) -> None:
    for config in ("default", "raw"):
        before, after = (table(each, config) for each in both)
        assert before == after
        assert list(before) != list(after)
    for each in both:
        assert list(table(each)) == list(table(each, "raw"))
        assert verify(each).rows == len(table(each))
    manifest = json.loads((both[1] / "manifest.json").read_text())
    assert manifest["settings"]["filter"] == [{"shuffle": 7, "shards": 4}]
    shards = sorted((both[1] / "data").iterdir())
    assert [len(pq.read_table(shard)["wnid"].unique()) for shard in shards] == [5] * 4
    assert "Rows are shuffled for training with the seed 7, over 4 shards" in (both[1] / "README.md").read_text()
    assert "Rows are sorted by `image_id`" in (both[0] / "README.md").read_text()


@pytest.mark.parametrize(
    "given",
    [
        {"wanted": RowConditions(classes=["dog"], has=["title"])},
        {"condition": ic.names_class() & ic.in_split("val", 0.5)},
        {"sample": 0.3, "deny": "denied"},
        {"balance": 10, "by": "class"},
        {"random_classes": 2, "seed": 5},
    ],
    ids=str,
)
def test_filters_keep_the_same_rows(both: tuple[Path, Path], tmp_path: Path, given: dict[str, Any]) -> None:
    (tmp_path / "denied").write_text("".join(f"{image_id}.JPEG\n" for image_id in sorted(table(both[0]))[3:60:7]))
    settings = FilterSettings(**{**given, **({"deny": tmp_path / "denied"} if "deny" in given else {})})
    lists = []
    for each in both:
        ic.filter(each, settings, out_ids=tmp_path / each.name)
        ic.filter(each, settings, out=tmp_path / f"{each.name}-rows")
        lists.append(read_ids(tmp_path / each.name))
        verify(tmp_path / f"{each.name}-rows")
    assert lists[0] == lists[1] == sorted(lists[0])
    before, after = (tmp_path / f"{each.name}-rows" for each in both)
    assert table(before) == table(after)
    assert pq.read_table(before / "outcomes.parquet") == pq.read_table(after / "outcomes.parquet")
    # The rows that are left keep the order of the dataset they come from.
    kept = set(lists[0])
    assert list(table(after)) == [image_id for image_id in table(both[1]) if image_id in kept]


def test_workers_and_seeds(both: tuple[Path, Path], tmp_path: Path) -> None:
    for name, seed, workers in (("two", 7, 2), ("other", 8, 1)):
        ic.filter(both[0], FilterSettings(shuffle=seed, shards=4), out=tmp_path / name, workers=workers)
    assert contents(tmp_path / "two") == contents(both[1])
    assert list(table(tmp_path / "other")) != list(table(both[1]))
    manifest = tmp_path / "other" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"shuffle": 8', '"shuffle": 6'))
    with pytest.raises(ic.InputError, match="not in the order of the seed 6"):
        verify(tmp_path / "other")


def test_diff_and_statistics(both: tuple[Path, Path], tmp_path: Path) -> None:
    for raw in (False, True):
        assert diff(*both, raw=raw).equal
    ic.filter(both[1], ic.has("title"), out=tmp_path / "part")
    assert diff(both[0], tmp_path / "part").total.lost > 0
    assert str(ic.stats(both[0])) == str(ic.stats(both[1]))


def test_shards(text_dataset: Path, tmp_path: Path) -> None:
    sixteen = filtered(text_dataset, tmp_path / "16", shuffle=0)
    counts = {
        each: [pq.read_metadata(shard).num_rows for shard in (sixteen / each).iterdir()] for each in ("data", "raw")
    }
    assert len(counts["data"]) == len(counts["raw"]) == 16
    assert max(counts["data"]) - min(counts["data"]) <= 1
    assert len(ic.load(filtered(text_dataset, tmp_path / "few", sample=3, shuffle=0))) == 3
    with pytest.raises(ic.InputError, match="`shards` is 4, but only 3 rows are left"):
        filtered(text_dataset, tmp_path / "no", sample=3, shuffle=0, shards=4)


def test_a_condition_makes_a_dataset_or_a_list_of_ids(text_dataset: Path, tmp_path: Path) -> None:
    condition = ic.in_class("tench") & ic.has("title")
    wanted = ic.load(text_dataset, condition)["image_id"][:]
    counts = ic.filter(str(text_dataset), condition, out=str(tmp_path / "child"))
    assert counts == {"kept": len(wanted), "condition": 200 - len(wanted)}
    assert ic.load(tmp_path / "child")["image_id"][:] == wanted
    assert ic.verify(str(tmp_path / "child")).rows == len(wanted)
    assert 'wnid == "n01440764"' in (tmp_path / "child" / "README.md").read_text("utf-8")
    assert ic.filter(text_dataset, condition, out_ids=tmp_path / "ids.txt") == counts
    assert (tmp_path / "ids.txt").read_text("utf-8").split() == wanted


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: ic.filter("d", "dog", out="o"), "`keep` must be a condition such as"),
        (lambda: ic.filter("d", ic.has("title")), "a filter writes one thing: give `out` DATASET, or `out_ids` FILE"),
        (lambda: ic.FilterSettings(balance=0), "`balance` must be at least 1, not 0"),
        (lambda: ic.FilterSettings(shuffle=0, shards=0), "`shards` must be at least 1, not 0"),
        (lambda: RowConditions(val_fraction=0.2), "`val_fraction` has no effect without `split`; leave it out"),
        (lambda: ic.FilterSettings(shards=4), "`shards` has no effect without `shuffle`; leave it out"),
        (lambda: ic.FilterSettings(score_above=0.0), "`score_above` has no effect without `scores`"),
        (lambda: ic.FilterSettings(score_top="x", scores="s"), "`score_top` must be a number, not 'x'"),
        (lambda: ic.FilterSettings(condition="dog"), "`condition` must be a condition such as `in_class('dog')`"),
        (lambda: ic.explain("d", 3), "'3' is not the id of a training image; give one such as n01440764_10026"),
        (lambda: ic.resolve(None), "`name` must be a wnid, an index or a name of a class, not None"),
        (lambda: ic.ExportSettings("slim", caption=3), "`caption` must be a CaptionTemplate, not 3"),
        (lambda: ic.publish(".", 3), "a repository is named ORG/NAME, such as my-group/captions, not '3'"),
        (lambda: ic.load("d", 3), "`filters` must be a condition such as"),
        (lambda: ic.filter("d", ic.has("title"), out="o", workers="2"), "`workers` must be a whole number, not '2'"),
        (lambda: ic.contains("title", 3), "`text` must be a text, not 3"),
        (lambda: ic.language(3), "'3' is not a language code"),
        (lambda: ic.in_split("val", "x"), "`fraction` must be a share such as 0.1, not 'x'"),
    ],
)
def test_a_value_of_another_type_is_refused_in_one_sentence(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ic.InputError, match=re.escape(sentence)):
        call()


DOCS = Path(__file__).parent.parent.parent / "docs" / "how-to"


def blocks(page: str, language: str) -> str:
    text = (DOCS / page).read_text(encoding="utf-8")
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("docs")
    release = made / "release.json"
    # The second retriever of the sample has been at the beach.
    text = (SAMPLE / "release.json").read_text(encoding="utf-8")
    release.write_text(re.sub(r'("n02099601_\d+\.JPEG".*?"title": ")', r"\1beach ", text, flags=re.DOTALL))
    build(made / "imagenet-captions", BuildSettings(release=release, work=made / "work", workers=1))
    return made


def test_filter(folder: Path) -> None:
    script = blocks("filter.md", "bash")
    shown = run_lines(script, folder).stdout
    assert shown.count("kept") == len(list(filter(None, script.splitlines())))
    assert (folder / "dogs" / "manifest.json").exists()
    script = blocks("filter.md", "python") + "\nprint(len(dogs), len(tagged), len(raw), len(rows))"
    shown = run_bash(f"python - <<'EOF'\n{script}\nEOF", folder, HF_DATASETS_CACHE=str(folder / "cache"))
    assert shown.split()[-4:] == ["0", "19", "7", "1"]
    assert (folder / "beach.txt").read_bytes() == (folder / "dogs.txt").read_bytes()
    assert (folder / "smaller" / "manifest.json").exists()
    assert all(name in (DOCS / "filter.md").read_text(encoding="utf-8") for name in list_names())
