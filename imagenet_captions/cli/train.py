"""train: one run of the experiments."""

from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagenet_captions.cli.app import command
from imagenet_captions.cli.flags import refuse_all_but, refuse_without_effect
from imagenet_captions.cli.group import SPECS
from imagenet_captions.cli.messages import in_flags, say_that_torch_is_loaded
from imagenet_captions.cli.options import Precision, Workers
from imagenet_captions.errors import InputError, shortened
from imagenet_captions.storage.faults import require
from imagenet_captions.storage.files import METRICS

if TYPE_CHECKING:
    from imagenet_captions.evaluation.settings import EvaluateSettings
    from imagenet_captions.training.settings import TrainSettings


class ObjectiveName(str, Enum):
    """The training objective."""

    CONTRASTIVE = "contrastive"
    SUPERVISED = "supervised"
    SIMCLR = "simclr"


class PresetName(str, Enum):
    """The size of the experiment."""

    PAPER = "paper"
    MICRO = "micro"


class Lock(str, Enum):
    """The tower that is not trained."""

    IMAGE = "image"
    TEXT = "text"


class EmptyClasses(str, Enum):
    """What a head does with a class that has no images."""

    FAIL = "fail"
    DROP = "drop"
    KEEP = "keep"


class LogTo(str, Enum):
    """Where losses are logged."""

    CSV = "csv"
    TENSORBOARD = "tensorboard"
    WANDB = "wandb"


class Accelerator(str, Enum):
    """The device type."""

    AUTO = "auto"
    CPU = "cpu"
    GPU = "gpu"


