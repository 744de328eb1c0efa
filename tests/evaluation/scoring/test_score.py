"""Scores: the numbers of the model's own library, whole after a kill, and every row counted."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import imagenet_captions as ic
from imagenet_captions.dataset.shards import Shards
from imagenet_captions.evaluation import score as scoring
from imagenet_captions.evaluation import settings
from imagenet_captions.models.build import build_model
from imagenet_captions.models.load import save_model
from imagenet_captions.packager.package import PackageSettings, package
from imagenet_captions.schema import provenance
from tests.command_line import invoke
from tests.dataset.made import make_dataset, read_ids, rows
from tests.evaluation.made_sets import write_parquet
from tests.models.conftest import TINY_VIT, open_clip_folder
from tests.packager.made import IDS, train_folder, write_captions

SPEC: dict[str, Any] = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bicubic"}


class Killed(BaseException):
    """The process is gone: nothing catches it."""


def noise(seed: int) -> bytes:
    """A picture of 32 x 32 pixels, which no preprocessing resizes."""
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset of twelve images, and a CLIP of open_clip's that reads 16 tokens."""
    folder = tmp_path_factory.mktemp("made")
    open_clip_folder(folder / "model", TINY_VIT, SPEC)
    images = train_folder(folder / "train", {image_id: noise(at) for at, image_id in enumerate(IDS)})
    captions = write_captions(folder / "captions.parquet", IDS)
    package(captions, folder / "dataset", PackageSettings(images=images))
    return folder


def scored(made: Path, out: Path, **given: Any) -> list[dict[str, Any]]:
    ic.score(made / "dataset", str(made / "model"), out=out, device="cpu", **given)
    found: list[dict[str, Any]] = pq.read_table(out).to_pylist()
    return found


def test_similarities_are_those_of_the_models_own_library(made: Path, tmp_path: Path) -> None:
    found = scored(made, tmp_path / "scores.parquet", embeddings=True)
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{made / 'model'}")
    tokenize = open_clip.get_tokenizer(f"local-dir:{made / 'model'}")
    assert [row["image_id"] for row in found] == sorted(IDS)
    for row in found:
        image = preprocess(Image.open(io.BytesIO(noise(IDS.index(row["image_id"])))))[None]
        with torch.no_grad():
            images = model.eval().encode_image(image, normalize=True)[0]
            texts = model.encode_text(tokenize([f"Photo {row['image_id']} one zwei"]), normalize=True)[0]
        assert row["similarity"] == pytest.approx(float(images @ texts), abs=1e-6)
        assert row["image_embedding"] == pytest.approx(images.tolist(), abs=1e-3)
        assert row["text_embedding"] == pytest.approx(texts.tolist(), abs=1e-3)


