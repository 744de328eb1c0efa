"""score: how well a model finds that each image agrees with its caption."""

from pathlib import Path
from typing import Annotated

import typer

from imagenet_captions.cli.app import command
from imagenet_captions.cli.messages import say_that_torch_is_loaded
from imagenet_captions.cli.options import BatchSize, Device, Overwrite, Threads, Workers
from imagenet_captions.storage.faults import require


@command
def score(
    dataset: Annotated[Path, typer.Argument(help="A dataset folder with images.")],
    model: Annotated[
        str,
        typer.Option(
            help="A model with a text tower, as `evaluate` takes it: a run or model folder, a .ckpt, "
            "open_clip:NAME[@weights], or transformers:FOLDER."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The file to write, such as scores.parquet.")],
    caption: Annotated[
        str | None,
        typer.Option(
            help='What makes the caption: fields and settings such as template="a photo of a {}". Default: the '
            "captions of the dataset."
        ),
    ] = None,
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="Write the embeddings of images and captions too, as 16-bit numbers.")
    ] = False,
    overwrite: Overwrite = False,
    batch_size: BatchSize = 256,
    workers: Workers = None,
    threads: Threads = None,
    device: Device = None,
) -> None:
    require("train", "score")
    from imagenet_captions.captions.caption_template import CaptionTemplate
    from imagenet_captions.evaluation.scoring.settings import ScoreSettings
    from imagenet_captions.evaluation.settings import Reading
    from imagenet_captions.models.source import check_source
    from imagenet_captions.outcomes import format_counts

    template = None if caption is None else CaptionTemplate.parse(caption)
    settings = ScoreSettings(model, template, embeddings, Reading(batch_size, workers, device, threads))
    check_source(model)
    say_that_torch_is_loaded("score")
    from imagenet_captions.evaluation.scoring.score import score_dataset

    typer.echo(f"{format_counts(score_dataset(dataset, out, settings, overwrite))}\n{out}")
