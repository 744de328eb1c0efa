"""Run an ablation from its settings to its report; a killed one goes on with the same command."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning.pytorch.utilities import rank_zero_only
from torch.multiprocessing.spawn import ProcessExitedException, spawn

from imagenet_captions.ablations.comparing import FactorResult, RunResult
from imagenet_captions.ablations.factors import make_tables, named_picks
from imagenet_captions.ablations.inputs import Inputs
from imagenet_captions.ablations.micro import CLEAN, with_texts, write_micro_shifts
from imagenet_captions.ablations.plan import Planned, check_fairness, plan_runs
from imagenet_captions.ablations.report import Report
from imagenet_captions.ablations.runs import FROM_TEXT, Run, Table, TrainingSet
from imagenet_captions.ablations.settings import (
    DOMAIN,
    EVERY_FACTOR,
    INPUTS,
    RECORD,
    RUNS,
    AblateSettings,
    check_settings,
    write_settings,
)
from imagenet_captions.ablations.testing import TextSample, read_answers, samples_of, test_run
from imagenet_captions.engines.local import count_readers
from imagenet_captions.errors import ImagenetCaptionsError, InputError, StoppedEarly, shortened
from imagenet_captions.evaluation.classifiers import PROMPT_SETS
from imagenet_captions.evaluation.results import answers_path
from imagenet_captions.evaluation.settings import Reading
from imagenet_captions.evaluation.testsets import TestSet, open_test_set
from imagenet_captions.models.load import load_model
from imagenet_captions.storage.files import METRICS, digest, read_json, write_json
from imagenet_captions.storage.outputs import LOCK, locked
from imagenet_captions.training.processes import check_torchrun, process_rank, started_by_torchrun
from imagenet_captions.training.recipes import recipe_values
from imagenet_captions.training.settings import TrainSettings, read_done
from imagenet_captions.training.train import train

log = logging.getLogger(__name__)

REPORT = "report.md"
_TESTING = timedelta(days=7)  # the others wait while the first process tests
_ALIKE = timedelta(minutes=2)  # within which all processes meet a failure that they share


def ablate(settings: AblateSettings) -> Path | None:
    """Run what is missing of an ablation, and return the path of its report.

    Of the processes that torchrun started all call this, and the first one alone has the report. Raises InputError if
    runs failed, after the others are done and the report is written.
    """
    check_torchrun(settings.devices, settings.nodes)
    report = settings.out / REPORT
    if settings.devices > 1 and not started_by_torchrun():
        check_settings(settings)
        _start_processes(settings)
        return report
    processes = Processes()
    if not processes.first:
        processes.wait()
        if not (settings.out / RECORD).is_file():
            raise InputError(
                f"{settings.out / RECORD} of the first process is not on this machine; put `out` and the data on a "
                "disk that all machines have under the same path"
            )
        run_missing(prepare(settings), processes)
        return None
    check_settings(settings)
    with locked(settings.out / LOCK, f"the ablation {settings.out}"):
        experiment = prepare(settings, write_settings(settings))
        for table in experiment.tables:
            check_fairness(table, experiment.planned)
        processes.wait()
        failed = run_missing(experiment, processes)
        finished = []
        for table in experiment.others:
            if all(map(experiment.is_tested, table.runs)):
                finished.append(table)
            else:
                log.info("the report leaves out %s, whose runs are not all done; give it again", table.factor)
        tables = sorted((*experiment.tables, *finished), key=lambda table: EVERY_FACTOR.index(table.factor))
        factors = [_collect(experiment, table, failed) for table in tables]
        inputs, tests = experiment.inputs, tuple(experiment.tests)
        sizes = {name: len(inputs.examples(path)) for name, path in inputs.datasets.items()}
        Report(settings.out, settings.preset == "micro", settings.seeds, sizes, tests).write(report, factors)
    if failed:
        name, reason = next(iter(failed.items()))
        raise InputError(
            f"{len(failed)} of {len(experiment.runs)} runs failed, {name} because {reason}; {report} has the others, "
            f"and the same command tries the failed ones again"
        )
    return report


class Processes:
    """The processes of an ablation: all train every run together, and the first one alone does everything else."""

    def __init__(self) -> None:
        self.first = process_rank() == 0
        self._group: Any = None
        if started_by_torchrun():
            if not dist.is_initialized():
                dist.init_process_group(timeout=_TESTING)
            self._group = dist.new_group(backend="gloo", timeout=_TESTING)
        if not self.first:
            logging.getLogger("imagenet_captions").setLevel(logging.ERROR)

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self._group is not None:
            dist.barrier(self._group)

    def share_failure(self, error: InputError) -> None:
        """Return if a training failed in all processes alike, such as one whose loss is NaN; else raise the error."""
        if self._group is not None:
            try:
                dist.monitored_barrier(self._group, timeout=_ALIKE)
            except RuntimeError:
                raise error from None


def _start_processes(settings: AblateSettings) -> None:
    """Call `ablate` in a process for each of `settings.devices`; raises what one raised, after all have ended."""
    with tempfile.TemporaryDirectory() as scratch, socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port = opened.getsockname()[1]
        opened.close()
        said = Path(scratch) / "failed.txt"
        asked = (settings, port, said)
        started: Any = spawn(_ablate_as_one, asked, settings.devices, join=False)  # type: ignore[no-untyped-call]
        try:
            while not started.join():
                pass
        except KeyboardInterrupt:  # a program waits at its end for processes that it has started
            for process in started.processes:
                process.kill()
            raise
        except ProcessExitedException as ended:
            reason = f"a process ended with exit code {ended.exit_code}; run the same command again to go on"
            failure = StoppedEarly if ended.exit_code == StoppedEarly.exit_code else InputError
            raise failure(said.read_text(encoding="utf-8") if said.exists() else reason) from None


def _ablate_as_one(rank: int, settings: AblateSettings, port: int, said: Path) -> None:
    os.environ.update(dict.fromkeys(("RANK", "LOCAL_RANK"), str(rank)))
    os.environ.update(dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(settings.devices)))
    os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})
    os.environ.update({"GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "ablate"})
    lightnings: Any = rank_zero_only
    lightnings.rank = rank  # Lightning was imported before the variables were there
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        ablate(settings)
    except ImagenetCaptionsError as error:
        said.write_text(str(error), encoding="utf-8")
        sys.exit(error.exit_code)


@dataclass(frozen=True)
class RunRecord:
    """The file run.json: what a run's training and its test were asked for, and three samples of what it was given."""

    training: dict[str, Any] = field(default_factory=dict)
    test: dict[str, Any] = field(default_factory=dict)
    samples: list[TextSample] = field(default_factory=list)


