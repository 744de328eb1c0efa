"""Find runs and their kept checkpoints."""

from __future__ import annotations

import filecmp
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.evaluation.settings import ClassifierSettings
from imagenet_captions.storage.files import read_json, require_there

log = logging.getLogger(__name__)

_CLASSIFIERS = {"contrastive": "zero-shot", "supervised": "head"}  # SimCLR's models have no classifier of their own
_SETTINGS, _RUN_FILE, _CHECKPOINTS = "settings.json", "run.json", "checkpoints"


class _Recipe(msgspec.Struct):
    objective: str


class _Settings(msgspec.Struct):
    recipe: _Recipe
    seed: int


class _Tested(msgspec.Struct):
    prompts: str | None = None


@dataclass(frozen=True)
class KeptRun:
    """A run, its checkpoints in the order of training, and how they are tested; seeds of one arm share its name."""

    name: str
    arm: str
    classifier: ClassifierSettings
    checkpoints: tuple[Path, ...]


def find_runs(places: Sequence[Path], prompts: str | None) -> list[KeptRun]:
    """Return the runs of all places, each a run's folder or an ablation's.

    Zero-shot runs are tested with `prompts`, or else as the ablation tested them. Raises InputError for a place without
    runs, two runs of one name, and a run whose checkpoints cannot be measured.
    """
    runs = [run for place in places for run in _runs_of(place, prompts)]
    names = [run.name for run in runs]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise InputError(f"two of the `runs` are called {quoted(repeated)}; give each once, under a name of its own")
    if prompts is not None and all(run.classifier.kind != "zero-shot" for run in runs):
        raise InputError("`prompts` has no effect, since none of the `runs` is contrastive; leave it out")
    return runs


def _runs_of(place: Path, prompts: str | None) -> Iterator[KeptRun]:
    require_there(place, "the run")
    if (place / _CHECKPOINTS).is_dir():
        yield _run(place, prompts)
        return
    inside = sorted(folder.parent for folder in place.glob(f"runs/*/{_CHECKPOINTS}"))
    if not inside:
        raise InputError(f"{place} is neither a run with checkpoints nor an ablation; give folders of these as `runs`")
    kept = 0
    for folder in inside:
        try:
            run = _run(folder, prompts)
        except InputError as error:
            log.warning("note: left out, since %s", error)
            continue
        kept += 1
        yield run
    if not kept:
        raise InputError(
            f"no run in {place} keeps checkpoints of a model with a classifier; give `keep_every` to ablate"
        )


def _run(folder: Path, prompts: str | None) -> KeptRun:
    settings = read_json(folder / _SETTINGS, _Settings, "the run's settings")
    tested = read_json(folder / _RUN_FILE, _Tested) if (folder / _RUN_FILE).is_file() else _Tested()
    objective = settings.recipe.objective
    if objective not in _CLASSIFIERS:
        raise InputError(
            f"the run {folder} has the objective {quoted(objective)} and no classifier; "
            "measure its checkpoints with `evaluate`"
        )
    checkpoints = tuple(_in_order(folder / _CHECKPOINTS))
    if len(checkpoints) < 2:
        raise InputError(f"the run {folder} keeps {len(checkpoints)} checkpoint; train it with `keep_every` for more")
    kind = _CLASSIFIERS[objective]
    asked = (prompts or tested.prompts or None) if kind == "zero-shot" else None
    arm = folder.name.removesuffix(f"-s{settings.seed}")
    return KeptRun(folder.name, arm, ClassifierSettings(kind, prompts=asked), checkpoints)


def _in_order(folder: Path) -> Iterable[Path]:
    """Return the kept checkpoints, then the last one unless it is one of them under another name, or its copy."""
    numbers = {path: path.stem.partition("-")[2] for path in sorted(folder.glob("epoch-*.ckpt"))}
    for path in (path for path, number in numbers.items() if not number.isdecimal()):
        log.warning("note: left out %s, since `train` names kept checkpoints such as epoch-0010.ckpt", path)
    kept = sorted((path for path in numbers if numbers[path].isdecimal()), key=lambda path: int(numbers[path]))
    last = folder / "last.ckpt"
    # A copied run has two files where `train` made two links to one.
    known = not last.is_file() or any(filecmp.cmp(last, path, shallow=False) for path in kept[-1:])
    return kept if known else [*kept, last]
