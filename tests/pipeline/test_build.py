"""Which stages of a build run again, and when."""

from __future__ import annotations

import importlib.metadata
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.cleaner.clean import CleanSettings
from imagenet_captions.crawler.match import MatchSettings
from imagenet_captions.demo.run import SAMPLE
from imagenet_captions.errors import InputError
from imagenet_captions.packager.package import PackageSettings
from imagenet_captions.pipeline import build as building
from imagenet_captions.pipeline.build import BuildSettings, build, run_stage
from tests.packager.made import contents


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stages that ran."""
    seen: list[str] = []
    original = run_stage

    def watched(work: Path, stage: str, *about: Any, **more: Any) -> bool:
        happened = original(work, stage, *about, **more)
        if happened:
            seen.append(stage)
        return happened

    monkeypatch.setattr(building, "run_stage", watched)
    return seen


def release_settings(folder: Path) -> BuildSettings:
    release = folder / "imagenet_captions.json"
    if not release.exists():
        shutil.copy(SAMPLE / "release.json", release)
    return BuildSettings(release=release, workers=1)


@pytest.mark.parametrize("name", ["package.done.json", "captions.parquet"])
def test_a_users_file_in_the_work_folder_stays(tmp_path: Path, name: str) -> None:
    settings = replace(release_settings(tmp_path), work=tmp_path)
    (tmp_path / name).write_text('{"key": "mine"}')
    with pytest.raises(InputError, match=f"{name} is not of a build, and would be replaced"):
        build(tmp_path / "out", settings)
    assert (tmp_path / name).read_text() == '{"key": "mine"}'
    (tmp_path / name).rename(tmp_path / "matches.parquet")  # which a release does not need
    build(tmp_path / "out", settings)


def test_a_second_build_does_nothing(tmp_path: Path, ran: list[str]) -> None:
    settings = release_settings(tmp_path)
    build(tmp_path / "out", settings)
    assert ran == ["clean", "package"]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    build(tmp_path / "out", settings)
    assert ran == ["clean", "package"]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


RELEASE = {"release": SAMPLE / "release.json"}
URLS = {"urls": (SAMPLE / "urls.txt",), "ask_flickr": False, "yfcc": SAMPLE / "photos.json"}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"release": "nothing.json"}, "nothing.json does not exist"),
        ({**URLS, "urls": ("nothing.txt",)}, "nothing.txt does not exist"),
        ({**URLS, "match": MatchSettings(ids="nothing.txt")}, "nothing.txt does not exist"),
        ({**RELEASE, "package": PackageSettings(images=SAMPLE / "urls.txt")}, "holds no images"),
    ],
)
def test_an_input_that_is_missing_or_wrong_is_refused_before_any_stage(
    tmp_path: Path, given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        build(tmp_path / "out", BuildSettings(workers=1, **given))
    assert list(tmp_path.iterdir()) == []


def _edit_the_release(folder: Path) -> None:
    release = folder / "imagenet_captions.json"
    text = release.read_text(encoding="utf-8")
    release.write_text(text.replace('"title": "', '"title": "new ', 1), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (_edit_the_release, ["clean", "package"]),
        ({"package": PackageSettings(images=SAMPLE / "train")}, ["package"]),
        ({"clean": CleanSettings(caption=CaptionTemplate(("title",)))}, ["clean", "package"]),
        ("imagenet-captions", ["clean", "package"]),  # another version of it
        ("pillow", ["package"]),
        ("ftfy", ["clean"]),
        ("requests", []),
        (lambda folder: (folder / "out.work/captions.outcomes.parquet").unlink(), ["clean"]),
    ],
)
def test_what_changed_runs_what_depends_on_it(
    tmp_path: Path, ran: list[str], monkeypatch: pytest.MonkeyPatch, change: Any, again: list[str]
) -> None:
    first = release_settings(tmp_path)
    build(tmp_path / "out", first)
    ran.clear()
    if callable(change):
        change(tmp_path)
    elif isinstance(change, str):
        original = importlib.metadata.distributions
        monkeypatch.setattr(
            importlib.metadata, "distributions", lambda name: [] if name == change else original(name=name)
        )
    build(tmp_path / "out", replace(first, **change) if isinstance(change, dict) else first)
    assert ran == again


@pytest.mark.parametrize("lost", ["README.md", "raw/train-00000-of-00001.parquet"])
def test_a_damaged_dataset_is_packaged_again(tmp_path: Path, ran: list[str], lost: str) -> None:
    settings = release_settings(tmp_path)
    build(tmp_path / "out", settings)
    ran.clear()
    whole = (tmp_path / "out" / lost).read_bytes()
    (tmp_path / "out" / lost).unlink()
    if lost.endswith(".parquet"):
        (tmp_path / "out" / lost).write_bytes(whole[:-1])
    for _ in range(2):
        build(tmp_path / "out", settings)
    assert ran == ["package"]
    assert (tmp_path / "out" / lost).read_bytes() == whole


def test_two_builds_in_two_folders_are_the_same(tmp_path: Path) -> None:
    settings = replace(release_settings(tmp_path), package=PackageSettings(images=SAMPLE / "train"))
    build(tmp_path / "one", settings)
    build(tmp_path / "deep" / "other", replace(settings, workers=2))
    assert contents(tmp_path / "one") == contents(tmp_path / "deep" / "other")
