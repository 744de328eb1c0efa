"""The answers beside metrics.json, and the hashes that say how they were measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation import evaluate as evaluation
from imagenet_captions.evaluation.evaluate import evaluate_model
from imagenet_captions.evaluation.results import ANSWERS, answers_path, read_answers
from imagenet_captions.evaluation.settings import ClassifierSettings, EvaluateSettings, Reading
from imagenet_captions.imagenet import classes
from tests.evaluation.made_model import MadeModel
from tests.evaluation.made_sets import flat_val, ground_truth, picture, write_files, write_tar

R = classes.read_list("imagenet-r")[:3]


def settings(path: Path, name: str = "imagenet-r", **more: Any) -> EvaluateSettings:
    return EvaluateSettings("made", ((name, path),), ClassifierSettings(**more), Reading(7, 1, "cpu"))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    files = {f"{wnid}/art_{number}.jpg": picture(number * 40, size=8) for wnid in R for number in range(4)}
    return write_files(tmp_path / "r", {**files, f"{R[0]}/broken.jpg": b"<html>"})


def test_the_answers_are_those_that_are_counted(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "load_model", lambda source: MadeModel())
    out = tmp_path / "out" / "metrics.json"
    entry = evaluation.evaluate(settings(images, prompts="one"), out)["test_sets"]["imagenet-r"]
    assert pq.read_schema(answers_path(out)).names == ANSWERS.names
    rows = pq.read_table(answers_path(out)).to_pylist()
    assert [row["image_id"] for row in rows] == sorted(
        path.relative_to(images).as_posix() for path in images.rglob("*.jpg")
    )
    (broken,) = (row for row in rows if row["prediction"] is None)
    assert (broken["image_id"], broken["correct"]) == (f"{R[0]}/broken.jpg", False)
    decoded = read_answers(answers_path(out))["imagenet-r"].to_pylist()
    assert decoded == [row for row in rows if row["prediction"] is not None]
    assert all(row["correct"] == (row["prediction"] == row["label"]) for row in decoded)
    for key, counted in entry["per_class"].items():
        own = [row["correct"] for row in decoded if row["label"] == key]
        assert counted == {"n": len(own), "correct": sum(own)}
    assert entry["protocol"]["images"] == entry["n"] == 12


def protocol(path: Path, name: str = "imagenet-r", **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    metrics = evaluate_model(MadeModel(), settings(path, name, **more))
    return metrics["protocol"], metrics["test_sets"][name]["protocol"]


def test_what_changes_a_hash(images: Path, tmp_path: Path) -> None:
    (tmp_path / "same.txt").write_text("a photo of a {}.\n")
    one, own = protocol(images, prompts="one")
    assert one["version"] == 1
    assert protocol(images, prompts=str(tmp_path / "same.txt")) == (one, own), "the sentences count, not their file"
    other, still = protocol(images, prompts="none")
    assert other["sentences_sha256"] != one["sentences_sha256"]
    assert still == own
    renamed = protocol(images, prompts="one", names="wordnet")
    assert renamed[0] == one
    assert {name for name in own if own[name] != renamed[1][name]} == {"class_names_sha256"}
    (images / R[0] / "art_0.jpg").unlink()
    fewer = protocol(images, prompts="one")[1]
    assert {name for name in own if own[name] != fewer[name]} == {"images", "images_sha256"}


def test_a_hash_does_not_depend_on_the_layout(tmp_path: Path) -> None:
    wnids = [R[0], R[1], R[0]]
    write_files(tmp_path, {"ILSVRC2012_validation_ground_truth.txt": ground_truth(wnids)})
    images = list(zip(wnids, flat_val(3).items(), strict=True))
    folders = write_files(tmp_path / "folders", {f"{wnid}/{name}": data for wnid, (name, data) in images})
    hub = write_files(tmp_path / "hub", {f"{name[:-5]}_{wnid}.JPEG": data for wnid, (name, data) in images})
    layouts = (write_tar(tmp_path / "val.tar", flat_val(3)), folders, hub)
    found = [protocol(layout, "imagenet", prompts="none")[1] for layout in layouts]
    assert found[0] == found[1] == found[2]


def test_what_something_else_wrote_stays(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "load_model", lambda source: MadeModel())
    out, of_author = tmp_path / "m.json", tmp_path / "model" / "metrics.json"
    of_author.parent.mkdir()
    answers_path(out).write_text("mine")
    of_author.write_text("of the model's author")
    asked = settings(images, prompts="none")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"m\.answers\.parquet lies where .* is not ours"):
            evaluation.evaluate(asked, out, overwrite)
        with pytest.raises(InputError, match="lies inside the input"):
            evaluation.evaluate(replace(asked, model=str(of_author.parent)), of_author, overwrite)
    assert (answers_path(out).read_text(), out.exists()) == ("mine", False)
    assert [path.read_text() for path in of_author.parent.iterdir()] == ["of the model's author"]
    answers_path(out).unlink()
    (of_author.parent / "done.json").write_text("{}")  # so that it is a run of ours
    for _ in range(2):
        evaluation.evaluate(replace(asked, model=str(of_author.parent)), of_author)
    assert json.loads(of_author.read_text())["test_sets"]["imagenet-r"]["n"] == 12
