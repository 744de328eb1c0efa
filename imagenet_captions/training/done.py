"""The marker of a finished run, done.json, which is written last."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from imagenet_captions.storage.files import read_json, write_json

DONE_FILE = "done.json"
MODEL_FOLDER = "model"


@dataclass(frozen=True)
class TrainResult:
    """A finished run: its folder, last loss, and duration. Images count each time they were seen."""

    run: Path
    loss: float
    steps: int
    images: int
    seconds: float

    @property
    def model(self) -> Path:
        """The folder of the trained model, which `load_model` reads."""
        return self.run / MODEL_FOLDER


class _Done(msgspec.Struct):
    loss: float
    steps: int
    images_seen: int
    seconds: float


def write_done(result: TrainResult) -> None:
    """Write done.json, which marks the run as finished."""
    values = {
        "loss": result.loss,
        "steps": result.steps,
        "images_seen": result.images,
        "seconds": round(result.seconds, 3),
    }
    write_json(result.run / DONE_FILE, values)


def read_done(run: Path) -> TrainResult | None:
    """Return the result of a finished run, or None if it is not finished."""
    path = run / DONE_FILE
    if not path.exists():
        return None
    done = read_json(path, _Done, "the end of the run")
    return TrainResult(run, done.loss, done.steps, done.images_seen, done.seconds)
