"""score, evaluate, compare, robustness, trajectories and frequency: what models are worth."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

from imagenet_captions.cli.common import Overwrite, Told
from imagenet_captions.cli.messages import before_torch
from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.settings import (
    EvaluateSettings,
    RobustnessSettings,
    ScoreSettings,
    TrajectorySettings,
)
from imagenet_captions.options import argument, option
from imagenet_captions.storage.faults import require

log = logging.getLogger(__name__)


def score(
    dataset: Annotated[Path, argument("A dataset folder with images.")],
    settings: ScoreSettings,
    out: Annotated[Path, option("The file to write, such as scores.parquet.")],
    overwrite: Overwrite = False,
) -> str:
    before_torch("score", settings.model)
    from imagenet_captions.evaluation.score import score_dataset
    from imagenet_captions.outcomes import format_counts

    return f"{format_counts(score_dataset(dataset, out, settings, overwrite))}\n{out}"


def evaluate(
    settings: EvaluateSettings,
    out: Annotated[Path, option("The file to write, such as metrics.json.")],
    results: Annotated[
        Path | None, option("Add the model's row to this table, which `robustness` reads: RESULTS.csv.")
    ] = None,
    called: Annotated[
        str | None, option("Name of the model in that table. Default: as it was given.", flag="--as")
    ] = None,
    overwrite: Overwrite = False,
) -> Told:
    from imagenet_captions.evaluation.robustness.tables import add_row, check_results

    if called is not None and results is None:
        raise InputError("`called` names the model in a table of results; give `results` too")
    if results is not None:
        check_results(results, dict(settings.test_sets), settings.files(), out)
    before_torch("evaluate", settings.model)
    from imagenet_captions.evaluation import evaluate as evaluation

    metrics = evaluation.evaluate(settings, out, overwrite)
    if results is not None:
        add_row(results, called or settings.model, evaluation.results_of(metrics))
    return Told(evaluation.format_metrics(metrics), metrics, [path for path in (out, results) if path])


def compare(
    models: Annotated[
        tuple[Path, ...],
        argument(
            "Two or more results of `evaluate`, or folders of runs; each is compared with the first. "
            "Several runs of one recipe are one argument, with commas between them.",
            metavar="METRICS.json...",
        ),
    ],
    across_protocols: Annotated[
        bool, option("Compare results of different prompts, class names, images or classifiers, and say so.")
    ] = False,
    out: Annotated[Path | None, option("Write a row for each test set and class: compare.csv.")] = None,
    plot: Annotated[Path | None, option("Draw the differences: a .png or .svg file.")] = None,
    overwrite: Overwrite = False,
) -> Told:
    from imagenet_captions.evaluation import compare as comparing
    from imagenet_captions.evaluation.compare import format_comparisons

    found = comparing.compare(*models, across_protocols=across_protocols, out=out, plot=plot, overwrite=overwrite)
    return Told(format_comparisons(found), {"comparisons": found}, [path for path in (out, plot) if path])


def robustness(settings: RobustnessSettings, overwrite: Overwrite = False) -> Told:
    from imagenet_captions.evaluation.robustness.output import measure_results

    text, found = measure_results(settings, overwrite)
    return Told(text, found, settings.outputs())


def trajectories(settings: TrajectorySettings) -> str:
    before_torch("trajectories")
    from imagenet_captions.evaluation.trajectories import FIGURE, TABLE, format_trajectories, measure_trajectories

    told = format_trajectories(measure_trajectories(settings), [name for name, _ in settings.test_sets])
    return f"{told}\n{settings.out / TABLE}\n{settings.out / FIGURE}"


def frequency(
    run: Annotated[Path, argument("A run that was evaluated, or a metrics.json with --data.")],
    data: Annotated[Path | None, option("The training data, with labels. Default: that of the run.")] = None,
    ids: Annotated[Path | None, option("The images of it that were trained on: a file of ids.")] = None,
    caption: Annotated[str | None, option("What made the captions in training; see `Captions` below.")] = None,
    out: Annotated[Path | None, option("Write a row for each test set and class: classes.csv.")] = None,
    plot: Annotated[Path | None, option("Draw accuracy by frequency: a .png or .svg file.")] = None,
    overwrite: Overwrite = False,
) -> str:
    from imagenet_captions.evaluation.frequency import (
        TrainedOn,
        format_frequency,
        frequency_csv,
        measure_frequency,
        read_trained_on,
    )
    from imagenet_captions.evaluation.results import read_metrics
    from imagenet_captions.storage.files import METRICS, write_text
    from imagenet_captions.storage.outputs import producing
    from imagenet_captions.training.data import count_classes

    require("report", "frequency", "scipy")
    if data is None and (ids, caption) != (None, None):
        raise InputError("`ids` and `caption` are about `data`; give it too")
    written = [path for path in (out, plot) if path is not None]
    if plot is not None:
        from imagenet_captions.evaluation.drawing import check_figure_path

        check_figure_path(plot, "plot")
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
            from imagenet_captions.evaluation.frequency import draw_frequency

            draw_frequency(report, partials[-1], plot.suffix)
    return "\n".join([format_frequency(report), *map(str, written)])
