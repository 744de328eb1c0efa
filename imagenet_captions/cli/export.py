"""export and export-model: datasets and models in the forms that other tools read."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from imagenet_captions.cli.app import command
from imagenet_captions.cli.flags import refuse_without_effect
from imagenet_captions.cli.messages import say_that_torch_is_loaded
from imagenet_captions.cli.options import Deny, Engine, EngineName, Overwrite, RayAddress, Workers, open_engine
from imagenet_captions.storage.places import Place


class Target(str, Enum):
    """What to write."""

    OPEN_CLIP_CSV = "open-clip-csv"
    WEBDATASET = "webdataset"
    SLIM = "slim"
    ATTRIBUTION = "attribution"
    RELEASE_JSON = "release-json"


@command
def export(
    dataset: Annotated[
        Place,
        typer.Argument(
            help="A dataset folder.",
        ),
    ],
    to: Annotated[Target, typer.Option(help="The form to write.")],
    out: Annotated[Place, typer.Option(help="The file, or for webdataset the folder. OUT.json says what is in it.")],
    images: Annotated[
        Place | None,
        typer.Option(
            help="open-clip-csv: the folder of image files to name. webdataset: the images, in any form that build "
            "takes; default: the dataset's own.",
        ),
    ] = None,
    caption: Annotated[
        str | None,
        typer.Option(help="Make captions by this template; see `Captions` below. Default: the dataset's own."),
    ] = None,
    deny: Deny = None,
    path_prefix: Annotated[
        str | None,
        typer.Option(help="open-clip-csv: the folder to name before each file, in place of --images."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="webdataset: sets the order of the samples. Default: 0.")] = None,
    shard_size: Annotated[int | None, typer.Option(help="webdataset: samples a shard. Default: 1000.")] = None,
    clip_benchmark: Annotated[
        str | None,
        typer.Option(
            help="webdataset: write the shards as this split (such as test) in CLIP_benchmark's layout.",
            metavar="SPLIT",
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            help="open-clip-csv, slim: further columns, such as label,class_name,wnid; of image_id, filename, wnid, "
            "label, class_name, title, description, tags (a JSON list) and language.",
            metavar="NAME,...",
        ),
    ] = None,
    shuffle: Annotated[
        int | None, typer.Option(help="open-clip-csv, slim: order the rows by this seed.", metavar="SEED")
    ] = None,
    overwrite: Overwrite = False,
    workers: Workers = None,
    engine: Engine = EngineName.LOCAL,
    ray_address: RayAddress = None,
) -> None:
    from imagenet_captions.captions.caption_template import CaptionTemplate
    from imagenet_captions.exports import export as exporting
    from imagenet_captions.exports.settings import ExportSettings
    from imagenet_captions.flickr.denylist import read_denylist

    if to is not Target.WEBDATASET:
        refuse_without_effect(f"for --to {to.value}, which is written in one piece", "workers", "engine", "ray_address")
    else:
        refuse_without_effect("for --to webdataset, which replaces an earlier export and nothing else", "overwrite")
    with open_engine(engine, ray_address, workers) as (running, count):
        settings = ExportSettings(
            to=to.value,
            images=images,
            caption=None if caption is None else CaptionTemplate.parse(caption),
            deny=read_denylist(deny),
            path_prefix=path_prefix,
            seed=seed,
            shard_size=shard_size,
            clip_benchmark=clip_benchmark,
            columns=None if columns is None else tuple(name.strip() for name in columns.split(",")),
            shuffle=shuffle,
            workers=count,
            engine=running,
        )
        exported = exporting.export(dataset, out, settings, overwrite)
    typer.echo(f"{exported}\n{out}")


class Library(str, Enum):
    """The library to write a model for."""

    OPEN_CLIP = "open_clip"
    TIMM = "timm"
    TRANSFORMERS = "transformers"


@command
def export_model(
    model: Annotated[
        str, typer.Argument(help="A run, a model folder, a checkpoint, or another library's model, as for evaluate.")
    ],
    to: Annotated[Library, typer.Option(help="The library that is to load it.")],
    out: Annotated[Path, typer.Option(help="A new folder for its files.")],
) -> None:
    from imagenet_captions.models.source import check_source
    from imagenet_captions.storage.faults import require

    require("train", "export-model")
    check_source(model)
    say_that_torch_is_loaded("export-model")
    from imagenet_captions.models.exporting.export import export_model as write_model

    typer.echo(write_model(model, to.value, out))
