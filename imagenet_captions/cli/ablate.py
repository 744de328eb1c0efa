"""ablate: the paper's five experiments, and one on domains."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from imagenet_captions.cli.app import command
from imagenet_captions.cli.group import SPECS
from imagenet_captions.cli.messages import in_flags, is_first_process, say_that_torch_is_loaded
from imagenet_captions.cli.options import Precision, Workers
from imagenet_captions.storage.faults import require


class Factor(str, Enum):
    """The factor that varies."""

    SIZE = "size"
    DISTRIBUTION = "distribution"
    TRAIN_LANGUAGE = "train-language"
    TEST_LANGUAGE = "test-language"
    LOSS = "loss"
    DOMAIN = "domain"
    ALL = "all"


class Scale(str, Enum):
    """The size of the experiment."""

    PAPER = "paper"
    MICRO = "micro"


@command
def ablate(
    factor: Annotated[
        Factor,
        typer.Argument(
            help="The factor to vary; `all` runs the paper's five, with all but the distribution on the first data "
            "set; domain needs a column `domain` in the data, and with micro makes one."
        ),
    ],
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]DATASET...",
            help="What `train` reads; as yfcc15m, cc12m or imagenet-captions it has published numbers beside it. With "
            "--dry-run also a number of images, such as yfcc15m=14829396.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Runs and report.md; the same folder again goes on, or adds a factor.")],
    preset: Annotated[Scale, typer.Option(help="The paper's size, or 32 x 32 images on a CPU in minutes.")] = (
        Scale.PAPER
    ),
    on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]PATH",
            help="A test set, as for `evaluate`; with micro one Parquet file. May be given often.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each arm, each with another seed.")] = 1,
    epochs: Annotated[int | None, typer.Option(help="Epochs of every training, in place of the recipes'.")] = None,
    model: Annotated[str | None, typer.Option(help="The model, in place of the recipes'.")] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            help="Prompts of zero-shot arms: none, one, 80, or a file of sentences with {} for the name. Default: "
            "80, as published models are; one with micro."
        ),
    ] = None,
    workers: Workers = None,
    threads: Annotated[
        int | None,
        typer.Option(help="Threads that compute on a CPU, for each device. Default: 1 for images up to 64 pixels."),
    ] = None,
    devices: Annotated[int, typer.Option(help="GPUs of a machine that train together, a process each.")] = 1,
    nodes: Annotated[int, typer.Option(help="Machines that train together, started by torchrun.")] = 1,
    precision: Annotated[
        Precision | None, typer.Option(help="Number format of the computation, in place of the recipes'.")
    ] = None,
    accumulate: Annotated[
        int | None, typer.Option(help="Split the images of a step into N parts; images are compared within a part.")
    ] = None,
    grad_checkpointing: Annotated[
        bool,
        typer.Option("--grad-checkpointing", help="Compute blocks again in the backward pass: less memory, more time."),
    ] = False,
    keep_every: Annotated[
        int | None, typer.Option(help="Keep a checkpoint of every training each N epochs, for `trajectories`.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the runs, their steps and what was published; do nothing.")
    ] = False,
) -> None:
    if not dry_run:
        require("train", "ablate")
    from imagenet_captions.ablations.settings import AblateSettings, parse_places
    from imagenet_captions.ablations.table import FACTORS

    settings = AblateSettings(
        factors=FACTORS if factor is Factor.ALL else (factor.value,),
        data=parse_places(data, "data"),
        out=out,
        preset=preset.value,
        tests=parse_places(on or [], "tests"),
        seeds=seeds,
        epochs=epochs,
        model=model,
        prompts=prompts,
        workers=workers,
        threads=threads,
        devices=devices,
        nodes=nodes,
        precision=precision and precision.value,
        accumulate=accumulate,
        grad_checkpointing=grad_checkpointing,
        keep_every=keep_every,
    )
    if not dry_run or ":" in (model or ""):  # a library's models are looked up in it
        say_that_torch_is_loaded("ablate")
    if dry_run:
        from imagenet_captions.ablations.dry_run import describe

        if is_first_process():
            typer.echo(in_flags(describe(settings), SPECS["ablate"]))
        return
    from imagenet_captions.ablations.ablate import ablate as run

    report = run(settings)
    if report is not None:
        typer.echo(report)