@command
def train(
    data: Annotated[
        Path | None,
        typer.Argument(
            help="A dataset folder, Parquet with images, WebDataset shards, an open_clip CSV, or a folder of images."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder.", metavar="RUN")] = None,
    objective: Annotated[ObjectiveName | None, typer.Option(help="The training objective.")] = None,
    preset: Annotated[PresetName, typer.Option(help="The paper's recipe, or a small one for 32 x 32 on a CPU.")] = (
        PresetName.PAPER
    ),
    recipe: Annotated[
        str | None,
        typer.Option(
            help="A recipe by name, in place of --objective and --preset: contrastive, supervised, simclr, finetune, "
            "align, basic-supervised, basic-contrastive, supervised-matched, micro-contrastive, micro-supervised, "
            "micro-simclr, micro-finetune or micro-supervised-matched.",
            metavar="NAME",
        ),
    ] = None,
    show: Annotated[
        str | None, typer.Option(help="Print a recipe, with the reference of each value, and stop.", metavar="NAME")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="The model to build: RN50, RN101, ViT-B-32, ViT-B-16, ViT-L-14, resnet50, align, align-large, basic, "
            "basic-medium, micro, vit-micro, align-micro, basic-micro, open_clip:NAME or timm:NAME."
        ),
    ] = None,
    init: Annotated[
        str | None, typer.Option(help="Start from this model's weights: a run, a checkpoint, open_clip:NAME@FILE …")
    ] = None,
    init_image: Annotated[
        str | None, typer.Option(help="Take the image tower of this run, as BASIC does.", metavar="RUN")
    ] = None,
    lock: Annotated[Lock | None, typer.Option(help="Keep this tower as it is, its batch statistics too.")] = None,
    ids: Annotated[
        Path | None, typer.Option(help="Train on these images: a file of ids, as `filter --out-ids` writes.")
    ] = None,
    caption: Annotated[
        str | None, typer.Option(help="What makes a caption, drawn anew each epoch; see `Captions` below.")
    ] = None,
    empty_classes: Annotated[
        EmptyClasses, typer.Option(help="A class without images: fail, drop it from the head, or keep it.")
    ] = EmptyClasses.FAIL,
    on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]PATH",
            help="Then measure the model here: zero-shot, by its head, or by a linear probe after SimCLR. May be given "
            "often; `evaluate` has the names and more ways.",
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Number of epochs.")] = None,
    steps: Annotated[int | None, typer.Option(help="Number of steps; the schedule ends there too.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step, over all devices.")] = None,
    lr: Annotated[float | None, typer.Option(help="The highest learning rate.")] = None,
    warmup: Annotated[
        int | None, typer.Option(help="Steps over which the learning rate grows to its highest.", metavar="STEPS")
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Weight decay.")] = None,
    accumulate: Annotated[
        int | None, typer.Option(help="Split the images of a step into N parts; images are compared within a part.")
    ] = None,
    drop_path: Annotated[float | None, typer.Option(help="Rate of stochastic depth, for timm's models.")] = None,
    clip_norm: Annotated[float | None, typer.Option(help="Scale gradients down to this norm.")] = None,
    precision: Annotated[Precision | None, typer.Option(help="Number format of the computation.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, order, crops and captions.")] = 0,
    devices: Annotated[int, typer.Option(help="Processes on this machine, one a GPU.")] = 1,
    nodes: Annotated[int, typer.Option(help="Machines, started by torchrun.")] = 1,
    accelerator: Annotated[Accelerator, typer.Option(help="The device type.")] = Accelerator.AUTO,
    workers: Workers = None,
    threads: Annotated[
        int | None,
        typer.Option(help="Threads that compute on a CPU, for each device. Default: 1 for images up to 64 pixels."),
    ] = None,
    grad_checkpointing: Annotated[
        bool,
        typer.Option("--grad-checkpointing", help="Compute blocks again in the backward pass: less memory, more time."),
    ] = False,
    save_every: Annotated[int | None, typer.Option(help="Write last.ckpt every N steps too.")] = None,
    keep_every: Annotated[int | None, typer.Option(help="Keep a checkpoint every N epochs.")] = None,
    log: Annotated[list[LogTo] | None, typer.Option(help="Where losses are logged. May be given often.")] = None,
    log_every: Annotated[int, typer.Option(help="Write the loss every N steps.")] = 10,
) -> None:
    from imagenet_captions.training.recipes import show_recipe

    if show is not None:
        refuse_all_but("show", "with --show, which only prints a recipe")
        typer.echo(in_flags(show_recipe(show), SPECS["train"]))
        return
    if data is None or out is None:
        raise InputError("training needs DATA and --out RUN; give both, or --show RECIPE to read a recipe")
    chosen = _recipe(objective, preset, recipe)
    changes: dict[str, Any] = {
        "model": model,
        "lock": lock and lock.value,
        "caption": caption,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "warmup_steps": warmup,
        "warmup_epochs": None if warmup is None else 0,
        "weight_decay": weight_decay,
        "accumulate": accumulate,
        "drop_path": drop_path,
        "clip_norm": clip_norm,
        "precision": precision and precision.value,
    }
    _refuse_what_has_no_effect(chosen.objective, recipe, steps)
    chosen = replace(chosen, **{name: value for name, value in changes.items() if value is not None})

    require("train", "train")
    from imagenet_captions.models.source import check_source
    from imagenet_captions.training.done import read_done
    from imagenet_captions.training.settings import TrainSettings

    settings = TrainSettings(
        data=data,
        out=out,
        recipe=chosen,
        init=init,
        init_image=init_image,
        ids=ids,
        seed=seed,
        steps=steps,
        empty_classes=empty_classes.value,
        devices=devices,
        nodes=nodes,
        accelerator=accelerator.value,
        workers=workers,
        threads=threads,
        grad_checkpointing=grad_checkpointing,
        save_every=save_every,
        keep_every=keep_every,
        log=tuple(each.value for each in log) if log else ("csv", "tensorboard"),
        log_every=log_every,
    )
    if read_done(out) is None:  # a finished run does not need them any more
        for source in (init, init_image):
            if source is not None:
                check_source(source)
    say_that_torch_is_loaded("train")
    measured = _measurement(settings, on or [])
    from imagenet_captions.training.train import train as run

    result = run(settings)
    if result is None:
        return
    typer.echo(f"{result.model}: {result.steps} steps, loss {result.loss:.4f}, {result.seconds:.0f} s")
    if measured is not None:
        from imagenet_captions.evaluation.evaluate import evaluate, format_metrics

        typer.echo(format_metrics(evaluate(measured, out / METRICS)))
        typer.echo(out / METRICS)


def _refuse_what_has_no_effect(objective: str, recipe: str | None, steps: int | None) -> None:
    if recipe is not None:
        refuse_without_effect("with --recipe, which names one recipe", "preset")
    if steps is not None:
        refuse_without_effect("with --steps, which ends the run", "epochs")
    if objective != "contrastive":
        refuse_without_effect(f"for the objective {objective}, which reads no captions", "caption")
    if objective != "supervised":
        refuse_without_effect(f"for the objective {objective}, which has no classes", "empty_classes")


def _measurement(settings: "TrainSettings", tests: list[str]) -> "EvaluateSettings | None":
    """Return how the trained model will be measured, checked before hours of training; None without --on."""
    from imagenet_captions.training.processes import process_rank

    if not tests or process_rank() != 0:
        return None
    import tempfile

    from imagenet_captions.evaluation.settings import ClassifierSettings, EvaluateSettings, Reading
    from imagenet_captions.evaluation.testsets import open_test_set
    from imagenet_captions.storage.places import local_place

    pairs = [
        (name, local_place(path)) if path else ("test", local_place(name))
        for name, _, path in (each.partition("=") for each in tests)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        for name, path in pairs:
            open_test_set(name, path, Path(scratch), None)
    reading = Reading(threads=settings.threads)
    kind = {"contrastive": "zero-shot", "supervised": "head", "simclr": "linear-probe"}[settings.recipe.objective]
    train = settings.data if kind == "linear-probe" else None
    return EvaluateSettings(
        model=str(settings.out),
        test_sets=tuple(pairs),
        classifier=ClassifierSettings(kind, train=train),
        reading=reading,
    )


def _recipe(objective: ObjectiveName | None, preset: PresetName, name: str | None) -> Any:
    from imagenet_captions.training.recipes import find_recipe

    if name is not None:
        if objective is not None:
            raise InputError(f"--recipe {shortened(name, 40)} says the objective too; leave --objective out")
        return find_recipe(name)
    if objective is None:
        raise InputError("training needs --objective contrastive, supervised or simclr, or a --recipe by name")
    return find_recipe(objective.value if preset is PresetName.PAPER else f"micro-{objective.value}")