def test_planted_copies_of_test_images_are_found_and_pruned(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a naive loop over open_clip's embeddings, whatever the blocks; two sets, of which each has copies."""
    monkeypatch.setattr(scoring, "TEST_IMAGES_AT_ONCE", 3)
    monkeypatch.chdir(tmp_path)
    sets = {
        "one": [noise(100), noise(4), noise(101), noise(102), noise(7), noise(103), noise(104)],
        "two": [noise(5), noise(105), noise(7)],
    }
    for name, images in sets.items():
        write_parquet(Path(f"{name}.parquet"), [0] * len(images), ["thing"], images)
    command = f"score {made}/dataset --model {made}/model --device cpu --batch-size 5 --workers 2 --out scores.parquet"
    code, told = invoke(*command.split(), *"--against one=one.parquet --against two=two.parquet".split())
    assert code == 0, told
    found = pq.read_table("scores.parquet").to_pylist()
    whole = scored(made, tmp_path / "whole.parquet", batch_size=1)
    assert [{name: row[name] for name in whole[0]} for row in found] == [
        {**row, "similarity": pytest.approx(row["similarity"], abs=1e-6)} for row in whole
    ], "batches and workers change nothing"

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{made / 'model'}")

    def embed(data: bytes) -> torch.Tensor:
        with torch.no_grad():
            return model.eval().encode_image(preprocess(Image.open(io.BytesIO(data)))[None], normalize=True)[0]

    for name, images in sets.items():
        among = [embed(data) for data in images]
        for row in found:
            products = [float(embed(noise(IDS.index(row["image_id"]))) @ other) for other in among]
            assert row[name] == pytest.approx(max(products), abs=1e-5)
            assert products[int(row[f"{name}_image"])] == pytest.approx(max(products), abs=1e-6)
    limits = "--score-below one=0.9999 --score-below two=0.9999"
    invoke(*f"filter {made}/dataset --scores scores.parquet {limits} --out-ids ids.txt".split())
    assert read_ids(Path("ids.txt")) == sorted({*IDS} - {IDS[4], IDS[5], IDS[7]})
    about = provenance(pq.read_schema("scores.parquet"))
    assert about["settings"]["against"] == {"one": "one.parquet", "two": "two.parquet"}
    assert set(about["inputs"]["against"]) == {"one", "two"}


def test_a_killed_run_goes_on_after_the_last_finished_part(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "PART_ROWS", 5)
    scored(made, tmp_path / "whole.parquet", batch_size=5)
    real, written = scoring.write_table, list[str]()

    def killed(table: Any, path: Path) -> None:
        written.append("killed" if len(written) in (1, 2) else path.name.split(".")[1])
        if written[-1] == "killed":
            raise Killed
        real(table, path)

    monkeypatch.setattr(scoring, "write_table", killed)
    out = tmp_path / "scores.parquet"
    for _ in range(2):
        with pytest.raises(Killed):
            scored(made, out, batch_size=5)
        assert not out.exists()
    scored(made, out, batch_size=5)
    assert written == ["000000", "killed", "killed", "000001", "000002", "scores"]
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert len(list(tmp_path.iterdir())) == 4, "two files each, and no parts"


def test_parts_of_other_captions_are_not_used(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = scoring.remove_parts
    monkeypatch.setattr(scoring, "remove_parts", lambda folder: None)
    first = scored(made, tmp_path / "scores.parquet")
    monkeypatch.setattr(scoring, "remove_parts", real)
    assert scored(made, tmp_path / "scores.parquet", caption="tags", overwrite=True) != first
    assert scored(made, tmp_path / "scores.parquet", overwrite=True) == first


def test_every_row_is_counted(tmp_path: Path) -> None:
    """Every tenth row has no image, every eighth no title."""
    dataset = make_dataset(tmp_path, rows(20), images=True)
    save_model(build_model("micro", seed=0), tmp_path / "run")
    counts = ic.score(dataset, str(tmp_path / "run"), out=tmp_path / "scores.parquet", caption="title", device="cpu")
    outcomes = pq.read_table(tmp_path / "scores.outcomes.parquet").to_pylist()
    assert counts == {"kept": 80, "no_text": 10, "no_image": 10}
    scores = pq.read_table(tmp_path / "scores.parquet")
    assert {*scores["image_id"].to_pylist(), *(row["image_id"] for row in outcomes)} == {
        row["image_id"] for row in rows(20)
    }


def test_an_image_that_cannot_be_decoded_is_an_outcome(made: Path, tmp_path: Path) -> None:
    """A dataset may hold what its packaging found whole by its header alone."""
    shutil.copytree(made / "dataset", tmp_path / "dataset")
    shutil.copytree(made / "model", tmp_path / "model")
    (shard,) = (tmp_path / "dataset" / "data").iterdir()
    image, stored = noise(IDS.index(IDS[4])), shard.read_bytes()
    assert stored.count(image) == 1
    shard.write_bytes(stored.replace(image, image[:60] + bytes(len(image) - 60)))
    found = scored(tmp_path, tmp_path / "scores.parquet", batch_size=3)
    assert {row["image_id"] for row in found} == {*IDS} - {IDS[4]}
    (broken,) = pq.read_table(tmp_path / "scores.outcomes.parquet").to_pylist()
    assert (broken["image_id"], broken["outcome"]) == (IDS[4], "broken_image")
    assert broken["detail"]


def test_the_file_says_how_it_was_made(made: Path, tmp_path: Path) -> None:
    scored(made, tmp_path / "a.parquet", caption='title template="a photo of a {}"')
    about = provenance(pq.read_schema(tmp_path / "a.parquet"))
    assert about["settings"] == {
        "model": str(made / "model"),
        "caption": 'class_name title template="a photo of a {}"',
        "caption_stored": False,
        "embeddings": False,
    }
    assert about["inputs"]["dataset"] == Shards(made / "dataset").digest
    assert about["model"]["context_length"] == 16
    assert about["model"]["preprocessing"]["mean"] == SPEC["mean"]
    shutil.copytree(made / "dataset", tmp_path / "dataset")
    whole = open_clip_folder(tmp_path / "model", TINY_VIT, SPEC)
    with torch.no_grad():
        whole.text_projection[0, 0] += 1e-3
    torch.save(whole.state_dict(), tmp_path / "model" / "open_clip_pytorch_model.bin")
    scored(tmp_path, tmp_path / "c.parquet")
    other = provenance(pq.read_schema(tmp_path / "c.parquet"))
    assert (other["settings"]["caption"], other["settings"]["caption_stored"]) == ("title tags description", True)
    assert other["inputs"]["dataset"] == about["inputs"]["dataset"]
    assert other["inputs"]["weights"] != about["inputs"]["weights"]


def test_tokens_are_counted_before_the_text_is_cut(made: Path, tmp_path: Path) -> None:
    whole = open_clip.SimpleTokenizer(context_length=77)
    for caption, text in (("tags", "one zwei"), ("title tags", "Photo {} one zwei")):
        for row in scored(made, tmp_path / "scores.parquet", caption=caption, overwrite=True):
            assert row["tokens"] == int((whole(text.format(row["image_id"])) != 0).sum())
            assert row["cut"] == (row["tokens"] > 16)
        assert row["cut"] == (caption != "tags")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("score texts --model model --out s.parquet", "texts without images; build or package it again with"),
        ("score model --model model --out s.parquet", "model has no manifest.json of a dataset"),
        ("score dataset --model photos --out s.parquet", "photos has no text tower, which scores of captions need"),
        ("score dataset --model nowhere --out s.parquet", "'nowhere' does not exist"),
        ("score dataset --model model --out s.parquet --caption description", "no image of dataset has a caption"),
        ("score dataset --model model --out s.parquet --device gpu", "--device 'gpu' cannot be used"),
        ("score dataset --model model --out dataset/s.parquet", "lies inside the"),
        ("score dataset --model model --against val --out s.parquet", "--against 'val' names no test set; give"),
        ("score dataset --model model --against cut=dataset --out s.parquet", "--against cut is another column of the"),
        (
            "score dataset --model model --against a=dataset --against a_image=dataset --out s.parquet",
            "--against a_image is another column of the",
        ),
        ("score dataset --model model --out mine.parquet", "exists; give another name, or --overwrite to replace it"),
    ],
)
def test_what_cannot_be_scored_is_one_sentence(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("dataset", "model"):
        shutil.copytree(made / name, name)
    package(write_captions(tmp_path / "captions.parquet", IDS), tmp_path / "texts", PackageSettings())
    image_only = build_model("micro", seed=0)
    image_only.drop_text()
    save_model(image_only, tmp_path / "photos")
    Path("mine.parquet").write_text("my thesis")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    code, told = invoke(*words.split(), "--workers", "1")
    assert code == 2, told
    last = told.splitlines()[-1]
    assert last.startswith("imagenet-captions: ")
    assert sentence in last
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
