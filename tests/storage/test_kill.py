"""Whenever a run that replaces a dataset of a store ends, nobody takes what it leaves for what it is not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pytest

import imagenet_captions as ic
from imagenet_captions.errors import InputError
from imagenet_captions.exports.export import export
from imagenet_captions.exports.settings import ExportSettings
from imagenet_captions.packager.package import PackageSettings, package, verify
from imagenet_captions.storage.places import RemotePath, place
from tests.packager.made import contents, images, train_folder, write_captions
from tests.storage.conftest import Bucket

CHANGES = ("put", "copy_to", "unlink")


class Killed(BaseException):
    """The process is gone: nothing catches it, and nothing is done after it."""


@contextmanager
def killed_after(changes: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Let so many changes of a store happen, and none after them; give the names of those that did."""
    done: list[str] = []
    lock = threading.Lock()

    def limited(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def change(*args: Any, **kwargs: Any) -> Any:
            with lock:
                if len(done) >= changes:
                    raise Killed
                done.append(name)
            return real(*args, **kwargs)

        return change

    with monkeypatch.context() as patch:
        for name in CHANGES:
            patch.setattr(RemotePath, name, limited(name, getattr(RemotePath, name)))
        yield done


def state(dataset: Path) -> str:
    """What readers take a dataset for: `old` or `new`, or that none of them takes it."""
    try:
        told = str(verify(dataset))
    except InputError:
        for reader in (verify, ic.load):
            with pytest.raises(InputError, match="is not finished"):
                reader(dataset)
        return "refused"
    assert told.startswith("whole:")
    titles = set(ic.load(str(dataset), columns=["title"])["title"])
    return {("old",): "old", ("new",): "new"}[tuple(titles)]


@pytest.fixture
def captions(tmp_path: Path) -> dict[str, Path]:
    return {title: write_captions(tmp_path / f"{title}.parquet", title=title) for title in ("old", "new")}


def test_at_every_moment_the_dataset_is_the_old_one_the_new_one_or_none(
    captions: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = fsspec.filesystem("memory")
    out = place("memory://kill/datasets/ours")
    settings = PackageSettings()
    # As if the old manifest listed that file.
    every = lambda out, record=None: frozenset(name for _, name, _, _ in out.below())  # noqa: E731
    package(captions["new"], tmp_path / "expected", settings)
    monkeypatch.setattr("imagenet_captions.storage.outputs.own_files", every)
    expected = {f"/kill/datasets/ours/{name}": data for name, data in contents(tmp_path / "expected").items()}
    package(captions["old"], out, settings)
    memory.pipe_file("/kill/datasets/ours/extra.txt", b"which the new one lacks")
    old = {name: memory.cat_file(name) for name in memory.find("/kill")}
    states = []
    for changes in range(40):
        memory.rm("/kill", recursive=True)
        for name, data in old.items():
            memory.pipe_file(name, data)
        try:
            with killed_after(changes, monkeypatch) as done:
                package(captions["new"], out, settings)
        except Killed:
            states.append(state(out))
            package(captions["new"], out, settings)
            assert {name: memory.cat_file(name) for name in memory.find("/kill")} == expected
        else:
            assert changes > 10
            assert {"put", "copy_to", "unlink"} <= set(done)
            break
    else:
        pytest.fail("the run never ended")
    in_order = [name for name, before in zip(states, [None, *states], strict=False) if name != before]
    assert in_order == ["old", "refused", "new"]


def test_another_run_at_the_same_time_is_noticed(
    captions: dict[str, Path], bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagenet_captions.storage import outputs as objects

    out = place(f"{bucket.url}/ours")
    real = objects.at_once

    def overtaken(*change: Any) -> None:
        real(*change)
        monkeypatch.setattr(objects, "at_once", real)
        package(captions["old"], out, PackageSettings())

    monkeypatch.setattr(objects, "at_once", overtaken)
    with pytest.raises(InputError, match="another run wrote to"):
        package(captions["new"], out, PackageSettings())


def test_other_things_in_the_place_are_not_replaced(captions: dict[str, Path], bucket: Bucket) -> None:
    bucket.system.pipe_file(f"{bucket.name}/ours/thesis.tex", b"years of work")
    with pytest.raises(InputError, match="something else than a dataset"):
        package(captions["new"], place(f"{bucket.url}/ours"), PackageSettings())
    assert bucket.files() == {"ours/thesis.tex": b"years of work"}


def test_an_export_that_is_killed_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = fsspec.filesystem("memory")
    captions = write_captions(tmp_path / "captions.parquet")
    package(captions, tmp_path / "dataset", PackageSettings(train_folder(tmp_path / "train", images())))
    settings = ExportSettings(to="webdataset", shard_size=4, workers=1)
    export(tmp_path / "dataset", tmp_path / "shards", settings)
    expected = {name: data for name, data in contents(tmp_path).items() if name.startswith("shards")}
    receipts = set()
    for changes in range(30):
        try:
            with killed_after(changes, monkeypatch):
                export(tmp_path / "dataset", place("memory://export/shards"), settings)
        except Killed:
            left = {name.removeprefix("/export/"): memory.cat_file(name) for name in memory.find("/export")}
            receipts.add(left.get("shards.json"))
            if left.get("shards.json") == expected["shards.json"]:
                assert {name: left[name] for name in expected} == expected
        else:
            break
    else:
        pytest.fail("the export never ended")
    assert None in receipts
    assert any(receipt is not None and b'"unfinished": "' in receipt for receipt in receipts)
    assert {name.removeprefix("/export/"): memory.cat_file(name) for name in memory.find("/export")} == expected
