"""The mark of a finished run, written last."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from imagenet_captions.errors import InputError
from imagenet_captions.storage.files import write_json

DONE_FILE = "done.json"
MODEL_FOLDER = "model"


@dataclass(frozen=True)
class TrainResult:
    """A finished run: its folder, the last loss, and what it took. Images are counted as often as they were seen."""

    run: Path
    loss: float
    steps: int
    images: int
    seconds: float

    @property
    def model(self) -> Path:
        """The trained model, as `load_model` takes it."""
        return self.run / MODEL_FOLDER


def write_done(result: TrainResult) -> None:
    """Say in the run's folder that it is finished."""
    values = {
        "loss": result.loss,
        "steps": result.steps,
        "images_seen": result.images,
        "seconds": round(result.seconds, 3),
    }
    write_json(result.run / DONE_FILE, values)


def read_done(run: Path) -> TrainResult | None:
    """The result of a finished run, None if it is not finished."""
    path = run / DONE_FILE
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_bytes())
        return TrainResult(run, values["loss"], values["steps"], values["images_seen"], values["seconds"])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} cannot be read; remove it, and the same command finishes the run again") from None
