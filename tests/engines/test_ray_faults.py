"""Ray losing nodes and workers, and a run losing its own process: the same dataset in the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from imagenet_captions.engines.ray import run_task
from tests.chain import stages_said
from tests.command_line import CLI, ENVIRONMENT, HANGS_AFTER, run_cli, run_cli_apart, succeed
from tests.packager.made import contents, write_captions

pytest.importorskip("ray")
pytestmark = pytest.mark.slow


def processes() -> dict[int, tuple[int, str]]:
    """The parent and the name of every process that runs."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    lines = (line.split(None, 2) for line in listed.splitlines())
    return {int(pid): (int(parent), name) for pid, parent, name in lines}


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
    texts = {"wnid": "n01440764", "description": " ".join(words * 6), "tags": words[:5]}
    rows = ({"filename": f"n01440764_{n}.JPEG", "title": " ".join(words[n % 7 :]), **texts} for n in range(40_000))
    path.write_text(json.dumps(list(rows)), encoding="utf-8")
    return path


def test_workers_and_then_the_run_itself_are_killed(tmp_path: Path) -> None:
    release = large_release(tmp_path / "release.json")
    given = ["build", "--release", str(release), "--workers", "2", "--out"]
    succeed(*given, tmp_path / "local" / "out")
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


def test_sigterm_ends_a_run_in_a_sentence(tmp_path: Path) -> None:
    given = ["build", "--release", str(large_release(tmp_path / "release.json")), "--workers", "1", "--engine", "ray"]
    with subprocess.Popen(
        [*CLI, *given, "--out", str(tmp_path / "out")], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        while not any(name.startswith(f"ray::{run_task.__name__}") for name in below(process.pid).values()):
            assert process.poll() is None
            time.sleep(0.05)
        process.terminate()
        _, said = process.communicate(timeout=HANGS_AFTER)
    assert process.returncode == 143
    assert said.endswith("imagenet-captions: interrupted; what was finished is kept, run the same command again\n")


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