@dataclass(frozen=True)
class Experiment:
    """The tables of an ablation with their inputs; `tests` are the test sets by name, the clean one first.

    `others` are the tables of other factors in the same folder. `planned` are the runs of all tables, and `runs` are
    those of `tables`, each after the runs that it needs. `digests` are those of the test sets.
    """

    settings: AblateSettings
    inputs: Inputs
    tables: tuple[Table, ...]
    others: tuple[Table, ...]
    runs: tuple[Planned, ...]
    planned: Mapping[str, Planned]
    tests: Mapping[str, Path]
    digests: Mapping[str, str]

    def folder(self, name: str) -> Path:
        """Return the folder of a run."""
        return self.settings.out / RUNS / name

    def record(self, name: str, **changes: Any) -> RunRecord:
        """Return what is known of a run, after it is written with changes if there are any."""
        path = self.folder(name) / "run.json"
        found = read_json(path, RunRecord, "the record of the run") if path.is_file() else RunRecord()
        if changes:
            write_json(path, asdict(replace(found, **changes)))
        return found

    def train_settings(self, planned: Planned) -> TrainSettings:
        """Return the settings of a run's training."""
        run, rows = planned.run, planned.rows
        return TrainSettings(
            data=self.inputs.data(run.data, rows).resolve(),
            out=self.folder(run.name),
            recipe=planned.recipe,
            init=None if run.init is None else str(self.folder(run.init).resolve()),
            ids=(self.inputs.folder / rows.ids).resolve(),
            seed=run.seed,
            steps=None if run.steps_of is None else planned.steps,
            empty_classes="keep",
            devices=self.settings.devices,
            nodes=self.settings.nodes,
            workers=self.settings.workers,
            threads=self.settings.threads,
            grad_checkpointing=self.settings.grad_checkpointing,
            keep_every=self.settings.keep_every,
            log=("csv",),
        )

    def test_asked(self, run: Run) -> dict[str, Any]:
        """Return what a test's result depends on beside the model, as JSON gives it back."""
        asked = {**asdict(run), "arm": run.stem, "tests": self.digests}
        if run.prompts and run.prompts not in PROMPT_SETS:
            asked["sentences"] = digest(Path(run.prompts))
        plain: dict[str, Any] = json.loads(json.dumps(asked))
        return plain

    def is_tested(self, run: Run) -> bool:
        """Return whether a run has all test results, on the same test sets and with the same classifier."""
        metrics = self.folder(run.name) / METRICS
        there = not run.classifier or (metrics.is_file() and answers_path(metrics).is_file())
        return there and self.record(run.name).test == self.test_asked(run)


