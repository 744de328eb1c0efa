"""filter: some rows of a dataset, as a list of ids or as a dataset."""

from enum import Enum
from typing import Annotated, Any

import typer

from imagenet_captions.cli.app import command
from imagenet_captions.cli.flags import refuse_without_effect
from imagenet_captions.cli.options import Deny, Overwrite, Workers, count_workers
from imagenet_captions.errors import InputError
from imagenet_captions.storage.places import Place

Many = list[str] | None


class Entry(Enum):
    """What balanced sampling counts."""

    MENTIONS = "mentions"
    CLASS = "class"


@command
def filter(
    dataset: Annotated[Place, typer.Argument(help="A dataset folder.")],
    class_: Annotated[
        Many, typer.Option("--class", help="A wnid, index, name or ancestor such as dog; any of those given.")
    ] = None,
    class_list: Annotated[
        Many,
        typer.Option(
            metavar="NAME|FILE",
            help="A list of classes: imagenet-a, imagenet-o, imagenet-r, objectnet, imagenette, imagewoof, "
            "imagenet-100-captionnet, imagenet-100-clip-beyond-tail, imagenet-100-cmc, or a file with a class a line.",
        ),
    ] = None,
    contains: Annotated[
        Many,
        typer.Option(
            metavar="FIELD=TEXT",
            help="The text is in the field (title, description, tags or caption), in any case; all of those given.",
        ),
    ] = None,
    matches: Annotated[
        Many,
        typer.Option(
            metavar="FIELD=REGEX",
            help="The regular expression is found in the field (title, description, tags or caption).",
        ),
    ] = None,
    has: Annotated[
        Many,
        typer.Option(
            metavar="FIELD",
            help="The field holds something: title, description, tags, caption, language, photo_id, owner, owner_name, "
            "license, date_taken, date_posted, photo_page, source, retrieved_at or image.",
        ),
    ] = None,
    language: Annotated[Many, typer.Option(help="A language code such as en; any of those given.")] = None,
    license_: Annotated[
        Many, typer.Option("--license", help="Flickr's number or a name such as by; any of those given.")
    ] = None,
    names_class: Annotated[bool, typer.Option("--names-class", help="The texts name the row's own class.")] = False,
    split: Annotated[str | None, typer.Option(help="train or val, by a hash of the id.")] = None,
    val_fraction: Annotated[float, typer.Option(help="The share of all rows that is val.")] = 0.1,
    ids: Annotated[
        Place | None, typer.Option(help="Only the image ids in this file, such as one that --out-ids wrote.")
    ] = None,
    deny: Deny = None,
    scores: Annotated[Place | None, typer.Option(help="Similarities that `score` wrote.", metavar="FILE")] = None,
    score_above: Annotated[
        float | None, typer.Option(help="Only rows with a higher similarity in --scores; the cosine, from -1 to 1.")
    ] = None,
    score_top: Annotated[
        float | None,
        typer.Option(help="Of the rows that are left, this share with the highest similarities.", metavar="SHARE"),
    ] = None,
    random_classes: Annotated[int | None, typer.Option(metavar="K", help="K of the classes left, by the seed.")] = None,
    balance: Annotated[
        int | None,
        typer.Option(
            metavar="T",
            help="MetaCLIP's balanced sampling: keep a row with probability 1 - prod(1 - min(1, T / count)) over its "
            "entries.",
        ),
    ] = None,
    by: Annotated[
        Entry, typer.Option(help="The entries of --balance: the classes that a row's texts mention, or its own class.")
    ] = Entry.MENTIONS,
    trim_tail: Annotated[
        str | None, typer.Option(help="At most N rows for each of the K rarest classes.", metavar="K:N")
    ] = None,
    like: Annotated[
        Place | None,
        typer.Option(help="Rows a class: a table with columns wnid and count, as `stats --counts` writes it."),
    ] = None,
    per_class: Annotated[int | None, typer.Option(help="At most this many rows a class.")] = None,
    sample: Annotated[
        str | None, typer.Option(help="Number of rows in all, or a share such as 0.1.", metavar="N|FRACTION")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the samples; another one takes other rows.")] = 0,
    shuffle: Annotated[
        int | None, typer.Option(metavar="SEED", help="Write the rows in the order of this seed, for training.")
    ] = None,
    shards: Annotated[
        int | None,
        typer.Option(
            help="Shards of shuffled rows, many even for a small copy, so that workers share them.  [default: 16, or "
            "more of 500 MB each]"
        ),
    ] = None,
    local_labels: Annotated[
        bool, typer.Option("--local-labels", help="Count labels over the classes left; the old ones stay beside them.")
    ] = False,
    without_images: Annotated[
        bool, typer.Option("--without-images", help="Leave the images out, for a dataset of texts that may be shared.")
    ] = False,
    out: Annotated[Place | None, typer.Option(help="Write a dataset folder.")] = None,
    out_ids: Annotated[
        Place | None, typer.Option(help="Write a list of image ids, and FILE.json beside it.", metavar="FILE")
    ] = None,
    overwrite: Overwrite = False,
    workers: Workers = None,
) -> None:
    from imagenet_captions.dataset.filtering.filter import filter_to_dataset, filter_to_ids, format_counts
    from imagenet_captions.dataset.filtering.settings import FilterSettings, RowConditions
    from imagenet_captions.flickr.denylist import NOTHING_DENIED, Denylist

    wanted = RowConditions(
        classes=class_ or (),
        lists=class_list or (),
        contains=contains or (),
        matches=matches or (),
        has=has or (),
        languages=language or (),
        licenses=license_ or (),
        names_class=names_class,
        split=split,
        val_fraction=val_fraction,
    )
    if split is None:
        refuse_without_effect("without --split", "val_fraction")
    if shuffle is None:
        refuse_without_effect("without --shuffle SEED", "shards")
    if balance is None:
        refuse_without_effect("without --balance", "by")
    if not any((trim_tail, like, sample)) and per_class is random_classes is balance is None:
        refuse_without_effect("without a sample, such as --sample or --balance", "seed")
    if scores is None:
        refuse_without_effect("without --scores FILE", "score_above", "score_top")
    if out is None:
        refuse_without_effect("without --out DATASET", "workers")
    if out_ids is None:
        refuse_without_effect("without --out-ids FILE", "overwrite")
    others: dict[str, Any] = {"scores": scores, "score_above": score_above, "score_top": score_top}
    others |= {"without_images": without_images, "random_classes": random_classes, "balance": balance, "by": by.value}
    others |= {"shuffle": shuffle, "shards": shards}
    others |= {"ids": ids, "trim_tail": trim_tail, "like": like, "per_class": per_class, "sample": sample, "seed": seed}
    settings = FilterSettings(
        wanted, deny=Denylist.parse(deny) if deny else NOTHING_DENIED, local_labels=local_labels, **others
    )
    if out is not None and out_ids is None:
        counts = filter_to_dataset(dataset, out, settings, count_workers(workers))
    elif out_ids is not None and out is None:
        counts = filter_to_ids(dataset, out_ids, settings, overwrite)
    else:
        raise InputError(
            "a filter writes one thing: give --out DATASET, or --out-ids FILE for a list of ids (--ids reads one)"
        )
    typer.echo(f"{format_counts(counts)}\n{out or out_ids}")
