"""The settings of an ablation, and the record that keeps two ablations from being mixed in one folder."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from imagenet_captions.engines.local import WORKERS
from imagenet_captions.errors import InputError, quoted
from imagenet_captions.options import REQUIRED, argument, check, option
from imagenet_captions.storage.files import digest, read_json, require_there, write_json
from imagenet_captions.storage.places import expand_pattern, local_place
from imagenet_captions.training.recipes import ACCUMULATE, PRECISIONS
from imagenet_captions.training.settings import GRAD_CHECKPOINTING, THREADS

if TYPE_CHECKING:
    from imagenet_captions.ablations.runs import Ask, TrainingSet

log = logging.getLogger(__name__)

FACTORS = ("size", "distribution", "train-language", "test-language", "loss")  # the paper's
DOMAIN = "domain"
EVERY_FACTOR = (*FACTORS, DOMAIN)
RECORD, INPUTS, RUNS = "settings.json", "inputs", "runs"
_FORMAT = 2  # of the record; older folders keep other files
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,59}")


def parse_places(given: Sequence[str], what: str) -> dict[str, Path]:
    """Parse places as users write them: NAME=PATH, or PATH alone, which is named after its file or folder.

    >>> parse_places(["yfcc15m=/data/y.csv", "In Caps.parquet"], "data")
    {'yfcc15m': PosixPath('/data/y.csv'), 'in-caps': PosixPath('In Caps.parquet')}
    """
    places: dict[str, Path] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals:
            path = text
            name = (
                re.sub(r"[^a-z0-9._-]+", "-", Path(text).name.lower().removesuffix(".parquet")).strip("-._") or "data"
            )
        if not _NAME.fullmatch(name):
            raise InputError(
                f"`{what}` {quoted(text)} has the name {quoted(name)}; "
                f"name it in small letters and digits, such as mine=PATH"
            )
        if name in places:
            raise InputError(f"`{what}` {name} is given twice; name one of them otherwise, such as other=PATH")
        places[name] = local_place(path)
    return places


def parse_sizes(text: str) -> tuple[float, ...]:
    """Parse sizes as users write them, such as 1,0.5,20000."""
    try:
        return tuple(map(float, text.split(",")))
    except ValueError:
        raise InputError(f"`sizes` must be numbers such as 1,0.5,0.25, not {quoted(text)}") from None


@dataclass(frozen=True)
class AblateSettings:
    """The factors and the preset of an ablation, its data and test sets by name, and what is done otherwise."""

    factors: tuple[str, ...] = argument(
        "The factor to vary; `all` runs the paper's five, with all but the distribution on the first data set; domain "
        "needs a column `domain` in the data, and with micro makes one.",
        metavar="FACTOR",
        choices=(*EVERY_FACTOR, "all"),
        reads=lambda name: FACTORS if name == "all" else (name,),
        many=False,
    )
    data: Mapping[str, Path] = argument(
        "What `train` reads; as yfcc15m, cc12m or imagenet-captions it has published numbers beside it. With --dry-run "
        "also a number of images, such as yfcc15m=14829396.",
        metavar="[NAME=]DATASET...",
        reads=partial(parse_places, what="data"),
        many=True,
    )
    out: Path = option("Runs and report.md; the same folder again goes on, or adds a factor.", REQUIRED)
    preset: str = option(
        "The paper's size, or 32 x 32 images on a CPU in minutes.",
        "paper",
        choices=("paper", "micro"),
    )
    tests: Mapping[str, Path] | None = option(
        "A test set, as for `evaluate`; with micro one Parquet file. May be given often.",
        flag="--on",
        metavar="[NAME=]PATH",
        reads=partial(parse_places, what="tests"),
        many=True,
    )
    seeds: int = option("Trainings of each arm, each with another seed.", 1, least=1)
    sizes: tuple[float, ...] | None = option(
        "Sizes for `size` and `distribution`: numbers of images, or shares of a data set, where 1 is all of it. Given "
        "these, `distribution` compares data sets at matched accuracy, each along three sizes or more.",
        metavar="N,N,...",
        reads=parse_sizes,
        many=False,
    )
    epochs: int | None = option("Epochs of every training, in place of the recipes'.", least=1)
    model: str | None = option("The model, in place of the recipes'.")
    prompts: str | None = option(
        "Prompts of zero-shot arms: none, one, 80, or a file of sentences with {} for the name. Default: 80, as "
        "published models are; one with micro."
    )
    workers: int | None = option(WORKERS, least=1)
    threads: int | None = option(THREADS, least=1)
    devices: int = option("GPUs of a machine that train together, a process each.", 1, least=1)
    nodes: int = option("Machines that train together, started by torchrun.", 1, least=1)
    precision: str | None = option("Number format of the computation, in place of the recipes'.", choices=PRECISIONS)
    accumulate: int | None = option(ACCUMULATE, least=1)
    grad_checkpointing: bool = option(GRAD_CHECKPOINTING, False)
    keep_every: int | None = option("Keep a checkpoint of every training each N epochs, for `trajectories`.", least=1)

    def __post_init__(self) -> None:
        from imagenet_captions.evaluation.classifiers import read_prompts

        check(self)
        for factor in self.factors:
            if factor not in EVERY_FACTOR:
                raise InputError(f"a factor must be one of {', '.join(EVERY_FACTOR)}, or all, not {quoted(factor)}")
        if self.sizes and not {"size", "distribution"} & set(self.factors):
            raise InputError(f"`sizes` has no effect on {', '.join(self.factors)}; leave it out")
        for size in self.sizes or ():
            if not (0 < size <= 1 or (size >= 2 and size % 1 == 0)):
                raise InputError(f"`sizes` must be shares up to 1 or whole numbers of images, not {size:g}")
        if self.preset == "micro" and len(self.tests or {}) > 1:
            raise InputError("`preset='micro'` makes its shifts of one test set; give `tests` once")
        if self.prompts is not None:
            read_prompts(self.prompts)

    def ask(self, datasets: Sequence[TrainingSet]) -> Ask:
        """Return the request that tables are made for, with the user's values in place of the preset's."""
        from imagenet_captions.ablations.runs import PRESETS, Ask

        if not datasets:
            raise InputError("an ablation needs `data`; give a dataset, or NAME=DATASET")
        preset = PRESETS[self.preset]
        budgets = {role: (size, self.epochs or epochs) for role, (size, epochs) in preset.budgets.items()}
        preset = replace(preset, budgets=budgets, prompts=self.prompts or preset.prompts)
        preset = preset.for_rows(min(each.rows for each in datasets))
        return Ask(tuple(datasets), preset, tuple(range(self.seeds)), sizes=self.sizes or ())


@dataclass(frozen=True)
class _Record:
    """The file RECORD: what the runs of a folder share, and which factors they are of, with data and sizes of each."""

    preset: str
    epochs: int | float | None
    model: str | None
    factors: dict[str, list[str]]
    data: dict[str, str]
    sizes: dict[str, list[float]]
    format: int = 1


def check_there(places: Mapping[str, Path], what: str) -> None:
    """Refuse data or test sets that are not there, and patterns whose files are not."""
    for name, path in places.items():
        if expand_pattern(path) is None:
            require_there(path, f"{what} {name}:")


def check_settings(settings: AblateSettings) -> _Record:
    """Refuse missing inputs and an output folder of something else, before anything is written.

    Returns what the runs of the folder share, after a check against the existing record. Factors, seeds, test sets and
    data sets may be added; what was used has to be the same.
    """
    from imagenet_captions.storage.outputs import check_folder, check_nothing_else

    out, tests = settings.out, settings.tests or {}
    if not tests:
        raise InputError("an ablation needs a test set; give `tests` NAME=PATH, and `tests` PATH with `preset='micro'`")
    check_there(settings.data, "the data")
    check_there(tests, "`tests`")
    check_folder(out, [*settings.data.values(), *tests.values()])
    factors = {factor: sorted(settings.data) for factor in settings.factors}
    data = {name: digest(place) if place.exists() else str(place) for name, place in settings.data.items()}
    sizes = {factor: list(settings.sizes or ()) for factor in settings.factors}
    now = _Record(settings.preset, settings.epochs, settings.model, factors, data, sizes, _FORMAT)
    if not (out / RECORD).exists():
        check_nothing_else(out, "is not an ablation's")
        return now
    before = read_json(out / RECORD, _Record, "the record of runs")
    if before.format != _FORMAT:
        raise InputError(f"{out} holds runs of an earlier version of this package; give another `out`")
    inputs, has_runs = out / INPUTS, (out / RUNS).is_dir()
    for name in ("preset", "epochs", "model"):
        old, new = getattr(before, name), getattr(now, name)
        if old != new and (has_runs or (name == "preset" and inputs.is_dir())):
            raise InputError(
                f"{out} holds runs with {name} {old}, and this is {new}; "
                f"give another `out`, or the same settings to go on"
            )
    for name, found in data.items():
        is_used = has_runs or any(inputs.glob(f"{name}[-.]*")) or any(inputs.glob(f"rows/{name}-*"))
        if before.data.get(name, found) != found and is_used:
            raise InputError(f"the data {name} is not what the runs in {out} were trained on; give another `out`")
    together = {name: getattr(before, name) | getattr(now, name) for name in ("factors", "data", "sizes")}
    return replace(now, **together)


def write_settings(settings: AblateSettings) -> dict[str, tuple[float, ...]]:
    """Write the record of the runs; return the factors of earlier runs on the same data, with their sizes."""
    from imagenet_captions.dataset.shards import Shards
    from imagenet_captions.storage.outputs import is_dataset

    record = check_settings(settings)
    write_json(settings.out / RECORD, asdict(record))
    for name, path in settings.data.items():
        if settings.preset == "paper" and is_dataset(path) and not Shards(path).manifest.as_published:
            log.warning(
                "note: the texts of %s are cleaned, and the paper trained on them as they were published; "
                "to repeat it, make the dataset with `as_published=True`",
                name,
            )
    asked = sorted(settings.data)
    earlier = (each for each in EVERY_FACTOR if each not in settings.factors and record.factors.get(each) == asked)
    return {factor: tuple(record.sizes[factor]) for factor in earlier}
