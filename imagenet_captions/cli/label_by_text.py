"""label-by-text: class labels from what texts say."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from imagenet_captions.cli.app import command
from imagenet_captions.cli.options import Engine, EngineName, Overwrite, RayAddress, Workers, open_engine
from imagenet_captions.labelling.settings import Mode
from imagenet_captions.storage.places import Place


@command
def label_by_text(
    table: Annotated[
        Place,
        typer.Argument(
            help="Captions: a .parquet, .csv or .tsv file, WebDataset tars or a folder of them, one of our datasets, "
            "or YFCC100M's metadata.",
        ),
    ],
    out: Annotated[Place, typer.Option(help="The labeled table: a .parquet, .csv or .tsv file.")],
    mode: Annotated[
        Mode,
        typer.Option(
            help="Label rows that name exactly one class (single), at least one (multi), or exactly one by its curated "
            "name alone (strict)."
        ),
    ] = Mode.SINGLE,
    text: Annotated[
        list[str] | None,
        typer.Option(
            help="A column to look for names in. May be given often. Default: title, description and tags, else the "
            "caption."
        ),
    ] = None,
    case_sensitive: Annotated[
        bool,
        typer.Option("--case-sensitive", help="Take a name only as WordNet writes it, as the paper did with YFCC."),
    ] = False,
    overwrite: Overwrite = False,
    workers: Workers = None,
    engine: Engine = EngineName.LOCAL,
    ray_address: RayAddress = None,
) -> None:
    from imagenet_captions.labelling.label import label_by_text as label
    from imagenet_captions.labelling.settings import LabelSettings

    with open_engine(engine, ray_address, workers) as (running, count):
        settings = LabelSettings(mode, tuple(text or ()), case_sensitive, count, running)
        report = label(table, out, settings, overwrite)
    typer.echo(_table(report.as_dict(settings)))
    typer.echo(out)


def _table(found: Mapping[str, Any]) -> str:
    from imagenet_captions.outcomes import share

    rows = found["rows"]
    lines = [f"text: {', '.join(found['settings']['text'])}"]
    for name in ("rows", "labelled", "named_none", "named_one", "named_several"):
        part = f"{share(found[name], rows):>8}" if rows else ""
        lines.append(f"{name.replace('_', ' '):<15}{found[name]:>12,}{part}")
    lines += [f"skipped: {reason}: {count:,}" for reason, count in found["skipped"].items()]
    if found["known_class"]:
        shares = (
            f"{name} {'none' if found[name] is None else f'{found[name]:.4f}'}" for name in ("precision", "recall")
        )
        lines.append(f"against the true class of {found['known_class']:,} rows: {', '.join(shares)}")
    return "\n".join(lines)
