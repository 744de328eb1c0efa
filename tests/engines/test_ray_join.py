"""Clusters that somebody else started with `ray start`, with and without a token, and what a run of our own leaves."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from imagenet_captions.demo.run import SAMPLE
from imagenet_captions.engines.local import EngineSettings, open_engine
from imagenet_captions.errors import NetworkError
from tests.chain import stages_said
from tests.command_line import HANGS_AFTER, run_cli_apart

pytest.importorskip("ray")

TOKEN = "0123456789abcdef" * 4
BUILD = ["build", "--release", SAMPLE / "release.json", "--workers", "1", "--engine", "ray"]


@dataclass(frozen=True)
class Head:
    """A cluster of one node, and the home that its user has."""

    address: str
    home: Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def started_head(folder: Path, token: str | None) -> Iterator[Head]:
    """A head started by the `ray` command, in a session of its own that ends as one."""
    home = folder / "home"
    home.mkdir()
    if token is not None:
        (home / ".ray").mkdir()
        (home / ".ray" / "auth_token").write_text(token)
    port = free_port()
    temporary = tempfile.mkdtemp(prefix="ic-head-", dir="/tmp")  # short: sockets lie there
    ray = str(Path(sys.executable).with_name("ray"))
    arguments = [ray, "start", "--head", "--block", "--num-cpus", "1", "--port", str(port), "--temp-dir", temporary]
    arguments += ["--ray-client-server-port", str(free_port()), "--dashboard-agent-listen-port", str(free_port())]
    arguments += ["--include-dashboard", "false", "--disable-usage-stats"]
    with (folder / "head.log").open("w") as log:
        head = subprocess.Popen(
            arguments, stdout=log, stderr=log, start_new_session=True, env={**os.environ, "HOME": str(home)}
        )
    try:
        deadline = time.monotonic() + HANGS_AFTER
        while "Ray runtime started" not in (told := (folder / "head.log").read_text()):
            assert head.poll() is None, told
            assert time.monotonic() < deadline, told
            time.sleep(0.2)
        yield Head(f"127.0.0.1:{port}", home)
    finally:
        head.terminate()
        try:
            head.wait(HANGS_AFTER)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(head.pid, signal.SIGKILL)
            head.wait(HANGS_AFTER)
        shutil.rmtree(temporary, ignore_errors=True)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A cluster that asks for a token, where Ray has tokens: one lay in the home of its user."""
    with started_head(tmp_path_factory.mktemp("head"), TOKEN) as running:
        yield running


@pytest.fixture(scope="module")
def open_head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    with started_head(tmp_path_factory.mktemp("open"), None) as running:
        yield running


@pytest.mark.slow
def test_a_cluster_with_a_token_is_joined_with_the_users_token(head: Head, tmp_path: Path) -> None:
    done = run_cli_apart(*BUILD, "--out", tmp_path / "out", "--ray-address", head.address, HOME=str(head.home))
    assert (done.returncode, stages_said(done.stderr)) == (0, ["clean ...", "package ..."])
    assert (tmp_path / "out" / "manifest.json").is_file()


@pytest.mark.slow
def test_a_cluster_without_a_token_is_joined_by_a_user_who_has_one(open_head: Head, tmp_path: Path) -> None:
    done = run_cli_apart(*BUILD, "--out", tmp_path / "out", "--ray-address", open_head.address, RAY_AUTH_TOKEN=TOKEN)
    assert (done.returncode, stages_said(done.stderr)) == (0, ["clean ...", "package ..."])


@pytest.mark.slow
@pytest.mark.parametrize("token", [None, "f" * 64])
def test_a_cluster_that_asks_for_another_token_is_one_sentence(
    head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], token: str | None
) -> None:
    import ray

    if not hasattr(ray.exceptions, "AuthenticationError"):
        pytest.skip("this Ray has no tokens")
    monkeypatch.setenv("HOME", str(tmp_path))
    if token is not None:
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    with (
        pytest.raises(NetworkError, match=r"cannot be joined.* asks for a token, RAY_AUTH_TOKEN or"),
        open_engine(EngineSettings("ray", head.address)),
    ):
        pass
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_run_of_our_own_leaves_nothing_at_home_and_nothing_for_the_next(open_head: Head, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    program = (
        "import os, signal\n"
        "from imagenet_captions.engines.local import EngineSettings, open_engine\n"
        "before, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)\n"
        f"for address in (None, {open_head.address!r}, None):\n"
        "    with open_engine(EngineSettings('ray', address, workers=1)) as (engine, workers):\n"
        "        print(list(engine.run(abs, [-1, -2], workers)))\n"
        "changed = {name for name in os.environ if os.environ[name] != before.get(name)}\n"
        "print(sorted(name for name in changed if 'AUTH' in name), signal.getsignal(signal.SIGTERM) == handler)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(home)},
        timeout=HANGS_AFTER,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "[1, 2]\n" * 3 + "[] True\n"
    assert list(home.rglob("*")) == []


def test_the_handler_of_sigterm_is_put_back_unless_another_was_set() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        for later, kept in ((None, before), (signal.SIG_IGN, signal.SIG_IGN)):
            with open_engine(EngineSettings("ray", workers=1)) as (engine, _):
                assert list(engine.run(abs, [-1], 1)) == [1]
                if later is not None:
                    signal.signal(signal.SIGTERM, later)
            assert signal.getsignal(signal.SIGTERM) == kept
    finally:
        signal.signal(signal.SIGTERM, before)
