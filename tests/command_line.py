"""Runs the command line for the tests: in this process, in one of its own, or the lines of a page of the docs."""

from __future__ import annotations

import io
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from imagenet_captions.cli.app import app, command
from imagenet_captions.cli.main import main

HANGS_AFTER = 900  # seconds; a guard against a test that hangs, and no measure: the machine may be busy
CLI = [sys.executable, "-m", "imagenet_captions"]
ENVIRONMENT = {**os.environ, "FLICKR_API_KEY": "a-test-key", "HF_HUB_OFFLINE": "1"}


def invoke(*arguments: str | Path) -> tuple[int, str]:
    """Run a command in this process; return its exit code, and all that it says."""
    told = CliRunner().invoke(app, list(map(str, arguments)))
    if told.exception is not None and not isinstance(told.exception, SystemExit):
        raise told.exception
    return told.exit_code, told.output


def understood(name: str, *arguments: str) -> dict[str, Any]:
    """Return the parameters of a command that these words give, without calling it."""
    found = command(name)
    return found.values(found.make_context(name, list(arguments)))


def run_cli(*arguments: str | Path, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process, which spares the start of another one and its imports.

    Only `run_cli_apart` shows what a command does while it is imported, when it is killed, and with variables that
    libraries read once.
    """
    words = list(map(str, arguments))
    with state_of_this_process(), pytest.MonkeyPatch.context() as patch, captured() as files:
        patch.setattr(sys, "argv", ["imagenet-captions", *words])
        for name, value in {"FLICKR_API_KEY": "a-test-key", **environment}.items():
            patch.setenv(name, value)
        patch.setattr(
            os, "sched_getaffinity", lambda _: {0}
        )  # as on one core: worker processes would import it all again
        patch.chdir(folder or Path.cwd())
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        sys.stdout.flush()
        sys.stderr.flush()
        out, err = (Path(file).read_text(encoding="utf-8") for file in files)
    return subprocess.CompletedProcess([*CLI, *words], code, out, err)


def succeed(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process; it has to end well."""
    done = run_cli(*arguments, **environment)  # type: ignore[arg-type]
    assert done.returncode == 0, done.stderr
    return done


def run_cli_apart(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, output captured."""
    return subprocess.run(
        [*CLI, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, **environment},
        timeout=HANGS_AFTER,
        check=False,
    )


def blocks(page: str, language: str = "bash") -> list[str]:
    """The blocks of a page of the docs that are in this language."""
    text = (Path(__file__).parent.parent / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def run_lines(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script whose lines are commands of ours, and return what they say together; `run_bash` takes any script."""
    ended = []
    for line in filter(None, script.replace("\\\n", " ").splitlines()):
        program, *words = shlex.split(line)
        assert program == "imagenet-captions", line
        ended.append(run_cli(*words, folder=folder))
        assert ended[-1].returncode == 0, ended[-1].stdout + ended[-1].stderr
    out, err = ("".join(getattr(done, name) for done in ended) for name in ("stdout", "stderr"))
    return subprocess.CompletedProcess(script, 0, out, err)


def run_bash(script: str, folder: Path, **environment: str) -> str:
    """Run a script in bash, with the `imagenet-captions` of this environment first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1", **environment},
        timeout=HANGS_AFTER,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def captured() -> Iterator[list[str]]:
    """Send what this process and those that it starts write to two files, whose names are yielded."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        names = [f"{folder}/stdout", f"{folder}/stderr"]
        kept = [os.dup(1), os.dup(2)]
        streams = [io.TextIOWrapper(io.FileIO(name, "w"), "utf-8", write_through=True) for name in names]
        try:
            for number, stream in enumerate(streams, start=1):
                os.dup2(stream.fileno(), number)
            patch.setattr(sys, "stdout", streams[0])
            patch.setattr(sys, "stderr", streams[1])
            yield names
        finally:
            for number, (descriptor, stream) in enumerate(zip(kept, streams, strict=True), start=1):
                os.dup2(descriptor, number)
                os.close(descriptor)
                stream.close()


@contextmanager
def state_of_this_process() -> Iterator[None]:
    """Begin without handlers of the log, as a new process does, and leave things as they were."""
    root = logging.getLogger()
    handlers, level, environment = root.handlers[:], root.level, dict(os.environ)
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    root.handlers[:] = []
    root.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        for number, handler in signals.items():
            signal.signal(number, handler)
        os.environ.clear()
        os.environ.update(environment)
