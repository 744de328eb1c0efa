"""Run what is missing of an ablation; each run has its own folder.

OUT/runs/NAME holds one training (settings, checkpoints, model, done.json) and its test (metrics.json, its answers);
OUT/inputs what was made for them. All of these are whole or not there, so that a killed ablation goes on with the same
command. Several factors may share OUT: a run that two of them need is trained once.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from imagenet_captions.ablations.arms import TrainingSet
from imagenet_captions.ablations.domain.data import make_mixed, plan_mixed
from imagenet_captions.ablations.domain.mixtures import DOMAIN
from imagenet_captions.ablations.domain.unseen import Masks, held_out_images
from imagenet_captions.ablations.factors import make_tables, named_picks
from imagenet_captions.ablations.inputs import Inputs, PickedRows
from imagenet_captions.ablations.micro.inputs import with_shifts, with_texts
from imagenet_captions.ablations.planning import Amount, amount_of
from imagenet_captions.ablations.processes import Processes
from imagenet_captions.ablations.settings import INPUTS, AblateSettings
from imagenet_captions.ablations.table import ALL_TEXT, Run, Table
from imagenet_captions.ablations.testing import Fitting, has_answers, needs_fitting, test_run
from imagenet_captions.errors import InputError, shortened
from imagenet_captions.evaluation.classifiers import PROMPT_SETS
from imagenet_captions.evaluation.settings import Reading
from imagenet_captions.storage.files import METRICS, digest, read_json, write_json
from imagenet_captions.training.recipes import recipe_defaults, recipe_values
from imagenet_captions.training.settings import TrainSettings, read_done
from imagenet_captions.training.train import train

log = logging.getLogger(__name__)

_RUN_FILE, _TRAINED_FILE = "run.json", "trained.json"


@dataclass(frozen=True)
class Experiment:
    """The tables of an ablation with their inputs; `tests` are the test sets by name, the clean one first.

    `mixed` is the data set of several domains, if a factor needs one.
    """

    settings: AblateSettings
    inputs: Inputs
    tables: tuple[Table, ...]
    tests: Mapping[str, Path]
    mixed: TrainingSet | None = None

    @cached_property
    def held_out(self) -> Masks:
        """Which images of the test sets are of classes that the factor `domain` holds out."""
        if self.mixed is None or self.mixed.domains is None:
            return {}
        return held_out_images(self.mixed.domains, self.inputs, self.tests, self.settings.preset == "micro")

    @cached_property
    def digests(self) -> dict[str, str]:
        """Digests of the test sets, which differ from those of other sets with the same names."""
        return {name: digest(path) for name, path in self.tests.items()}

    def folder(self, name: str) -> Path:
        """Return the folder of a run."""
        return self.settings.out / "runs" / name

    def rows(self, run: Run) -> PickedRows:
        """Return the rows that a run trains on, or that its classifier is made from."""
        return self.inputs.rows(run.data, run.pick)

    def amounts(self) -> dict[str, Amount]:
        """Return for each run that trains how much it trains on."""
        return {run.name: self.amount(run) for run in self.runs() if run.trains}

    def amount(self, run: Run) -> Amount:
        """Return how much a run trains on."""
        rows, steps = self.rows(run), None
        if run.steps_of is not None:
            steps = self.amount(next(other for other in self.runs() if other.name == run.steps_of)).steps
        return amount_of(run, rows.count, rows.digest, self.settings.processes, steps)

    def runs(self) -> list[Run]:
        """Return all runs of all tables once, each after the runs that it needs."""
        return list({run.name: run for table in self.tables for run in table.runs}.values())

    def train_settings(self, run: Run) -> TrainSettings:
        """Return the settings of a run's training."""
        rows = self.rows(run)
        return TrainSettings(
            data=rows.data.resolve(),
            out=self.folder(run.name),
            recipe=self.settings.recipe_of(run),
            init=None if run.init is None else str(self.folder(run.init).resolve()),
            ids=rows.ids.resolve(),
            seed=run.seed,
            steps=None if run.steps_of is None else self.amount(run).steps,
            empty_classes="keep",
            devices=self.settings.devices,
            nodes=self.settings.nodes,
            workers=self.settings.workers,
            threads=self.settings.threads,
            grad_checkpointing=self.settings.grad_checkpointing,
            keep_every=self.settings.keep_every,
            log=("csv",),
        )

    def fitting(self, run: Run) -> Fitting | None:
        """Return the labeled images that a run's classifier is made from, or None."""
        if not needs_fitting(run):
            return None
        rows = self.rows(run)
        return Fitting(rows.data, frozenset(rows.ids.read_text(encoding="utf-8").split()), self.settings.sized.k)


