"""The settings of a run, and its records: settings.json, which a resumed run is compared with, and done.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from imagenet_captions.engines.local import WORKERS
from imagenet_captions.errors import InputError, shortened
from imagenet_captions.options import check, option
from imagenet_captions.storage.files import DONE_FILE, checked, read_json, require_file, sha256, write_json
from imagenet_captions.training.recipes import Recipe, recipe_values

SETTINGS_FILE = "settings.json"
MODEL_FOLDER = "model"
THREADS = "Threads that compute on a CPU, for each device. Default: 1 for images up to 64 pixels."
GRAD_CHECKPOINTING = "Compute blocks again in the backward pass: less memory, more time."

# Settings that a resumed run may change, since they do not change the result.
_FREE = frozenset(
    {"started_in", "out", "workers", "threads", "grad_checkpointing", "save_every", "keep_every", "log", "log_every"}
)


@dataclass(frozen=True)
class TrainSettings:
    """The settings of a run: data, recipe, output folder, hardware.

    Without `init` and `init_image` the weights are random, by `seed`.
    """

    data: Path
    out: Path
    recipe: Recipe
    init: str | None = option("Start from this model's weights: a run, a checkpoint, open_clip:NAME@FILE …")
    init_image: str | None = option("Take the image tower of this run, as BASIC does.", metavar="RUN")
    ids: Path | None = option("Train on these images: a file of ids, as `filter --out-ids` writes.")
    seed: int = option("Seed of weights, order, crops and captions.", 0, least=0)
    steps: int | None = option("Number of steps; the schedule ends there too.", least=1)
    empty_classes: str = option(
        "A class without images: fail, drop it from the head, or keep it.", "fail", choices=("fail", "drop", "keep")
    )
    devices: int = option("Processes on this machine, one a GPU.", 1, least=1)
    nodes: int = option("Machines, started by torchrun.", 1, least=1)
    accelerator: str = option("The device type.", "auto", choices=("auto", "cpu", "gpu"))
    workers: int | None = option(WORKERS, least=1)
    threads: int | None = option(THREADS, least=1)
    grad_checkpointing: bool = option(GRAD_CHECKPOINTING, False)
    save_every: int | None = option("Write last.ckpt every N steps too.", least=1)
    keep_every: int | None = option("Keep a checkpoint every N epochs.", least=1)
    log: tuple[str, ...] = option(
        "Where losses are logged. May be given often.",
        ("csv", "tensorboard"),
        choices=("csv", "tensorboard", "wandb"),
    )
    log_every: int = option("Write the loss every N steps.", 10, least=1)

    def __post_init__(self) -> None:
        check(self)
        if self.init is not None and self.init_image is not None:
            raise InputError("`init` and `init_image` both say where weights come from; give one of them")
        if self.init_image is not None and not self.recipe.needs.texts:
            raise InputError(
                f"`init_image` is for the contrastive objective, and this is {self.recipe.objective}; give `init`"
            )
        check_share(self.recipe, self.processes)

    @property
    def processes(self) -> int:
        """The number of processes that train together."""
        return self.devices * self.nodes

    def files(self) -> list[Path]:
        """Return the files and folders that the run reads on this machine."""
        places = [self.data, *(Path(text) for text in (self.init, self.init_image) if text)]
        return [*places, self.ids] if self.ids is not None else places


def check_share(recipe: Recipe, processes: int) -> None:
    """Raise InputError unless so many processes can share the recipe's batches evenly."""
    share = processes * recipe.accumulate
    if recipe.batch_size % share:
        raise InputError(
            f"`batch_size` {recipe.batch_size} cannot be split into {share} equal micro-batches "
            f"(processes: {processes}, each with {recipe.accumulate}); give a multiple of {share}"
        )
    if recipe.accumulate > 1 and recipe.batch_size == share:
        raise InputError(
            f"`accumulate` {recipe.accumulate} leaves one image a part; give a larger `batch_size` than "
            f"{recipe.batch_size}, or a smaller `accumulate`"
        )


def settings_record(settings: TrainSettings) -> dict[str, Any]:
    """Return the settings as settings.json holds them: plain values, and the digest of the list of ids."""
    record = {part.name: getattr(settings, part.name) for part in fields(settings) if part.name != "recipe"}
    record["recipe"] = recipe_values(settings.recipe)
    record["started_in"] = str(Path.cwd())  # where relative paths begin, for commands that read the run later
    if settings.ids is not None:
        digest = sha256(require_file(settings.ids, "the list of ids"))
        record["ids"] = {"file": str(settings.ids), "sha256": digest}
    plain: dict[str, Any] = json.loads(json.dumps(record, default=str))
    return plain


def check_settings(settings: TrainSettings) -> None:
    """Raise InputError that names the first setting which differs from those of the run in the same folder."""
    path = settings.out / SETTINGS_FILE
    if not path.exists():
        return
    old, new = read_json(path, dict[str, Any], "the run's settings"), settings_record(settings)
    for record in (old, new):
        recipe = record.pop("recipe", None)
        record |= recipe if isinstance(recipe, dict) else {}
    for name in dict.fromkeys([*new, *old]):
        if name not in _FREE and old.get(name) != new.get(name):
            before, now = (shortened("none" if one.get(name) is None else one[name], 60) for one in (old, new))
            raise InputError(
                f"{settings.out} holds a run with {name} {before}, and this one has {now}; run it with the same "
                f"settings to go on with it, or give another `out`"
            )


@dataclass(frozen=True)
class TrainResult:
    """A finished run: its folder, last loss, and duration. Images count each time they were seen."""

    run: Path
    loss: float
    steps: int
    images_seen: int
    seconds: float

    @property
    def model(self) -> Path:
        """The folder of the trained model, which `load_model` reads."""
        return self.run / MODEL_FOLDER


def write_done(result: TrainResult) -> None:
    """Write done.json, which marks the run as finished."""
    done = {**asdict(result), "seconds": round(result.seconds, 3)}
    del done["run"]
    write_json(result.run / DONE_FILE, done)


def read_done(run: Path) -> TrainResult | None:
    """Return the result of a finished run, or None if it is not finished."""
    path = run / DONE_FILE
    if not path.exists():
        return None
    done = read_json(path, dict[str, Any], "the end of the run")
    return checked({**done, "run": run}, TrainResult, f"the end of the run {path}")
