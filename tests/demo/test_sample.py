"""The embedded sample is what its README says, and what tools/sample makes."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import imagenet_captions
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.image_ids import image_id
from imagenet_captions.outcomes import Outcome

SAMPLE = Path(imagenet_captions.__file__).parent / "demo" / "sample"
MAKE = Path(__file__).parents[2] / "tools" / "sample" / "make_sample.py"

# Outcomes of a run over ids.txt; the others belong to a release, a denylist, a crawl with a limit and a filter.
REACHED = {
    "kept": 33,
    "no_url": 3,
    "bad_url": 1,
    "not_flickr": 5,
    "not_a_photo": 3,
    "not_found": 2,
    "private": 1,
    "unreachable": 1,
    "no_text": 3,
    "unknown_class": 1,
    "bad_record": 1,
    "no_image": 1,
    "broken_image": 1,
}
ELSEWHERE = {Outcome.DUPLICATE_ID, Outcome.DENIED, Outcome.NOT_ASKED, Outcome.FILTERED}


def expected() -> dict[str, str]:
    with (SAMPLE / "expected.tsv").open(encoding="ascii", newline="") as opened:
        return {row["image_id"]: row["outcome"] for row in csv.DictReader(opened, delimiter="\t")}


def answers() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SAMPLE / "photos.json").read_text(encoding="utf-8"))
    return found


def photos() -> list[dict[str, Any]]:
    return [answer["photo"] for answer in answers().values() if answer["stat"] == "ok"]


def release() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((SAMPLE / "release.json").read_text(encoding="utf-8"))
    return rows


def test_the_tool_writes_exactly_the_shipped_files(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(MAKE), str(tmp_path)], check=True, capture_output=True)
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    shipped = {path.relative_to(SAMPLE) for path in SAMPLE.rglob("*") if path.is_file()}
    assert shipped - made - {Path(".gitattributes")} == {Path("README.md")}  # a wheel leaves dot files out
    assert not made - shipped
    for path in made:
        if path.suffix != ".JPEG":  # pictures depend on Pillow's version
            assert (tmp_path / path).read_bytes() == (SAMPLE / path).read_bytes()


def test_the_sample_is_small() -> None:
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file()) < 400_000


def test_every_outcome_of_a_build_from_flickr_is_there() -> None:
    assert Counter(expected().values()) == REACHED
    assert set(Outcome) - ELSEWHERE == {Outcome(name) for name in REACHED}


def test_the_expected_ids_are_those_of_the_id_list() -> None:
    lines = (SAMPLE / "ids.txt").read_text(encoding="ascii").splitlines()
    found = [image_id(line) for line in lines]
    assert found.count(None) == 1
    assert set(found) - {None} == set(expected()) - {""}
    assert max(Counter(found).values()) == 2  # one id stands there twice


def test_the_url_list_has_the_dirt_that_it_is_meant_to_have() -> None:
    content = (SAMPLE / "urls.txt").read_bytes()
    lines = content.split(b"\n")
    with pytest.raises(UnicodeDecodeError):
        content.decode("utf-8")
    assert b"\r\n" in content
    assert any(line.endswith(b"\t") for line in lines)
    assert any(line.count(b"\t") == 2 for line in lines)
    assert any(b"\t" not in line and b" http" in line for line in lines)
    assert any(count == 2 for line, count in Counter(lines).items() if line)
    listed = Counter(line.split()[0].decode("latin-1") for line in lines if b"http" in line)
    assert [each for each in expected() if listed[each] == 2]
    for part in (
        b".flickr.com.evil.org/",
        b"notflickr.com",
        b"photo_unavailable.gif",
        b"flic.kr/p/",
        b"photo_zoom.gne",
    ):
        assert part in content


def test_wanted_classes_are_a_dozen_of_the_1000_and_one_outside() -> None:
    wnids = {each.partition("_")[0] for each in expected() if each}
    outside = {wnid for wnid in wnids if not classes.is_class(wnid)}
    assert outside == {"n02084071"}
    assert len(wnids - outside) == 13


def test_answers_have_the_shape_of_getinfo() -> None:
    codes = Counter(answer.get("code") for answer in answers().values())
    assert {code: codes[code] for code in (1, 2, 105)} == {1: 2, 2: 1, 105: 1}
    for photo_id, answer in answers().items():
        assert photo_id.isascii()
        assert photo_id.isdigit()
        if answer["stat"] == "fail":
            assert answer["message"]
            continue
        photo = answer["photo"]
        assert photo["id"] == photo_id
        assert int(photo_id) > 2**32
        assert 0 <= int(photo["license"]) <= 16
        assert isinstance(photo["title"]["_content"], str)
        assert isinstance(photo["description"]["_content"], str)
        assert photo["urls"]["url"][0]["type"] == "photopage"
        for tag in photo["tags"]["tag"]:
            assert isinstance(tag["raw"], str)
            assert tag["machine_tag"] in (0, 1)


def test_answers_drift_as_real_ones_do() -> None:
    found = photos()
    assert {type(photo["license"]) for photo in found} == {int, str}
    assert {type(photo["safety_level"]) for photo in found} == {int, str}
    assert {type(photo["comments"]["_content"]) for photo in found} == {int, str}
    assert {type(photo["dates"]["takengranularity"]) for photo in found} == {int, str}
    aliases = [photo["owner"]["path_alias"] for photo in found]
    assert None in aliases
    assert "" in aliases
    assert any("originalsecret" not in photo for photo in found)
    assert any("people" not in photo for photo in found)
    assert any("canprint" not in photo["usage"] for photo in found)
    assert [photo["media"] for photo in found].count("video") == 1
    tags = [(photo["owner"]["nsid"], tag) for photo in found for tag in photo["tags"]["tag"]]
    assert any(tag["machine_tag"] for _, tag in tags)
    assert any(tag["_content"] == "" for _, tag in tags)
    assert any(tag["author"] != owner for owner, tag in tags)


def test_one_photo_belongs_to_two_ids() -> None:
    addresses = dict(
        line.split("\t")[:2]
        for line in (SAMPLE / "urls.txt").read_text(encoding="latin-1").splitlines()
        if "\t" in line
    )
    shared = Counter(addresses[each] for each in expected() if addresses.get(each, "").endswith(".jpg"))
    assert [count for count in shared.values() if count > 1] == [2]


def test_pictures_open_but_for_the_broken_one() -> None:
    kinds: Counter[str] = Counter()
    for path in sorted((SAMPLE / "train").rglob("*.JPEG")):
        assert path.parent.name == path.name.partition("_")[0]
        if expected()[path.stem] == "broken_image":
            assert path.stat().st_size == 0
            kinds["empty"] += 1
            continue
        with Image.open(path) as picture:
            picture.load()
            kinds[f"{picture.format} {picture.mode}"] += 1
    assert {kind: kinds[kind] for kind in ("empty", "PNG P", "JPEG CMYK", "JPEG L")} == dict.fromkeys(
        ("empty", "PNG P", "JPEG CMYK", "JPEG L"), 1
    )
    assert kinds["JPEG RGB"] > 40


def test_kept_ids_have_a_picture_and_the_missing_one_has_none() -> None:
    with_picture = {path.stem for path in (SAMPLE / "train").rglob("*.JPEG")}
    ends = expected()
    assert {each for each, outcome in ends.items() if outcome == "kept"} <= with_picture
    assert not {each for each, outcome in ends.items() if outcome == "no_image"} & with_picture


def test_the_release_is_in_the_published_form_with_a_few_bad_entries() -> None:
    rows = release()
    names = [row["filename"] for row in rows]
    assert all(set(row) == {"filename", "wnid", "title", "description", "tags"} for row in rows)
    assert [count for count in Counter(names).values() if count > 1] == [2]
    assert any(row["title"] is None for row in rows)
    ids = [image_id(name) for name in names]
    assert ids.count(None) == 1
    assert [each for each, row in zip(ids, rows, strict=True) if each and not each.startswith(row["wnid"])]
    assert any(not classes.is_class(row["wnid"]) for row in rows)
    kept = {f"{each}.JPEG" for each, outcome in expected().items() if outcome == "kept"}
    assert len(kept & set(names)) == 26
