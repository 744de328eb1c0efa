"""A cluster that somebody else started with `ray start`, and that may ask for a token."""

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
from pathlib import Path

import pytest

from imagenet_captions.demo.run import SAMPLE
from tests.chain import stages_said
from tests.command_line import HANGS_AFTER, run_cli_apart

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a user who has a token, for which a cluster started from there asks, where Ray has tokens."""
    home = tmp_path_factory.mktemp("home")
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("0123456789abcdef" * 4)
    return home


@pytest.fixture(scope="module")
def head(home: Path) -> Iterator[str]:
    """The address of a head started by the `ray` command, in a session of its own that ends as one."""
    address = f"127.0.0.1:{free_port()}"
    temporary = tempfile.mkdtemp(prefix="ic-head-", dir="/tmp")  # short: sockets lie there
    arguments = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus", "1"]
    arguments += ["--port", address.rpartition(":")[2], "--temp-dir", temporary, "--disable-usage-stats"]
    arguments += ["--ray-client-server-port", free_port(), "--dashboard-agent-listen-port", free_port()]
    arguments += ["--include-dashboard", "false"]
    with (home / "head.log").open("w") as log:
        head = subprocess.Popen(
            arguments, stdout=log, stderr=log, start_new_session=True, env={**os.environ, "HOME": str(home)}
        )
    try:
        deadline = time.monotonic() + HANGS_AFTER
        while "Ray runtime started" not in (told := (home / "head.log").read_text()):
            assert head.poll() is None, told
            assert time.monotonic() < deadline, told
            time.sleep(0.2)
        yield address
    finally:
        head.terminate()
        try:
            head.wait(HANGS_AFTER)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(head.pid, signal.SIGKILL)
            head.wait(HANGS_AFTER)
        shutil.rmtree(temporary, ignore_errors=True)


def test_a_cluster_is_joined_with_the_users_token(head: str, home: Path, tmp_path: Path) -> None:
    build = ["build", "--release", SAMPLE / "release.json", "--workers", "1", "--engine", "ray", "--ray-address", head]
    done = run_cli_apart(*build, "--out", tmp_path / "out", HOME=str(home))
    assert (done.returncode, stages_said(done.stderr)) == (0, ["clean ...", "package ..."])
    assert (tmp_path / "out" / "manifest.json").is_file()
    if hasattr(ray.exceptions, "AuthenticationError"):
        done = run_cli_apart(*build, "--out", tmp_path / "2", HOME=str(tmp_path))
        assert done.returncode == 2
        assert "cannot be joined" in done.stderr
        assert "if the cluster asks for a token, RAY_AUTH_TOKEN or" in done.stderr.splitlines()[-1]
