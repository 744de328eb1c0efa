"""The life of one id: what the folders tell, and what they say that they cannot tell."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import imagenet_captions as ic
from imagenet_captions.captions.mentions import matcher
from imagenet_captions.cleaner.clean import CleanSettings
from imagenet_captions.demo.flickr_stand_in import FlickrStandIn
from imagenet_captions.demo.run import SAMPLE
from imagenet_captions.outcomes import Outcome
from imagenet_captions.pipeline.build import BuildSettings, build
from imagenet_captions.storage.files import YFCC_PHOTOS
from tests.chain import answerable_photos, build_arguments
from tests.command_line import invoke
from tests.dataset.made import make_dataset, rows

RELEASE = SAMPLE / "release.json"


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("explain") / "rebuilt"
    with FlickrStandIn(answerable_photos()) as flickr, pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLICKR_API_KEY", "k")
        patch.setenv("FLICKR_API_SECRET", "s")
        code, told = invoke(*build_arguments(out, flickr.endpoint, "--rate", "unlimited"))
    assert code == 0, told
    return out


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("explain") / "released"
    build(out, BuildSettings(release=RELEASE, workers=1))
    return out


def work(dataset: Path) -> Path:
    return dataset.with_name(dataset.name + ".work")


def test_a_row_tells_its_whole_life(rebuilt: Path) -> None:
    found = ic.explain(rebuilt, "n01440764_965652.JPEG", work(rebuilt))
    assert (found.image_id, found.outcome, found.label) == ("n01440764_965652", Outcome.KEPT, 0)
    assert found.raw["title"] == "IMG_1234"
    assert [(each.rule, each.before, each.after) for each in found.changes] == [("camera file names", "IMG_1234", None)]
    assert found.caption == "fish brother My brother with the first tench of the season"
    assert [(each["class_name"], each["words"]) for each in found.mentions] == [("tench", ["tench"])]
    image = (SAMPLE / "train/n01440764/n01440764_965652.JPEG").read_bytes()
    digest = hashlib.sha256(image).hexdigest()
    assert found.image == {"width": 80, "height": 80, "bytes": len(image), "sha256": digest}
    assert found.photo["attribution"] == (
        '"IMG_1234" by Sample 160, https://www.flickr.com/photos/sample-990000160/99417976437/, '
        "CC BY-NC 2.0 (https://creativecommons.org/licenses/by-nc/2.0/)"
    )
    assert found.listed["line"] == "n01440764_965652 http://static.flickr.com/1843/99417976437_460f0a5574.jpg"
    assert (found.listed["photo_id"], found.listed["answer"]) == ("99417976437", "ok")
    assert found.listed["answered_at"] == found.photo["retrieved_at"]
    assert [sentence for sentence in found.unknown if "the language" not in sentence] == []


def test_the_words_of_a_row_are_those_of_its_labels() -> None:
    rows = ["A tench and two goldfishes", "Great white shark!", "origami cranes", "a crane in the harbour", "小 tench"]
    for text in rows:
        (labels,) = matcher().find(pa.array([text])).to_pylist()
        assert sorted({label for label, _ in matcher().words([text])}) == labels
    assert matcher().words(["golden", "retriever"]) == []


@pytest.mark.parametrize(
    ("image_id", "outcome", "texts", "line", "answer"),
    [
        ("n03445777_913810", "no_text", ("DSCN0042", "", []), "http://farm2.static.flickr.com/1433/", "ok"),
        ("n04146614_916894", "broken_image", ("Rear door", "Emergency exit", ["school bus"]), "http://farm3.", "ok"),
        ("n06874185_907687", "not_found", None, "http://www.flickr.com/photos/990000665@N07/", "not_found"),
        ("n02099601_926628", "not_a_photo", None, "https://live.staticflickr.com/video/", None),
        ("n01440764_963690", "no_url", None, None, None),
    ],
)
def test_a_dropped_id_tells_its_texts_and_its_address(
    rebuilt: Path, image_id: str, outcome: str, texts: tuple[object, ...] | None, line: str | None, answer: str | None
) -> None:
    code, told = invoke("explain", str(rebuilt), image_id, "--work", str(work(rebuilt)), "--json")
    assert code == 0, told
    found = json.loads(told)
    assert (found["outcome"], found["caption"], found["image"]) == (outcome, None, None)
    assert (found["raw"] and tuple(found["raw"].values())) == texts
    listed = found["listed"] or {}
    assert listed.get("answer") == answer
    assert str(listed.get("line")).startswith(f"{image_id} {line}" if line else "None")
    said = " ".join(found["unknown"])
    assert ("raw texts" in said) == (texts is None)
    assert ("the line of the URL list" in said) == (line is None)


def test_what_the_dataset_alone_cannot_tell_is_said(rebuilt: Path, released: Path) -> None:
    _, told = invoke("explain", str(rebuilt), "n03445777_913810")
    assert "not known: the line of the URL list, and Flickr's answer: no work folder was given" in told
    assert "not known: raw texts: the dataset has those of its rows alone" in told
    _, told = invoke("explain", str(released), "n01440764_965652")
    assert "raw title       'IMG_1234'" in told
    for part in ("photo and address", "the image", "the license", "how to attribute it"):
        assert f"not known: {part}: " in told
    _, told = invoke("explain", str(released), "n01440764_965652", "--work", str(work(released)))
    assert "not known: photo and address: the published file" in told


def test_further_entries_of_an_id_are_told(released: Path) -> None:
    names = [each.get("filename") for each in json.loads(RELEASE.read_text()) if isinstance(each, dict)]
    (twice,) = {name for name in names if name and names.count(name) > 1}
    assert [entry.partition(":")[0] for entry in ic.explain(released, twice).further_entries] == ["duplicate_id"]


def test_a_work_folder_of_another_build_is_noticed(rebuilt: Path, tmp_path: Path) -> None:
    urls = tmp_path / "u.txt"
    urls.write_text("n01440764_965652\thttp://static.flickr.com/1843/99417976437_460f0a5574.jpg\n")
    assert invoke("match", "--urls", str(urls), "--out", str(tmp_path / "matches.parquet"))[0] == 0
    found = ic.explain(rebuilt, "n01440764_965652", tmp_path)
    assert any("is not of the build that made the dataset" in sentence for sentence in found.unknown)
    assert any(sentence.startswith("Flickr's answer: ") for sentence in found.unknown)
    assert "YFCC100M" not in str(found)
    for photo, said in (("99417976437", "has the photo"), ("1", "does not have the photo")):
        texts = {"photo_id": [photo], "title": ["A fish"], "description": [""], "tags": [["x"]]}
        pq.write_table(pa.table(texts), tmp_path / YFCC_PHOTOS)
        assert f"YFCC100M        {said}" in str(ic.explain(rebuilt, "n01440764_965652", tmp_path))


def test_texts_of_another_release_are_said_to_be(released: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(RELEASE.read_text(encoding="utf-8").replace("tench", "TENCH"), encoding="utf-8")
    assert invoke("clean", "--release", other, "--out", tmp_path / "captions.parquet")[0] == 0
    found = ic.explain(released, "n01440764_965652", tmp_path)
    assert [each for each in found.unknown if each.startswith("whether these texts were used: ")]


def test_published_texts_are_not_cleaned(tmp_path: Path) -> None:
    build(tmp_path / "x", BuildSettings(release=RELEASE, clean=CleanSettings(as_published=True), workers=1))
    found = ic.explain(tmp_path / "x", "n01440764_965652")
    assert (found.changes, found.raw) == ([], found.cleaned)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["n01440764_1"], "n01440764_1 is not among the inputs of "),
        (["n02084071_7"], "among the ids of n02084071 outside the wanted classes (1 in all)"),
        (["tench"], "'tench' is not the id of a training image; give one such as n01440764_10026"),
        (["n01440764_965652", "--work", str(SAMPLE)], "give the work folder of a build"),
    ],
)
def test_an_unknown_id_or_another_folder_is_one_sentence(rebuilt: Path, given: list[str], sentence: str) -> None:
    code, told = invoke("explain", str(rebuilt), *given)
    assert (code, told.count("\n")) == (2, 1)
    assert sentence in told


def test_pandas_is_not_imported(released: Path) -> None:
    """It takes longer than all the rest of the command."""
    script = f"import sys, imagenet_captions as ic; ic.explain({str(released)!r}, 'n01440764_965652')"
    done = subprocess.run([sys.executable, "-c", f"{script}; print('pandas' in sys.modules)"], capture_output=True)
    assert done.stdout.strip() == b"False", done.stderr


@pytest.mark.parametrize(
    "command", ["explain DATASET n01440764_3", "explain DATASET n01440764_3 --json", "stats DATASET"]
)
def test_control_characters_of_strangers_do_not_reach_the_terminal(tmp_path: Path, command: str) -> None:
    hostile = "\x1b]0;mine\x07\x9b31m\u202e"
    texts = {"owner_name": hostile, "photo_page": f"https://{hostile}", "class_name": hostile, "language": hostile}
    dataset = make_dataset(tmp_path, [{**row, **texts, "license": 4} for row in rows(1)])
    code, told = invoke(*command.replace("DATASET", str(dataset)).split())
    assert code == 0, told
    assert not set(told) & set("\x1b\x07\x9b\u202e")
