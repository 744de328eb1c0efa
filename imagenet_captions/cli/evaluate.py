"""evaluate, compare and frequency: a model's accuracy on test sets, beside another's, and by class."""

import logging
from enum import Enum
from pathlib import Path
from typing import Annotated

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
from imagenet_captions.storage.faults import require

log = logging.getLogger(__name__)


class ClassifierName(str, Enum):
    """How images are sorted into classes."""

    ZERO_SHOT = "zero-shot"
    LINEAR_PROBE = "linear-probe"
    K_SHOT = "k-shot"
    PROTOTYPES = "prototypes"
    HEAD = "head"


@command
def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="A run or model folder of ours, a .ckpt, open_clip:NAME[@weights], timm:NAME[@weights], or "
            "transformers:FOLDER."
        ),
    ],
    on: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=PATH",
            help="A test set: imagenet, imagenet-v2, imagenet-r, imagenet-a, imagenet-sketch or objectnet, as folders, "
            "a tar or Parquet; any other name is a set with classes of its own. May be given often.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The file to write, such as metrics.json.")],
    classifier: Annotated[
        ClassifierName, typer.Option(help="By class names, by labeled images (--train), or the model's own head.")
    ] = ClassifierName.ZERO_SHOT,
    prompts: Annotated[
        str | None,
        typer.Option(help="Zero-shot: none, one, 80, or a file of sentences with {} for the name. Default: 80."),
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(help="Zero-shot: curated, wordnet, or a file with a line a class. Default: curated."),
    ] = None,
    train: Annotated[
        Path | None, typer.Option(help="Labeled images for linear-probe, k-shot and prototypes, in any layout.")
    ] = None,
    k: Annotated[int | None, typer.Option("--k", help="k-shot: images a class.")] = None,
    seed: Annotated[int, typer.Option(help="Seed that chooses the k images, or the held-out ones.")] = 0,
    labels: Annotated[
        Path | None,
        typer.Option(help="Labels of flat ImageNet validation images: the devkit, LOC_val_solution.csv or val.txt."),
    ] = None,
    without: Annotated[
        Path | None,
        typer.Option(
            help="Leave out these test images: a text file with an id a line, or a CSV with a column id. The result "
            "with them stands beside."
        ),
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="Add the model's row to this table, which `robustness` reads: RESULTS.csv.")
    ] = None,
    overwrite: Overwrite = False,
    called: Annotated[
        str | None, typer.Option("--as", help="Name of the model in that table. Default: as it was given.")
    ] = None,
    batch_size: BatchSize = 256,
    workers: Workers = None,
    threads: Threads = None,
    device: Device = None,
) -> None:
    if classifier not in (ClassifierName.LINEAR_PROBE, ClassifierName.K_SHOT):
        refuse_without_effect(f"on the classifier {classifier.value}", "seed")
    require("train", "evaluate")
    from imagenet_captions.evaluation.robustness.results_row import add_row, check_results
    from imagenet_captions.evaluation.settings import ClassifierSettings, EvaluateSettings, Reading
    from imagenet_captions.models.source import check_source

    settings = EvaluateSettings(
        model=model,
        test_sets=tuple(map(parse_named_path, on)),
        classifier=ClassifierSettings(classifier.value, prompts, names, train, k, seed),
        reading=Reading(batch_size, workers, device, threads),
        labels=labels,
        without=without,
    )
    if called is not None and results is None:
        raise InputError("--as names the model in a table of results; give --results too")
    if results is not None:
        check_results(results, dict(settings.test_sets), settings.files(), out)
    check_source(model)
    say_that_torch_is_loaded("evaluate")
    from imagenet_captions.evaluation import evaluate as evaluation

    metrics = evaluation.evaluate(settings, out, overwrite)
    if results is not None:
        add_row(results, called or model, evaluation.results_of(metrics))
    typer.echo(evaluation.format_metrics(metrics))
    for written in (out, results):
        if written is not None:
            typer.echo(written)


@command
def compare(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="METRICS.json...",
            help="Two or more results of `evaluate`, or folders of runs; each is compared with the first.",
        ),
    ],
    across_protocols: Annotated[
        bool,
        typer.Option(
            "--across-protocols",
            help="Compare results of different prompts, class names, images or classifiers, and say so.",
        ),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write a row for each test set and class: compare.csv.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the differences: a .png or .svg file.")] = None,
    overwrite: Overwrite = False,
) -> None:
    from imagenet_captions.evaluation.comparison.compare import compare as compare_models
    from imagenet_captions.evaluation.comparison.table import format_comparisons

    written = [path for path in (out, plot) if path is not None]
    if not written:
        refuse_without_effect("without --out or --plot", "overwrite")
    found = compare_models(*models, across_protocols=across_protocols, out=out, plot=plot, overwrite=overwrite)
    typer.echo(format_comparisons(found))
    for path in written:
        typer.echo(path)


@command
def frequency(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="A run that was evaluated, or a metrics.json with --data."),
    ],
    data: Annotated[Path | None, typer.Option(help="The training data, with labels. Default: that of the run.")] = None,
    ids: Annotated[Path | None, typer.Option(help="The images of it that were trained on: a file of ids.")] = None,
    caption: Annotated[
        str | None, typer.Option(help="What made the captions in training; see `Captions` below.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write a row for each test set and class: classes.csv.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw accuracy by frequency: a .png or .svg file.")] = None,
    overwrite: Overwrite = False,
) -> None:
    from imagenet_captions.evaluation.comparison.evaluated import read_metrics
    from imagenet_captions.evaluation.frequency.measure import measure_frequency
    from imagenet_captions.evaluation.frequency.source import TrainedOn, read_trained_on
    from imagenet_captions.evaluation.frequency.table import format_frequency, frequency_csv
    from imagenet_captions.storage.files import METRICS, write_text
    from imagenet_captions.storage.outputs import producing
    from imagenet_captions.training.data.opening import count_classes

    if data is None:
        refuse_without_effect("without --data", "ids", "caption")
    written = [path for path in (out, plot) if path is not None]
    if not written:
        refuse_without_effect("without --out or --plot", "overwrite")
    if plot is not None:
        from imagenet_captions.evaluation.robustness.figures import check_figure_path

        check_figure_path(plot)
    file = run / METRICS if run.is_dir() else run
    metrics = read_metrics(file)
    seen = read_trained_on(run) if data is None else TrainedOn(data, ids, caption)
    with producing(written, [file, seen.data, seen.ids, seen.settings], overwrite) as partials:
        report = measure_frequency(metrics, count_classes(seen.data, seen.ids, seen.caption, seen.seed))
        for reason in report.left_out:
            log.warning("note: left out: %s", reason)
        if out is not None:
            write_text(partials[0], frequency_csv(report))
        if plot is not None:
            from imagenet_captions.evaluation.frequency.figure import draw_frequency

            draw_frequency(report, partials[-1], plot.suffix)
    typer.echo(format_frequency(report))
    for path in written:
        typer.echo(path)
