"""Train one run in a process of its own, which Lightning may start again for each of several devices.

Lightning's DDP runs the program that called it once a device. That program must be the training alone, and not the
ablation, which holds a lock on its folder.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from imagenet_captions.errors import ImagenetCaptionsError, InputError, StoppedEarly
from imagenet_captions.storage.files import write_json, write_text
from imagenet_captions.training.done import TrainResult, read_done
from imagenet_captions.training.recipe import Recipe
from imagenet_captions.training.settings import TrainSettings
from imagenet_captions.training.train import train

_FAILURES = {error.exit_code: error for error in (InputError, StoppedEarly)}
_PATHS = ("data", "out", "ids")


def train_apart(settings: TrainSettings, told: Path) -> TrainResult | None:
    """Train in another process, which reads its settings from `told`; raises what the training there raised."""
    write_json(told, _plain(settings))
    said = _said(told)
    said.unlink(missing_ok=True)
    done = subprocess.run([sys.executable, "-m", __name__, str(told)], check=False)
    if done.returncode:
        error = _FAILURES.get(done.returncode, InputError)
        reason = said.read_text(encoding="utf-8") if said.is_file() else "what it wrote above is all that is known"
        raise error(f"the training in {settings.out} ended with exit code {done.returncode}: {reason}")
    return read_done(settings.out)


def read_settings(told: Path) -> TrainSettings:
    """The settings that `train_apart` wrote."""
    values: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))
    recipe = values.pop("recipe")
    recipe = {name: tuple(value) if isinstance(value, list) else value for name, value in recipe.items()}
    paths = {name: None if values[name] is None else Path(values[name]) for name in _PATHS}
    return TrainSettings(**{**values, **paths, "log": tuple(values["log"]), "recipe": Recipe(**recipe)})


def _plain(settings: TrainSettings) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(settings), default=str))
    return plain


def _said(told: Path) -> Path:
    """Where the other process says why it ended."""
    return told.with_suffix(".failed")


def main() -> int:
    """Train by the settings in the file that is named; one sentence and its exit code for what the user has to mend."""
    told = Path(sys.argv[1])
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        train(read_settings(told))
    except ImagenetCaptionsError as error:
        write_text(_said(told), str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
