"""Describe an ablation before it runs: its runs, their images, published numbers and GPU hours; PyTorch stays out."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from imagenet_captions.ablations.arms import TrainingSet
from imagenet_captions.ablations.domain.data import plan_mixed
from imagenet_captions.ablations.domain.mixtures import DOMAIN
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
from imagenet_captions.models.config import PRESETS, config_of
from imagenet_captions.training.settings import check_share

_COLUMNS = ("run", "images", "steps", "images seen", "GPU, reported")
_RIGHT = (1, 2, 3)
_WIDEST = 100


def describe(settings: AblateSettings) -> str:
    """Return the tables of all factors as text; nothing is written, and no images are read.

    A number in the place of a data set's path plans for so many images that are not there yet.
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
    parts = [
        _table(table, settings, amounts, ask.mixed)
        + _published(table, settings, rows)
        + _comparisons(table, amounts, settings)
        for table in tables
    ]
    return _wrapped("\n\n".join([*parts, _notes(runs, settings, amounts)]))


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


def _table(
    table: Table,
    settings: AblateSettings,
    amounts: dict[str, Amount],
    mixed: TrainingSet | None,
) -> str:
    """Return a row of numbers for each run, and below it how it is trained and tested."""
    rows = [_row(run, settings, amounts) for run in table.runs]
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


def _row(run: Run, settings: AblateSettings, amounts: dict[str, Amount]) -> tuple[str, ...]:
    if not run.trains:
        return (run.name, *("-" for _ in _COLUMNS[1:]))
    recipe, amount = settings.recipe_of(run), amounts[run.name]
    most = "up to " if run.pick.reads_texts else ""
    sizes = (f"{most}{amount.images:,}", f"{most}{amount.steps:,}", f"{most}{amount.seen:,}")
    found = throughput_of(recipe.objective, recipe.model, recipe.precision)
    return (run.name, *sizes, f"{_hours(amount.seen / found.images_per_second)} {found.gpu}" if found else "-")


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    if hours < 1:
        return f"{60 * hours:.1f} min"
    return f"{hours:.1f} h" if hours < 100 else f"{hours:,.0f} h"


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


def _notes(runs: Sequence[Run], settings: AblateSettings, amounts: dict[str, Amount]) -> str:
    trained = [run for run in runs if run.trains]
    told = f"{len(trained)} trainings, {sum(amounts[run.name].seen for run in trained):,} images seen"
    lines = [told, *_reported(trained, settings)]
    if any(run.pick.reads_texts for run in runs):
        lines.append("up to: how many texts name exactly one class is known only when the texts are read")
    return "\n".join(lines)


def _reported(trained: Sequence[Run], settings: AblateSettings) -> list[str]:
    """Return which throughputs of GPUs were reported."""
    recipes = [settings.recipe_of(run) for run in trained]
    found = [throughput_of(recipe.objective, recipe.model, recipe.precision) for recipe in recipes]
    sources = {each.source: f"{each.gpu}: {each.images_per_second:,.0f} images/s" for each in found if each}
    lines = [f"GPU hours from what others reported of one {rate} ({source})" for source, rate in sources.items()]
    if sources and not all(found):
        lines.append("  nothing was reported for the other objectives")
    if not sources and any(recipe.model == REPORTED_MODEL for recipe in recipes):
        lines.append(f"GPU hours were reported for `precision='{REPORTED_PRECISION}'` and {REPORTED_MODEL} alone")
    return lines
