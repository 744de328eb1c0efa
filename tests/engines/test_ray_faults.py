"""Ray losing nodes and workers, and a run losing its own process: the same dataset in the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from imagenet_captions.cleaner.clean import CleanSettings, clean
from imagenet_captions.engines.local import EngineSettings, open_engine
from imagenet_captions.engines.ray import RayEngine, run_task
from imagenet_captions.packager.package import PackageSettings, package
from tests.chain import stages_said
from tests.cleaner.raw import FakeSource, record
from tests.command_line import CLI, ENVIRONMENT, HANGS_AFTER, run_cli, run_cli_apart
from tests.packager.made import contents, train_folder, write_captions

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

RAW = [record(f"n01440764_{n}", f"<b>photo</b> {n}", "with a dog " * 200, ["x"]) for n in range(400)]
SOURCE = FakeSource(RAW, rows_a_batch=10)


def slowly(function: Callable[[Any], Any], item: Any) -> Any:
    time.sleep(0.2)
    return function(item)


class Interrupted(RayEngine):
    """Calls `fault` when a run has handed out so many items."""

    def __init__(self, address: str, at: int, fault: Callable[[], None]) -> None:
        super().__init__(address, workers=3)
        self._at = at
        self._fault = fault

    def run(self, function, items, workers, threads=False):  # type: ignore[no-untyped-def]
        return super().run(partial(slowly, function), self._watched(items), workers, threads)

    def _watched(self, items: Iterable[Any]) -> Iterator[Any]:
        for number, item in enumerate(items):
            if number == self._at:
                self._fault()
            yield item


def lose_nodes(folder: Path, captions: Path, images: Path) -> None:
    """Clean and package on a cluster that loses a node while each runs."""
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 128 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **small})
    try:
        going = [cluster.add_node(num_cpus=2, **small) for _ in range(2)]
        with open_engine(EngineSettings("ray", cluster.address)) as (_, workers):
            assert workers == 5

        def lose() -> None:
            cluster.remove_node(going.pop(), allow_graceful=False)

        with Interrupted(cluster.address, 12, lose) as engine:
            clean(SOURCE, folder / "clean.parquet", CleanSettings(language=False), 3, engine)
        assert len(going) == 1
        with Interrupted(cluster.address, 2, lose) as engine:
            package(captions, folder / "dataset", PackageSettings(images, workers=3, engine=engine))
        assert not going
    finally:
        cluster.shutdown()


def test_a_node_that_goes_in_the_middle_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagenet_captions.dataset.writing.SMALL_SHARD", 300)
    captions, images = write_captions(tmp_path / "captions.parquet"), train_folder(tmp_path / "images")
    clean(SOURCE, tmp_path / "local" / "clean.parquet", CleanSettings(language=False), 1)
    package(captions, tmp_path / "local" / "dataset", PackageSettings(images, workers=1))
    # Ray ends a process whose own node is gone, as may happen on a busy machine; that must not be the tests' process.
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "import imagenet_captions.dataset.writing as plan\n"
        "from tests.engines.test_ray_faults import lose_nodes\n"
        "plan.SMALL_SHARD = 300\n"
        "lose_nodes(*map(Path, sys.argv[1:]))\n"
    )
    given = map(str, (tmp_path / "ray", captions, images))
    command = [sys.executable, "-c", program, *given]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=HANGS_AFTER, check=False)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def processes() -> dict[int, tuple[int, str]]:
    """The parent and the name of every process that runs."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text(encoding="utf-8", errors="replace")
                name = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            found[int(folder.name)] = int(stat.rpartition(")")[2].split()[1]), name
    return found


def below(pid: int) -> dict[int, str]:
    """The names of a process's children and theirs."""
    found: dict[int, str] = {}
    running = processes()
    inside = {pid}
    while new := {child: name for child, (parent, name) in running.items() if parent in inside and child not in found}:
        found |= new
        inside = set(new)
    return found


def large_release(path: Path) -> Path:
    words = "a photo of my <b>dog</b> at the lake in the evening &amp; more, as people write them ".split()
    rows = (
        {
            "filename": f"n01440764_{n}.JPEG",
            "wnid": "n01440764",
            "title": " ".join(words[n % 7 :]),
            "description": " ".join(words * 6),
            "tags": words[:5],
        }
        for n in range(40_000)
    )
    path.write_text(json.dumps(list(rows)), encoding="utf-8")
    return path


def test_workers_and_then_the_run_itself_are_killed(tmp_path: Path) -> None:
    release = large_release(tmp_path / "release.json")
    given = ["build", "--release", str(release), "--workers", "2", "--out"]
    unbroken = run_cli(*given, tmp_path / "local" / "out")
    assert unbroken.returncode == 0, unbroken.stderr
    out = tmp_path / "ray" / "out"
    with subprocess.Popen(
        [*CLI, *given, str(out), "--engine", "ray"], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        assert process.stderr is not None
        assert "clean ...\n" in iter(process.stderr.readline, "")
        killed: set[int] = set()
        while len(killed) < 2 and process.poll() is None:
            task = f"ray::{run_task.__name__}"
            at_work = [pid for pid, name in below(process.pid).items() if name.startswith(task) and pid not in killed]
            for pid in at_work[:1]:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            time.sleep(0.05)
        assert len(killed) == 2
        assert "package ...\n" in iter(process.stderr.readline, "")
        while process.poll() is None and not list(out.parent.glob(".out.*.partial/*/*")):
            time.sleep(0.01)
        # Ray's agents, which touch no file of ours, look once a minute or so whether they are still wanted.
        started = {pid for pid, name in below(process.pid).items() if "Agent" not in name}
        assert len(started) > 3
        process.kill()
    deadline = time.monotonic() + HANGS_AFTER
    while (left := started & processes().keys()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left
    for session in Path("/tmp").glob(f"ic-ray-*/session_*_{process.pid}"):
        shutil.rmtree(session.parent)
    resumed = run_cli_apart(*given, out, "--engine", "ray")
    said = ["clean: nothing changed, kept", "package ..."]
    assert (resumed.returncode, stages_said(resumed.stderr)) == (0, said)
    assert contents(out) == contents(tmp_path / "local" / "out")
    work = {path.name for path in (tmp_path / "ray" / "out.work").iterdir()}
    assert work == {path.name for path in (tmp_path / "local" / "out.work").iterdir()}


def test_ray_that_does_not_start_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_busy(**_: Any) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr("ray.init", too_busy)
    captions = write_captions(tmp_path / "captions.parquet")
    package_it = ["package", "--captions", captions, "--out", tmp_path / "dataset", "--engine", "ray"]
    ended = run_cli(*package_it, "--workers", "2")
    assert ended.returncode == 3
    assert "Ray did not start on this machine: The current node timed out" in ended.stderr
    assert "or with --engine local" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "dataset").exists()
