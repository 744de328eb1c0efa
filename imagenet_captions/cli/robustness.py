"""robustness: effective robustness from a table of accuracies."""

import logging
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagenet_captions.cli.app import command
from imagenet_captions.cli.flags import refuse_without_effect
from imagenet_captions.cli.messages import say_that_torch_is_loaded
from imagenet_captions.cli.options import (
    BatchSize,
    Device,
    Overwrite,
    Threads,
    Workers,
    parse_named_path,
)
from imagenet_captions.errors import InputError

if TYPE_CHECKING:
    from imagenet_captions.evaluation.robustness.effective_robustness import RobustnessReport
    from imagenet_captions.evaluation.robustness.multi_id import MultiIdReport
    from imagenet_captions.evaluation.robustness.results import Results

log = logging.getLogger(__name__)


class BaselineName(str, Enum):
    """What ordinary ImageNet models have under shift."""

    AUTO = "auto"
    STANDARD = "standard"
    IMAGENET_ONLY = "imagenet-only"


class Units(str, Enum):
    """How the accuracies of a table are written."""

    PERCENT = "percent"
    FRACTION = "fraction"


@command
def robustness(
    results: Annotated[
        Path,
        typer.Argument(
            metavar="RESULTS.csv",
            help="A table with model, imagenet and any of imagenet-v2, imagenet-r, imagenet-sketch, objectnet, "
            "imagenet-a; or `published`, for CLIP, ALIGN and BASIC as they were published.",
        ),
    ],
    baseline: Annotated[
        BaselineName | None,
        typer.Option(
            help="auto: one curve for models of any accuracy. standard: the published line over models of at least "
            "55 %. imagenet-only: the line over all that saw ImageNet only. Default: auto."
        ),
    ] = None,
    baseline_from: Annotated[
        Path | None,
        typer.Option(metavar="RESULTS.csv", help="Fit the baseline over the models of this table instead."),
    ] = None,
    id_sets: Annotated[
        list[str] | None,
        typer.Option(
            "--id",
            metavar="COLUMN",
            help="Measure against several in-distribution test sets too, by one linear fit over the models of the "
            "table, or of --baseline-from: `--id imagenet --id yfcc`.",
        ),
    ] = None,
    units: Annotated[Units | None, typer.Option(help="Unit of the accuracies. Default: detected.")] = None,
    all_classes: Annotated[
        bool, typer.Option("--all-classes", help="Compare R, A and ObjectNet on all 1000 classes for every model.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write the table with effective robustness: ER.csv.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the figure: a .png or .svg file.")] = None,
    with_published: Annotated[
        bool,
        typer.Option(
            "--with-published/--without-published",
            help="Draw CLIP, ALIGN and BASIC beside your models, or leave them out.",
        ),
    ] = True,
    overwrite: Overwrite = False,
) -> None:
    from imagenet_captions.evaluation.robustness import results as tables
    from imagenet_captions.evaluation.robustness.multi_id import check_id_sets
    from imagenet_captions.evaluation.robustness.table import format_robustness
    from imagenet_captions.storage.outputs import producing

    if baseline is not None and baseline_from is not None:
        raise InputError("--baseline names models of the testbed and --baseline-from your own; give one of the two")
    shipped = str(results) == "published"
    if shipped:
        refuse_without_effect("for the published results", "units", "with_published")
    if plot is None:
        refuse_without_effect("without --plot", "with_published")
    ids = check_id_sets(id_sets) if id_sets else ()
    table = tables.read_published() if shipped else tables.read_results(results, units and units.value, ids)
    if plot is not None:
        from imagenet_captions.evaluation.robustness.figures import check_figure_path

        check_figure_path(plot)
    if units is None and not shipped:
        log.info("the accuracies are taken as %s", "percent" if table.units == "percent" else "fractions")
    for name in table.own:
        if not any(name.startswith(each) for each in ids):
            log.info("%s is not among the shifts, and only --id reads it", name)
    written = [path for path in (out, plot) if path is not None]
    if not written:
        refuse_without_effect("without --out or --plot", "overwrite")
    with producing(written, [None if shipped else results, baseline_from], overwrite) as partials:
        source = None if baseline_from is None else (tables.read_results(baseline_from, own=ids), baseline_from.name)
        name = (baseline or BaselineName.AUTO).value
        report, multi = _measure((table, results.name), name, source, ids, all_classes)
        new = dict(zip(written, partials, strict=True))
        if out is not None:
            _write(out, new[out], table, report, multi)
        if plot is not None:
            from imagenet_captions.evaluation.robustness.figures import draw_robustness

            others = () if shipped or not with_published else tables.read_published().rows
            draw_robustness(report, new[plot], others, plot.suffix, multi)
    typer.echo(format_robustness(report, multi))
    for path in written:
        typer.echo(path)