def prepare(settings: AblateSettings, before: Mapping[str, tuple[float, ...]] | None = None) -> Experiment:
    """Make the inputs of the runs, and plan the tables of the factors and of those before, with their sizes."""
    folder, micro = settings.out / INPUTS, settings.preset == "micro"
    datasets, tests = dict(settings.data), dict(settings.tests or {})
    if micro:
        datasets = {name: with_texts(path, folder / f"{name}.parquet") for name, path in datasets.items()}
        clean = next(iter(tests.values()))
        tests = {CLEAN: clean, **write_micro_shifts(clean, folder / f"shifts-{digest(clean)[:10]}")}
    inputs = Inputs(folder, datasets)
    opened = {name: inputs.examples(datasets[name]) for name in settings.data}
    ask = settings.ask([TrainingSet(name, len(each), each.classes is not None) for name, each in opened.items()])

    def tables_of(factors: Sequence[str], sizes: tuple[float, ...]) -> tuple[Table, ...]:
        wanted = replace(ask, sizes=sizes)
        if DOMAIN in factors:
            wanted = replace(wanted, mixed=inputs.mix(ask.datasets[0].name, micro))
        if "distribution" in factors and not sizes:
            named = [inputs.rows(name, pick).count for name, pick in named_picks(ask)]
            wanted = replace(wanted, named=min(named))
        return make_tables(factors, wanted)

    tables = tables_of(settings.factors, ask.sizes)
    others: tuple[Table, ...] = ()
    planned = plan_runs(settings, tables, inputs.rows)
    runs = tuple(planned.values())
    for factor, sizes in (before or {}).items():
        try:
            made = tables_of([factor], sizes)
            planned |= plan_runs(settings, made, inputs.rows)
            others += made
        except InputError as error:
            log.info("the report leaves out %s: %s", factor, error)
    digests = {name: digest(path) for name, path in tests.items()}
    return Experiment(settings, inputs, tables, others, runs, planned, tests, digests)


def run_missing(experiment: Experiment, processes: Processes) -> dict[str, str]:
    """Train and test every run that is not done, and return the reason for each one that failed.

    A run that fails, such as one whose loss is NaN, stops only the runs that need it. All processes train together, and
    the first one tests.
    """
    untrained: dict[str, str] = {}  # alike in all processes
    untested: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        tests: list[TestSet] = []
        if processes.first:
            tests = [open_test_set(name, path, Path(scratch)) for name, path in experiment.tests.items()]
        for number, planned in enumerate(experiment.runs, start=1):
            run, where = planned.run, f"run {number} of {len(experiment.runs)}"
            without = next((name for name in (run.init, run.model_of) if name in untrained), None)
            if without is not None:
                untrained[run.name] = f"it needs {without}, which failed"
                continue
            try:
                if run.trains:
                    _train(experiment, planned, where, processes)
            except InputError as error:
                log.warning("%s failed: %s", run.name, error)
                processes.share_failure(error)
                untrained[run.name] = str(error)
                continue
            try:
                if processes.first and not experiment.is_tested(run):
                    _test(experiment, planned, tests)
            except InputError as error:
                log.warning("%s failed: %s", run.name, error)
                untested[run.name] = str(error)
    return {**untrained, **untested}


