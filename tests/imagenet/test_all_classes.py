"""All 21,841 classes of ImageNet, carried through every stage by --classes all."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import imagenet_captions as ic
from imagenet_captions.demo.flickr_stand_in import FlickrStandIn
from imagenet_captions.errors import InputError
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.classes import ClassSet
from tests.command_line import run_cli

TENCH, DOG, ANDIRON, TEDDY, POODLE = "n01440764", "n02084071", "n02710044", "n04399382", "n02113335"


def test_the_two_sets_agree_where_they_meet() -> None:
    both = set(classes.wnids()) & set(classes.wnids(ClassSet.ALL))
    assert set(classes.wnids()) - both == {TEDDY}
    assert (len(classes.wnids()), len(classes.wnids(ClassSet.ALL))) == (1000, 21841)
    for wnid in sorted(both):
        one, all_ = classes.by_wnid(wnid), classes.by_wnid(wnid, ClassSet.ALL)
        assert (one.name, one.lemmas, one.ancestors) == (all_.name, all_.lemmas, all_.ancestors)


def test_labels_are_the_ranks_of_the_sorted_wnids() -> None:
    wnids = classes.wnids(ClassSet.ALL)
    assert list(wnids) == sorted(wnids)
    assert [classes.index_of(wnid, ClassSet.ALL) for wnid in wnids[::1000]] == list(range(0, 21841, 1000))
    assert classes.resolve(21840, ClassSet.ALL) == (wnids[-1],)
    with pytest.raises(InputError, match="0 to 21840"):
        classes.resolve(21841, ClassSet.ALL)


def test_a_class_that_has_classes_below_it_stands_for_them_too() -> None:
    found = classes.resolve(DOG, ClassSet.ALL)
    assert DOG in found
    assert POODLE in found
    assert set(classes.resolve("dog")) <= set(found)
    with pytest.raises(InputError, match=ANDIRON):
        classes.resolve("dog", ClassSet.ALL)  # WordNet calls andirons dogs as well


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("all")
    ids = [f"{TENCH}_1", f"{DOG}_2", f"{POODLE}_3", f"{ANDIRON}_4", "n99999999_5"]
    lines = [f"{name}\thttp://farm1.static.flickr.com/2/{1000 + at}_abcdef.jpg" for at, name in enumerate(ids)]
    (folder / "urls.txt").write_text("\n".join([*lines, f"{TEDDY}_6\thttp://www.example.com/6.jpg"]) + "\n")
    photos = json.loads((Path(ic.__file__).parent / "demo" / "sample" / "photos.json").read_text(encoding="utf-8"))
    answer = next(each for each in photos.values() if each.get("stat", "ok") == "ok" and "photo" in each)
    titles = ["A tench", "My dog", "Poodles", "By the fire"]
    answers = {}
    for at, title in enumerate(titles):
        photo = {**answer["photo"], "id": str(1000 + at), "title": {"_content": title}}
        answers[str(1000 + at)] = {**answer, "photo": photo}
    with FlickrStandIn(answers) as flickr:
        done = run_cli(
            "build", "--urls", folder / "urls.txt", "--classes", "all", "--endpoint", flickr.endpoint,
            "--rate", "unlimited", "--out", folder / "out",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "out"


def test_every_class_gets_through_the_chain(dataset: Path) -> None:
    rows = ic.load(dataset)
    assert rows["image_id"][:] == [f"{TENCH}_1", f"{DOG}_2", f"{POODLE}_3", f"{ANDIRON}_4"]
    assert rows["class_name"][:] == ["tench", "dog", classes.by_wnid(POODLE, ClassSet.ALL).name, "andiron"]
    assert rows.features["label"].int2str(rows["label"][:]) == [TENCH, DOG, POODLE, ANDIRON]
    assert rows.features["label"].num_classes == 21841
    own = [f" {classes.index_of(wnid, ClassSet.ALL)} " for wnid in (TENCH, DOG)]
    assert all(label in text for label, text in zip(own, rows["mentions"][:2], strict=True))
    assert rows["names_class"][:2] == [True, True]
    outcomes = pq.read_table(dataset / "outcomes.parquet").to_pylist()
    outside = {row["wnid"]: (row["outcome"], row["count"]) for row in outcomes if row["image_id"] is None}
    assert outside == {"n99999999": ("unknown_class", 1), TEDDY: ("unknown_class", 1)}
    assert sum(row["count"] for row in outcomes) == 6


def test_a_filter_means_its_classes(dataset: Path, tmp_path: Path) -> None:
    for given, kept in ((DOG, 2), ("andiron", 1), (str(classes.index_of(TENCH, ClassSet.ALL)), 1)):
        ids = tmp_path / f"{given}.txt"
        done = run_cli("filter", dataset, "--class", given, "--out-ids", ids)
        assert done.returncode == 0, done.stderr
        assert len(ids.read_text().split()) == kept
    out = tmp_path / "dogs"
    assert run_cli("filter", dataset, "--class", DOG, "--out", out).returncode == 0
    assert run_cli("verify", out).returncode == 0
    assert len(ic.load(out, ic.in_class(POODLE, among="all"))) == 1
    assert len(ic.load(out, ic.names_class(DOG, among="all"))) >= 1


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("verify {dataset}", 0, ""),
        ("stats {dataset}", 0, "21,837"),  # classes without any row
        ("filter {dataset} --class dog --out-ids {tmp}/ids.txt", 2, ANDIRON),  # which has the name too
        ("clean --matches {dataset}.work/matches.parquet --store {dataset}.work/photos.sqlite --out {tmp}/c.parquet", 2,
         "was made with --classes all; give the same here"),
    ],
)  # fmt: skip
def test_commands_know_the_set(dataset: Path, tmp_path: Path, command: str, code: int, says: str) -> None:
    done = run_cli(*[word.format(dataset=dataset, tmp=tmp_path) for word in command.split()])
    assert done.returncode == code, done.stderr
    assert says in done.stdout + done.stderr
    assert "in 4 of the 21,841 classes" in (dataset / "README.md").read_text(encoding="utf-8")


def test_a_set_that_does_not_exist() -> None:
    with pytest.raises(InputError, match="the set of classes must be ilsvrc2012 or all, not 'imagenet'"):
        ic.in_class("dog", among="imagenet")
