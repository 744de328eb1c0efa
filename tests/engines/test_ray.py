"""What both engines promise: order, bounds and errors; and the same bytes from every stage with Ray."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from imagenet_captions.cleaner.clean import CleanSettings, clean
from imagenet_captions.crawler.match import MatchSettings, match
from imagenet_captions.demo.run import SAMPLE
from imagenet_captions.engines import ray as ray_engine
from imagenet_captions.engines.local import LOCAL, Engine, EngineSettings, open_engine
from imagenet_captions.engines.ray import RayEngine
from imagenet_captions.errors import ImagenetCaptionsError, InputError, StoppedEarly
from imagenet_captions.exports.export import export
from imagenet_captions.exports.settings import ExportSettings
from imagenet_captions.labelling.label import LabelSettings, label_by_text
from imagenet_captions.labelling.settings import Mode
from imagenet_captions.packager.package import PackageSettings, package
from tests.chain import stages_said
from tests.cleaner.raw import FakeSource, record
from tests.command_line import run_cli, run_cli_apart
from tests.packager.made import IDS, contents, train_folder, write_captions

TENCH = "n01440764"


def die_once(folder: Path, number: int) -> int:
    if number in (2, 9) and not (folder / f"{number}").exists():
        (folder / f"{number}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def mark_and_wait(folder: Path, number: int) -> int:
    (folder / f"begun {number}").touch()
    until = time.monotonic() + (60 if number else 0)
    while time.monotonic() < until:
        time.sleep(0.1)  # not all of it at once: not every Ray interrupts what the system is asked to wait for
    return number


@pytest.fixture(params=["one worker", "local", "ray"])
def engine(request: pytest.FixtureRequest) -> tuple[Engine, int]:
    found = request.getfixturevalue("ray") if request.param == "ray" else LOCAL
    return found, 1 if request.param == "one worker" else 2


def fail_on_three(error: Exception, number: int) -> int:
    if number == 3:
        raise error
    return number


def reverse(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.take(pa.array(range(batch.num_rows - 1, -1, -1)))


def test_results_come_in_the_order_of_the_items_and_few_are_under_way(engine: tuple[Engine, int]) -> None:
    running, workers = engine
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield -number

    results = []
    for result in running.run(abs, items(), workers):
        results.append(result)
        assert len(taken) - len(results) <= 2 * workers
    assert results == list(range(50))


@pytest.mark.parametrize("error", [InputError("3 is not possible"), OSError(28, "No space left", "/x"), KeyError("3")])
def test_an_error_of_the_function_arrives_as_it_is(engine: tuple[Engine, int], error: Exception) -> None:
    running, workers = engine
    with pytest.raises(type(error)) as caught:
        list(running.run(partial(fail_on_three, error), range(10), workers))
    assert type(caught.value) is type(error)
    assert caught.value.args == error.args


def test_batches_travel_whole_and_slices_travel_alone(engine: tuple[Engine, int]) -> None:
    running, workers = engine
    whole = pa.RecordBatch.from_pydict({"n": list(range(30)), "text": [f"row {n}" for n in range(30)]})
    slices = [whole.slice(at, 10) for at in range(0, 30, 10)]
    results = list(running.map_batches(reverse, slices, workers))
    expected = [*range(9, -1, -1), *range(19, 9, -1), *range(29, 19, -1)]
    assert [row for batch in results for row in batch["n"].to_pylist()] == expected


def test_relative_paths_mean_what_they_mean_here(
    ray: RayEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").touch()
    assert list(ray.run(os.path.exists, [Path("a.txt")], 2)) == [True]


def test_what_killed_workers_did_is_done_again(ray: RayEngine, tmp_path: Path) -> None:
    assert list(ray.run(partial(die_once, tmp_path), range(12), 2)) == list(range(12))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "9"]


def test_a_task_that_kills_every_worker_is_one_clear_sentence(ray: RayEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_engine, "TRIES", 1)
    with pytest.raises(StoppedEarly, match="gave a task up after 1 more tries"):
        list(ray.run(signal.raise_signal, [signal.SIGKILL], 2))


def test_a_run_that_is_given_up_leaves_no_task_behind(ray: RayEngine, tmp_path: Path) -> None:
    begun = time.monotonic()
    running = ray.run(partial(mark_and_wait, tmp_path), range(10), 2)
    assert next(running) == 0
    running.close()
    left = sorted(tmp_path.iterdir())
    assert time.monotonic() - begun < 50
    assert list(ray.run(abs, [-1, 2], 2)) == [1, 2]
    assert sorted(tmp_path.iterdir()) == left


def every_stage(folder: Path, engine: Engine) -> None:
    """Everything that an engine does, from the sample."""
    folder.mkdir()
    match([SAMPLE / "urls.txt"], folder / "matches.parquet", MatchSettings(engine=engine))
    raw = [record(f"{TENCH}_{n}", ["a tench", "two <b>goldfish</b>", ""][n % 3], "&amp;", ["x"]) for n in range(300)]
    clean(FakeSource(raw, rows_a_batch=37), folder / "clean.parquet", CleanSettings(), 2, engine)
    label_by_text(folder / "clean.parquet", folder / "labels.csv", LabelSettings(Mode.MULTI, workers=2, engine=engine))
    captions = write_captions(folder / "captions.parquet")
    package(captions, folder / "dataset", PackageSettings(train_folder(folder / "images")), 2, engine)
    exported = ExportSettings("webdataset", shard_size=3, workers=2, engine=engine)
    export(folder / "dataset", folder / "shards", exported)


def test_every_stage_gives_the_same_bytes(ray: RayEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagenet_captions.dataset.writing.SMALL_SHARD", 1000)
    every_stage(tmp_path / "local", LOCAL)
    every_stage(tmp_path / "ray", ray)
    local, with_ray = contents(tmp_path / "local"), contents(tmp_path / "ray")
    assert len(local) > len(IDS)
    assert with_ray == local


@pytest.mark.slow
def test_the_engine_is_no_reason_to_build_again_and_ray_says_nothing(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    given = ["build", "--release", SAMPLE / "release.json", "--images", SAMPLE / "train", "--missing", "skip"]
    here = run_cli(*given, "--out", tmp_path / "here" / "out", "--workers", "2")
    home = tmp_path / "home"
    home.mkdir()
    ray = ["--engine", "ray", "--workers", "2"]
    there = run_cli_apart(*given, "--out", tmp_path / "there" / "out", *ray, HOME=str(home))
    assert not (home / ".ray").exists()
    assert (there.returncode, there.stderr) == (here.returncode, here.stderr)
    assert (here.returncode, stages_said(here.stderr)) == (0, ["clean ...", "package ..."])
    assert there.stdout == here.stdout.replace("here", "there")
    assert contents(tmp_path / "there" / "out") == contents(tmp_path / "here" / "out")
    assert b'"ray' not in (tmp_path / "there" / "out" / "manifest.json").read_bytes()
    again = run_cli(*given, "--out", tmp_path / "here" / "out", "--engine", "ray")
    assert stages_said(again.stderr) == ["clean: nothing changed, kept", "package: nothing changed, kept"]
    compared = run_cli("diff", tmp_path / "here" / "out", tmp_path / "there" / "out")
    assert compared.stdout.startswith("equal") or "equal:" in compared.stdout


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at `ray_address` '127.0.0.1:1'"),
        ("127.0.0.1:99999", "no Ray cluster answers"),
        ("ray://127.0.0.1:10001", "give HOST:PORT"),
        ("a" * 5000 + ":1", "no Ray cluster answers"),
    ],
)
def test_an_address_without_a_cluster_is_one_sentence_at_once(address: str, sentence: str) -> None:
    pytest.importorskip("ray")
    begun = time.monotonic()
    with (
        pytest.raises(ImagenetCaptionsError, match=sentence) as caught,
        open_engine(EngineSettings("ray", address)),
    ):
        pass
    assert len(str(caught.value)) < 400
    assert time.monotonic() - begun < 15


def test_settings_that_mean_nothing_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="`engine='ray'` has no effect for `to='slim'`"):
        ExportSettings("slim", engine=RayEngine.__new__(RayEngine))
    monkeypatch.setitem(sys.modules, "ray", None)
    missing = "`engine='ray'` needs ray, which is not installed; for the extra 'ray' run"
    with pytest.raises(InputError, match=missing), open_engine(EngineSettings("ray", workers=2)):
        pass
