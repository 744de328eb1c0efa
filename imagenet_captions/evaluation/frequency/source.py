"""Read which data a run was trained on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from imagenet_captions.errors import InputError

_SETTINGS = "settings.json"


@dataclass(frozen=True)
class TrainedOn:
    """The data that a model was trained on: `ids` name its images, `caption` is the template of the captions.

    `settings` is the file of a run that says so.
    """

    data: Path
    ids: Path | None = None
    caption: str | None = None
    seed: int = 0
    settings: Path | None = None


def read_trained_on(place: Path) -> TrainedOn:
    """Return the data that a run's settings name.

    Raises InputError for a place that is not a run, such as a metrics.json outside.
    """
    path = (place if place.is_dir() else place.parent) / _SETTINGS
    if not path.is_file():
        raise InputError(f"{path} is not there, so the training data of {place} is unknown; give it as `data`")
    try:
        settings = json.loads(path.read_bytes())
        ids, recipe = settings["ids"], settings["recipe"]
        start = Path(settings.get("started_in", ""))
        kept = None if ids is None else _found(start, ids["file"])
        return TrainedOn(_found(start, settings["data"]), kept, recipe.get("caption"), int(settings["seed"]), path)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path} cannot be read; give the training data as `data`") from None


def _found(start: Path, name: str) -> Path:
    """Return a path of a run as seen from the folder in which it was started, or from here if that has moved."""
    here, there = Path(name), start / name
    return here if here.exists() and not there.exists() else there