def _measure(
    named: "tuple[Results, str]",
    baseline: str,
    source: "tuple[Results, str] | None",
    ids: Sequence[str],
    all_classes: bool,
) -> "tuple[RobustnessReport, MultiIdReport | None]":
    """Measure a table by one ID set, and by several if they are given; `source` is a baseline of one's own."""
    from imagenet_captions.evaluation.robustness.baseline_members import own_baseline
    from imagenet_captions.evaluation.robustness.effective_robustness import measure_robustness
    from imagenet_captions.evaluation.robustness.multi_id import check_has_columns, measure_multi_id
    from imagenet_captions.evaluation.robustness.notes import write_notes

    rows = named[0].rows
    multi = None
    if ids:
        for table in (named, source or named):
            check_has_columns(*table, ids)
        models, over = source or named
        multi = measure_multi_id(rows, ids, models.rows, over, all_classes)
    report = measure_robustness(rows, own_baseline(*source) if source else baseline, all_classes)
    for note in (*write_notes(report), *(multi.unfit if multi else ())):
        log.warning("note: %s", note)
    return report, multi


def _write(
    out: Path, partial: Path, table: "Results", report: "RobustnessReport", multi: "MultiIdReport | None"
) -> None:
    """Write ER.csv under its private name."""
    from imagenet_captions.evaluation.intervals import exact_intervals_possible
    from imagenet_captions.evaluation.robustness.table import write_robustness
    from imagenet_captions.storage.faults import how_to_install

    possible = exact_intervals_possible()
    if not possible:
        log.warning(
            "note: scipy is not installed, so %s has no intervals of the accuracies; %s", out, how_to_install("report")
        )
    write_robustness(partial, table, report, possible, multi)


@command
def trajectories(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Runs that `train --keep-every` made, or an ablation's folder."),
    ],
    on: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=PATH",
            help="A test set, as for `evaluate`: the in-distribution one first, then one or more shifts.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Metrics, trajectories.csv and .svg; the same folder again goes on.")],
    prompts: Annotated[
        str | None,
        typer.Option(
            help="Prompts of contrastive runs: none, one, 80, or a file of sentences with {} for the name. Default: "
            "those of the ablation, else 80."
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Labels of flat ImageNet validation images: the devkit, LOC_val_solution.csv or val.txt."),
    ] = None,
    batch_size: BatchSize = 256,
    workers: Workers = None,
    threads: Threads = None,
    device: Device = None,
) -> None:

    from imagenet_captions.storage.faults import require

    require("train", "trajectories")
    from imagenet_captions.evaluation.settings import Reading
    from imagenet_captions.evaluation.trajectories.settings import TrajectorySettings
    from imagenet_captions.evaluation.trajectories.trajectory import format_trajectories

    settings = TrajectorySettings(
        runs=tuple(runs),
        test_sets=tuple(map(parse_named_path, on)),
        out=out,
        prompts=prompts,
        labels=labels,
        reading=Reading(batch_size, workers, device, threads),
    )
    say_that_torch_is_loaded("trajectories")
    from imagenet_captions.evaluation.trajectories.measure import FIGURE, TABLE, measure_trajectories

    measured = measure_trajectories(settings)
    typer.echo(format_trajectories(measured, [name for name, _ in settings.test_sets]))
    for name in (TABLE, FIGURE):
        typer.echo(out / name)
