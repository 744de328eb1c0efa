"""Describe an ablation before it runs: its runs, their images, published numbers, and the time if it is measured.

PyTorch is loaded only to measure, so that a plan is printed at once.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from imagenet_captions.ablations.arms import TrainingSet
from imagenet_captions.ablations.domain.data import plan_mixed
from imagenet_captions.ablations.domain.mixtures import DOMAIN
from imagenet_captions.ablations.estimate import StepTime, format_hours, reported_hours
from imagenet_captions.ablations.factors import make_tables
from imagenet_captions.ablations.planning import Amount, amount_of
from imagenet_captions.ablations.reports.differences import describe_differences, table_differences
from imagenet_captions.ablations.reports.published import (
    LABELLED,
    REPORTED_MODEL,
    REPORTED_PRECISION,
    common_name,
    published_for,
    throughput_of,
)
from imagenet_captions.ablations.settings import AblateSettings
from imagenet_captions.ablations.table import ALL_TEXT, Run, Table
from imagenet_captions.errors import InputError
from imagenet_captions.images.examples import open_examples
from imagenet_captions.models.presets import PRESETS, config_of
from imagenet_captions.storage.progress import track
from imagenet_captions.training.settings import check_share

Steps: TypeAlias = "dict[tuple[str, str], StepTime]"  # by objective and model; empty where none was measured

_COLUMNS = ("run", "images", "steps", "images seen", "estimate here", "GPU, reported")
_RIGHT = (1, 2, 3)
_WIDEST = 100


def describe(settings: AblateSettings, measure: bool = False) -> str:
    """Return the tables of all factors as text; nothing is written, and no images are read.

    A number in the place of a data set's path plans for so many images that are not there yet. With `measure` a
    training step of each model is timed on this machine.
    """
    ask = settings.ask([_training_set(name, path) for name, path in settings.data.items()])
    if DOMAIN in settings.factors:
        ask = replace(ask, mixed=_mixed(ask.first.name, settings))
    tables = make_tables(settings.factors, ask)
    runs = list({run.name: run for table in tables for run in table.runs}.values())
    rows = {each.name: each.rows for each in (*ask.datasets, *([ask.mixed] if ask.mixed else []))}
    amounts: dict[str, Amount] = {}
    for run in runs:
        if run.trains:
            check_share(settings.recipe_of(run), settings.processes)
            amounts[run.name] = _amount(run, rows, amounts, settings.processes)
    _check_models(settings, runs)
    steps = _measure(runs, settings) if measure else {}
    parts = [
        _table(table, settings, amounts, steps, ask.mixed)
        + _published(table, settings, rows)
        + _comparisons(table, amounts, settings)
        for table in tables
    ]
    return _wrapped("\n\n".join([*parts, _notes(runs, settings, amounts, steps)]))


def _wrapped(text: str) -> str:
    """Return the text with long lines wrapped and their continuations indented."""
    lines = []
    for line in text.split("\n"):
        before = line[: len(line) - len(line.lstrip())]
        lines += textwrap.wrap(
            line, _WIDEST, subsequent_indent=before + "    ", break_long_words=False, break_on_hyphens=False
        ) or [""]
    return "\n".join(lines)


def _training_set(name: str, path: Path) -> TrainingSet:
    if path.exists() or not path.name.isdecimal():
        return TrainingSet.of(name, open_examples(path))
    return TrainingSet(name, int(path.name[:12]), labelled=common_name(name) == LABELLED)


def _mixed(name: str, settings: AblateSettings) -> TrainingSet:
    path = settings.data[name]
    if not path.exists():
        raise InputError(f"ablate domain counts the rows of each domain, and {path} is not there; give data that is")
    micro = settings.preset == "micro"
    return plan_mixed(name, open_examples(path), "" if micro else ALL_TEXT, micro)


def _amount(run: Run, rows: dict[str, int], others: dict[str, Amount], processes: int) -> Amount:
    """Return how much a run would train on; a run whose steps it takes comes before it in the tables."""
    steps = None if run.steps_of is None else others[run.steps_of].steps
    images = min(run.pick.rows or rows[run.data], rows[run.data])
    return amount_of(run, images, processes=processes, steps=steps)


def _check_models(settings: AblateSettings, runs: Sequence[Run]) -> None:
    """Raise InputError for a model that cannot be built; only the names of libraries take time to look up."""
    for name in {settings.recipe_of(run).model for run in runs} - PRESETS.keys():
        config_of(name)


def _measure(runs: Sequence[Run], settings: AblateSettings) -> Steps:
    """Measure a training step for each pair of objective and model."""
    from imagenet_captions.ablations.measuring import measure_step

    recipes = [settings.recipe_of(run) for run in runs if run.trains]
    wanted = {(recipe.objective, recipe.model): recipe for recipe in recipes}
    measured = track(wanted.items(), "measure a training step", len(wanted), "models")
    return {key: measure_step(recipe, settings.threads, settings.grad_checkpointing) for key, recipe in measured}


def _table(
    table: Table,
    settings: AblateSettings,
    amounts: dict[str, Amount],
    steps: Steps,
    mixed: TrainingSet | None,
) -> str:
    """Return a row of numbers for each run, and below it how it is trained and tested."""
    rows = [_row(run, settings, amounts, steps) for run in table.runs]
    widths = {
        at: max(len(row[at]) for row in (_COLUMNS, *rows))
        for at in range(len(_COLUMNS))
        if any(row[at] != "-" for row in rows)
    }
    lines = [f"{table.factor}: {len(table.runs)} runs"]
    for row, below in zip((_COLUMNS, *rows), ("", *(_how(run, settings, mixed) for run in table.runs)), strict=True):
        cells = [row[at].rjust(width) if at in _RIGHT else row[at].ljust(width) for at, width in widths.items()]
        lines.append(f"  {'  '.join(cells)}".rstrip())
        lines += [f"      {below}"] if below else []
    return "\n".join(lines)


def _row(run: Run, settings: AblateSettings, amounts: dict[str, Amount], steps: Steps) -> tuple[str, ...]:
    if not run.trains:
        return (run.name, *("-" for _ in _COLUMNS[1:]))
    recipe, amount = settings.recipe_of(run), amounts[run.name]
    step = steps.get((run.objective, recipe.model))
    most = "up to " if run.pick.reads_texts else ""
    sizes = (f"{most}{amount.images:,}", f"{most}{amount.steps:,}", f"{most}{amount.seen:,}")
    here = format_hours(step.hours(amount.seen)) if step else "-"
    reported = "" if step and step.gpu else reported_hours(recipe, amount.seen)
    return (run.name, *sizes, here, reported or "-")


def _how(run: Run, settings: AblateSettings, mixed: TrainingSet | None) -> str:
    """Return how a run is trained, from which weights, and how it is tested."""
    test = " ".join(filter(None, (run.classifier, run.prompts)))
    parts = [
        f"test {test}" if test else "no test of its own",
        f"of {run.model_of}, not trained" if run.model_of else "",
    ]
    if run.trains:
        recipe = settings.recipe_of(run)
        start = f"from {run.init}" if run.init else ""
        parts = [f"{run.objective} {recipe.model}", f"recipe {run.recipe}", f"data {run.data}", start, *parts]
    if run.pick.domains and mixed is not None and mixed.domains is not None:
        parts.append(f"rows {mixed.domains.describe(run.pick, seed=0)}")
    return ", ".join(filter(None, parts))


def _published(table: Table, settings: AblateSettings, rows: dict[str, int]) -> str:
    """Return a line for each run that has a published number."""
    lines = []
    for run in table.runs:
        if run.pick.rows is None or run.pick.rows >= rows[run.data]:
            found = published_for(run.data, run.stem, settings.recipe_of(run).model)
            lines += [f"  {run.name} will be compared with: {'; '.join(map(str, found))}"] if found else []
    return "\n" + "\n".join(lines) if lines else "\n  no number was published for any of these runs"


def _comparisons(table: Table, amounts: dict[str, Amount], settings: AblateSettings) -> str:
    """Return a line for each comparison with the differences between its arms."""
    found = table_differences(table, amounts, settings.model)
    return "".join(
        f"\n  {comparison.first} and {comparison.second}: {comparison.question} {describe_differences(apart)}"
        for comparison, apart in zip(table.comparisons, found, strict=True)
    )


def _notes(runs: Sequence[Run], settings: AblateSettings, amounts: dict[str, Amount], steps: Steps) -> str:
    trained = [run for run in runs if run.trains]
    told = f"{len(trained)} trainings, {sum(amounts[run.name].seen for run in trained):,} images seen"
    lines = [told + _hours(trained, settings, amounts, steps), *_reported(trained, settings, steps)]
    if not steps:
        lines.append("no time is estimated; with `measure=True` a few training steps are timed on this machine")
    if any(run.pick.reads_texts for run in runs):
        lines.append("up to: how many texts name exactly one class is known only when the texts are read")
    return "\n".join(lines)


def _hours(trained: Sequence[Run], settings: AblateSettings, amounts: dict[str, Amount], steps: Steps) -> str:
    """Return the hours that the trainings take here by the measured steps, and how these were measured."""
    if not steps:
        return ""
    keys = {run.name: (run.objective, settings.recipe_of(run).model) for run in trained}
    hours = sum(steps[keys[run.name]].hours(amounts[run.name].seen) for run in trained)
    text = f", {hours:,.1f} hours on {next(iter(steps.values())).device}"
    text += f"\nestimated from a step measured here, now, without reading images: {_steps_in_words(steps)}"
    if settings.processes > 1:
        devices = f"{settings.processes} devices" + (f" of {settings.nodes} machines" if settings.nodes > 1 else "")
        text += f"\non {devices} together {hours / settings.processes:,.1f} hours, if none waits"
    return text


def _reported(trained: Sequence[Run], settings: AblateSettings, steps: Steps) -> list[str]:
    """Return which throughputs of GPUs were reported; none are needed where a step was measured on one."""
    if any(step.gpu for step in steps.values()):
        return []
    recipes = [settings.recipe_of(run) for run in trained]
    found = [throughput_of(recipe.objective, recipe.model, recipe.precision) for recipe in recipes]
    sources = {each.source: f"{each.gpu}: {each.images_per_second:,.0f} images/s" for each in found if each}
    lines = [f"GPU hours from what others reported of one {rate} ({source})" for source, rate in sources.items()]
    if sources and not all(found):
        lines.append("  nothing was reported for the other objectives")
    if not sources and any(recipe.model == REPORTED_MODEL for recipe in recipes):
        lines.append(f"GPU hours were reported for `precision='{REPORTED_PRECISION}'` and {REPORTED_MODEL} alone")
    return lines


def _steps_in_words(steps: Steps) -> str:
    return "; ".join(
        f"{objective} {model} {measured.seconds:.3g} s an image at {measured.batch_size} images a step"
        for (objective, model), measured in steps.items()
    )