def _train(experiment: Experiment, planned: Planned, where: str, processes: Processes) -> None:
    run, settings = planned.run, experiment.train_settings(planned)
    # Data is named by digests, not by places, so that an ablation's folder can be moved.
    asked = {"ids": planned.trained.digest, "init": run.init, "seed": run.seed, "steps": settings.steps}
    asked = json.loads(json.dumps({**asked, **recipe_values(planned.recipe)}))
    if before := experiment.record(run.name).training:
        differing = next((name for name in asked if before.get(name) != asked[name]), None)
        if differing is not None:
            raise InputError(
                f"{run.name} was trained with {differing} {shortened(before.get(differing))}, and this is "
                f"{shortened(asked[differing])}; give another `out`"
            )
        log.info("%s, %s: trained", where, run.name)
        return
    log.info("%s, %s: %s steps", where, run.name, f"{planned.steps:,}")
    train(settings)
    processes.wait()
    done = read_done(settings.out)
    if done is not None and (done.steps, done.images_seen) != (planned.steps, planned.seen):
        raise InputError(
            f"{run.name} was trained for {done.steps:,} steps on {done.images_seen:,} images, and {planned.steps:,} on "
            f"{planned.seen:,} were planned; some of its rows have no caption, leave them out of the data"
        )
    if processes.first:
        experiment.record(run.name, training=asked)
    processes.wait()


def _test(experiment: Experiment, planned: Planned, tests: Sequence[TestSet]) -> None:
    run, settings, inputs = planned.run, experiment.settings, experiment.inputs
    metrics = experiment.folder(run.name) / METRICS
    metrics.unlink(missing_ok=True)
    model = load_model(str(experiment.folder(run.model_of or run.name)))
    training = experiment.train_settings(planned)
    samples = samples_of(run, model, training, tests[0].classes, settings.out / "samples")
    experiment.record(run.name, test=experiment.test_asked(run), samples=samples)
    if run.classifier:
        log.info("testing %s on %s", run.name, ", ".join(experiment.tests))
        readers = count_readers(settings.workers, settings.devices)
        reading = Reading(workers=max(1, readers), threads=settings.threads)
        data, ids = inputs.data(run.data, planned.rows), inputs.folder / planned.rows.ids
        test_run(run, model, metrics, tests, data, ids, reading)


def _collect(experiment: Experiment, table: Table, failed: Mapping[str, str]) -> FactorResult:
    domains, inputs, notes, masks = experiment.inputs.domains, experiment.inputs, [], {}
    if table.factor == DOMAIN and domains is not None:
        # Test sets of other names, such as imagenet, are left whole; in miniature all are of domains.
        micro, named = experiment.settings.preset == "micro", {*domains.others, domains.natural}
        tests = {name: path for name, path in experiment.tests.items() if micro or name in named}
        masks = {name: domains.mask(inputs.examples(path)) for name, path in tests.items()}
        masks = {name: mask for name, mask in masks.items() if mask.any()}
        notes.append(
            f"Accuracies on test sets of domains are those on the held-out classes alone: "
            f"{', '.join(domains.held_out_names)}. All arms have equally many images, but not of these classes:"
        )
    results, samples = {}, {}
    for run in table.runs:
        failure = failed.get(run.name, "")
        answers = {}
        if run.classifier and not failure:
            answers = dict(read_answers(experiment.folder(run.name) / METRICS))
        for name in masks.keys() & answers.keys():
            answers[name] = answers[name][masks[name]]
        planned = vars(experiment.planned[run.name])
        results[run.name] = RunResult(**planned, answers=answers, failure=failure)
    for arm, (first, *_) in table.arms().items():
        rows = results[first.name].rows
        if not results[first.name].failure:
            samples[arm] = experiment.record(first.name).samples
        if first.pick.domains and domains is not None:
            notes.append(f"- {arm} trains on {domains.describe(first.pick)} (inputs/{rows.ids}).")
        if first.pick.labels == FROM_TEXT:
            right = "" if rows.right is None else f", and {rows.right:,} of these name their image's own"
            notes.append(
                f"{arm} trains on {rows.count:,} images and the classes that their texts name: {rows.named:,} of "
                f"{rows.asked:,} texts name exactly one class{right}."
            )
    return FactorResult(table, results, samples, notes, tuple(masks))
