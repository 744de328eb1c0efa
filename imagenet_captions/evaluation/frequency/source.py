"""Read which data a run was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from imagenet_captions.errors import InputError
from imagenet_captions.storage.files import read_json

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


class _Ids(msgspec.Struct):
    file: str


class _Recipe(msgspec.Struct):
    caption: str | None = None


class _Run(msgspec.Struct):
    data: str
    seed: int
    ids: _Ids | None
    recipe: _Recipe
    started_in: str = ""


def read_trained_on(place: Path) -> TrainedOn:
    """Return the data that a run's settings name.

    Raises InputError for a place that is not a run, such as a metrics.json outside.
    """
    path = (place if place.is_dir() else place.parent) / _SETTINGS
    if not path.is_file():
        raise InputError(f"{path} is not there, so the training data of {place} is unknown; give it as `data`")
    run = read_json(path, _Run, "the run's settings")
    start = Path(run.started_in)
    ids = None if run.ids is None else _found(start, run.ids.file)
    return TrainedOn(_found(start, run.data), ids, run.recipe.caption, run.seed, path)


def _found(start: Path, name: str) -> Path:
    """Return a path of a run as seen from the folder in which it was started, or from here if that has moved."""
    here, there = Path(name), start / name
    return here if here.exists() and not there.exists() else there