def prepare(settings: AblateSettings) -> Experiment:
    """Make the inputs of the runs and the tables."""
    folder = settings.out / INPUTS
    micro = settings.preset == "micro"
    datasets = {
        name: with_texts(path, folder / f"{name}.parquet") if micro else path for name, path in settings.data.items()
    }
    tests = dict(settings.tests or {})
    if micro:
        tests = with_shifts(next(iter(tests.values())), folder)
    inputs = Inputs(folder, datasets)
    ask = settings.ask([TrainingSet.of(name, inputs.examples(path)) for name, path in datasets.items()])
    if DOMAIN in settings.factors:
        examples = inputs.examples(datasets[ask.first.name])
        mixed = plan_mixed(ask.first.name, examples, ALL_TEXT, micro)
        ask = replace(ask, mixed=mixed)
        if micro:
            datasets[mixed.name] = make_mixed(mixed, examples, folder)
    if "distribution" in settings.factors:
        ask = replace(ask, named=min(inputs.rows(name, pick).count for name, pick in named_picks(ask)))
    return Experiment(settings, inputs, make_tables(settings.factors, ask), tests, ask.mixed)


def run_missing(experiment: Experiment, amounts: Mapping[str, Amount], processes: Processes) -> dict[str, str]:
    """Train and test every run that is not done, and return the reason for each one that failed.

    A run that fails, such as one whose loss is NaN, stops only the runs that need it. All processes train together, and
    the first one tests.
    """
    runs = experiment.runs()
    untrained: dict[str, str] = {}  # alike in all processes
    untested: dict[str, str] = {}
    for number, run in enumerate(runs, start=1):
        without = next((name for name in run.needs if name in untrained), None)
        if without is not None:
            untrained[run.name] = f"it needs {without}, which failed"
            continue
        try:
            if run.trains:
                _train(experiment, run, amounts[run.name], f"run {number} of {len(runs)}", processes)
        except InputError as error:
            log.warning("%s failed: %s", run.name, error)
            processes.share_failure(error)
            untrained[run.name] = str(error)
            continue
        try:
            if processes.first and run.classifier:
                _test(experiment, run, experiment.folder(run.name))
        except InputError as error:
            log.warning("%s failed: %s", run.name, error)
            untested[run.name] = str(error)
    return {**untrained, **untested}


def _train(experiment: Experiment, run: Run, planned: Amount, where: str, processes: Processes) -> None:
    """Train a run, or resume it, unless it is trained already.

    A finished run names its data by digests, not by places, so that an ablation's folder can be moved.
    """
    settings, told = experiment.train_settings(run), experiment.folder(run.name) / _TRAINED_FILE
    asked = {"ids": planned.digest, "init": run.init, "seed": run.seed, **recipe_values(settings.recipe)}
    if settings.steps is not None:
        asked["steps"] = settings.steps
    asked = json.loads(json.dumps(asked))
    if told.is_file():
        before = {**recipe_defaults(), **read_json(told, dict[str, Any])}
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
    if done is not None and (done.steps, done.images) != (planned.steps, planned.seen):
        raise InputError(
            f"{run.name} was trained for {done.steps:,} steps on {done.images:,} images, and {planned.steps:,} on "
            f"{planned.seen:,} were planned; some of its rows have no caption, leave them out of the data"
        )
    if processes.first:
        write_json(told, asked)
    processes.wait()


def _test(experiment: Experiment, run: Run, folder: Path) -> None:
    """Test a run, unless it was tested on the same sets with the same classifier."""
    if is_tested(experiment, run):
        return
    log.info("testing %s on %s", run.name, ", ".join(experiment.tests))
    (folder / METRICS).unlink(missing_ok=True)
    write_json(folder / _RUN_FILE, _asked(experiment, run))
    model = experiment.folder(run.model_of or run.name)
    reading = Reading(workers=max(1, experiment.settings.readers), threads=experiment.settings.threads)
    test_run(run, model, folder, experiment.tests, experiment.fitting(run), reading)


def is_tested(experiment: Experiment, run: Run) -> bool:
    """Return whether a run has all test results, on the same test sets and with the same classifier."""
    folder = experiment.folder(run.name)
    if not ((folder / _RUN_FILE).is_file() and has_answers(folder)):
        return False
    return read_json(folder / _RUN_FILE, dict[str, Any]) == _asked(experiment, run)


def _asked(experiment: Experiment, run: Run) -> dict[str, Any]:
    """Return what a test's result depends on beside the model."""
    asked = {**run.record(), "arm": run.stem, "tests": experiment.digests}
    if run.prompts and run.prompts not in PROMPT_SETS:
        asked["sentences"] = digest(Path(run.prompts))
    plain: dict[str, Any] = json.loads(json.dumps(asked))
    return plain
