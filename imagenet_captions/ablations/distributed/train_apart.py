"""Train one run in its own process, which Lightning may start again for each of several devices.

Lightning's DDP runs the program that called it once a device. That program must be the training alone, and not the
ablation, which holds a lock on its folder.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from imagenet_captions.errors import ImagenetCaptionsError, InputError, StoppedEarly
from imagenet_captions.storage.files import write_json, write_text
from imagenet_captions.training.processes import process_rank
from imagenet_captions.training.recipes import Recipe
from imagenet_captions.training.settings import TrainResult, TrainSettings, read_done
from imagenet_captions.training.train import train

FAILURES = {error.exit_code: error for error in (InputError, StoppedEarly)}
_PATHS = ("data", "out", "ids")
_POLL_SECONDS, _GRACE_SECONDS = 0.5, 10.0


@dataclass(frozen=True)
class Ended:
    """How the process of a training ended: its exit code, and the sentence about its failure.

    `stopped` means that this process was ended because another one of the same training had failed.
    """

    code: int
    reason: str = ""
    stopped: bool = False


def train_apart(settings: TrainSettings, told: Path) -> TrainResult | None:
    """Train in another process, which reads its settings from `told`; raises what the training there raised."""
    tell(settings, told)
    ended = run_apart(told)
    if ended.code:
        raise failure(settings.out, ended)
    return read_done(settings.out)


def run_apart(
    told: Path, environment: Mapping[str, str] | None = None, failed: Callable[[], bool] = lambda: False
) -> Ended:
    """Train by the settings in `told`; ends the training once `failed` returns true."""
    with tempfile.TemporaryDirectory() as scratch:
        said = Path(scratch) / "failed.txt"
        command = [sys.executable, "-m", __name__, str(told), str(said)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, **(environment or {})}) as process:
            try:
                while (stopped := failed()) is False and _runs(process, _POLL_SECONDS):
                    pass
                if stopped:
                    _runs(process, _GRACE_SECONDS)  # it may be about to say what is wrong
                    stopped = process.poll() is None
            finally:
                _end(process)
        reason = said.read_text(encoding="utf-8") if said.is_file() else ""
    return Ended(process.returncode, reason, stopped)


def failure(out: Path, ended: Ended, where: str = "") -> ImagenetCaptionsError:
    """Build the error for a training that failed."""
    reason = ended.reason or "what it wrote above is all that is known"
    error = FAILURES.get(ended.code, InputError)
    return error(f"the training in {out} ended{where} with exit code {ended.code}: {reason}")


def _runs(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for a process for so many seconds, and return whether it still runs."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        if _runs(process, _GRACE_SECONDS):
            process.kill()


def tell(settings: TrainSettings, told: Path) -> None:
    """Write settings for `read_settings`."""
    write_json(told, json.loads(json.dumps(asdict(settings), default=str)))


def read_settings(told: Path) -> TrainSettings:
    """The settings that `tell` wrote."""
    values: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))
    recipe = values.pop("recipe")
    recipe = {name: tuple(value) if isinstance(value, list) else value for name, value in recipe.items()}
    paths = {name: None if values[name] is None else Path(values[name]) for name in _PATHS}
    return TrainSettings(**{**values, **paths, "log": tuple(values["log"]), "recipe": Recipe(**recipe)})


def _end_with_the_ablation() -> None:
    """End this process when the ablation that started it is gone, so that no training goes on without one."""
    os.read(0, 1)  # nothing is ever written there
    os._exit(1)


def main() -> int:
    """Train by the settings in the named file; an error of the user's is one sentence and its exit code."""
    told, said = map(Path, sys.argv[1:])
    threading.Thread(target=_end_with_the_ablation, daemon=True).start()
    level = logging.INFO if process_rank() == 0 else logging.ERROR
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    try:
        train(read_settings(told))
    except ImagenetCaptionsError as error:
        write_text(said, str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
