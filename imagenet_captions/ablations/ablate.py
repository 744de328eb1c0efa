"""Run an ablation from its settings to its report."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from imagenet_captions.ablations.domain.mixtures import DOMAIN
from imagenet_captions.ablations.domain.unseen import mixture_notes, on_held_out
from imagenet_captions.ablations.planning import Amount, check_fairness
from imagenet_captions.ablations.processes import Processes, all_processes, start_processes
from imagenet_captions.ablations.reports.differences import table_differences
from imagenet_captions.ablations.reports.report import ReportFacts, write_report
from imagenet_captions.ablations.reports.results import FactorResult, RunResult, TextSample
from imagenet_captions.ablations.reports.samples import test_samples, training_samples
from imagenet_captions.ablations.run import Experiment, is_tested, prepare, run_missing
from imagenet_captions.ablations.settings import LOCK, RECORD, AblateSettings, check_settings, write_settings
from imagenet_captions.ablations.table import EVERY_FACTOR, FROM_TEXT, Run, Table
from imagenet_captions.ablations.testing import read_answers
from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.results import read_metrics
from imagenet_captions.storage.files import METRICS
from imagenet_captions.storage.outputs import locked
from imagenet_captions.training.processes import check_torchrun, started_by_torchrun

log = logging.getLogger(__name__)

REPORT = "report.md"


def ablate(settings: AblateSettings) -> Path | None:
    """Run what is missing of an ablation, and return the path of its report.

    Of the processes that torchrun started all call this, and the first one alone has the report. Raises InputError if
    runs failed, after the others are done and the report is written.
    """
    check_torchrun(settings.devices, settings.nodes)
    if settings.devices > 1 and not started_by_torchrun():
        check_settings(settings)
        start_processes(ablate, settings)
        return settings.out / REPORT
    with all_processes() as processes:
        if processes.first:
            check_settings(settings)
            with locked(settings.out / LOCK, f"the ablation {settings.out}"):
                return _ablate(settings, processes)
        processes.wait()
        if not (settings.out / RECORD).is_file():
            raise InputError(
                f"{settings.out / RECORD} of the first process is not on this machine; put `out` and the data on a "
                "disk that all machines have under the same path"
            )
        experiment = prepare(settings)
        run_missing(experiment, experiment.amounts(), processes)
    return None


def _ablate(settings: AblateSettings, processes: Processes) -> Path:
    before = write_settings(settings)
    experiment = prepare(settings)
    amounts = experiment.amounts()
    for table in experiment.tables:
        check_fairness(table, amounts)
    for run in experiment.runs():
        experiment.train_settings(run)  # refuses batches that the devices cannot share
    processes.wait()
    failed = run_missing(experiment, amounts, processes)
    shown = _with_finished(experiment, before)
    amounts = shown.amounts()
    factors = [_collect(shown, table, amounts, failed) for table in shown.tables]
    report = settings.out / REPORT
    write_report(report, factors, ReportFacts.of(shown))
    if failed:
        name, reason = next(iter(failed.items()))
        raise InputError(
            f"{len(failed)} of {len(experiment.runs())} runs failed, {name} because {reason}; {report} has the others, "
            f"and the same command tries the failed ones again"
        )
    return report


def _with_finished(experiment: Experiment, factors: tuple[str, ...]) -> Experiment:
    """Return the experiment with the tables of other factors whose runs are all finished in the same folder."""
    if not factors:
        return experiment
    wider = prepare(replace(experiment.settings, factors=factors))
    finished = [table for table in wider.tables if all(is_tested(wider, run) for run in table.runs if run.classifier)]
    tables = sorted((*experiment.tables, *finished), key=lambda table: EVERY_FACTOR.index(table.factor))
    whole = experiment if wider.mixed is None else wider  # which has the data set of the factor `domain` too
    return replace(whole, settings=experiment.settings, tables=tuple(tables))


def _collect(experiment: Experiment, table: Table, amounts: dict[str, Amount], failed: dict[str, str]) -> FactorResult:
    results = {run.name: _result(experiment, run, amounts, failed.get(run.name, "")) for run in table.runs}
    first = {arm: runs[0] for arm, runs in table.arms().items()}
    samples = {arm: _samples(experiment, run) for arm, run in first.items() if not results[run.name].failure}
    shared = check_fairness(table, amounts)
    apart = table_differences(table, amounts, experiment.settings.model)
    return FactorResult(table, results, samples, shared, apart, _notes(experiment, table))


def _notes(experiment: Experiment, table: Table) -> list[str]:
    """Return notes on the quality of the labels that were read from texts, or on the mixtures of domains."""
    if (mixed := experiment.mixed) is not None and table.factor == DOMAIN:
        return mixture_notes(experiment.inputs, mixed, table)
    arms = {run.arm: experiment.rows(run) for run in table.runs if run.pick.labels == FROM_TEXT}
    return [
        f"{arm} trains on {rows.count:,} images and the classes that their texts name: {rows.named:,} of "
        f"{rows.asked:,} texts name exactly one class"
        + (f", and {rows.right:,} of these name their image's own." if rows.right is not None else ".")
        for arm, rows in arms.items()
    ]


def _result(experiment: Experiment, run: Run, amounts: dict[str, Amount], failure: str) -> RunResult:
    model = experiment.train_settings(run).recipe.model
    amount = amounts[run.model_of or run.name]
    folder = experiment.folder(run.name)
    if failure or not run.classifier:
        return RunResult(run, amount, model, failure=failure)
    metrics = read_metrics(folder / METRICS)
    result = RunResult(run, amount, model, metrics, read_answers(folder))
    return on_held_out(result, experiment.held_out) if run.pick.domains else result


def _samples(experiment: Experiment, run: Run) -> list[TextSample]:
    folder = experiment.settings.out / "samples"
    if run.trains:
        return training_samples(run, experiment.train_settings(run), folder)
    fitting = experiment.fitting(run)
    classes = experiment.inputs.examples(next(iter(experiment.tests.values()))).classes or ()
    labelled = None if fitting is None else (experiment.inputs.examples(fitting.data), fitting)
    return test_samples(run, classes, labelled, folder)
