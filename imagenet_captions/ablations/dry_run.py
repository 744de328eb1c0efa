"""Print the plan of an ablation: its runs, their images, published numbers and GPU hours; PyTorch stays out."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from imagenet_captions.ablations.factors import make_tables
from imagenet_captions.ablations.inputs import Rows, plan_mixed
from imagenet_captions.ablations.plan import (
    LABELLED,
    REPORTED_MODEL,
    REPORTED_PRECISION,
    Planned,
    common_name,
    describe_differences,
    differences,
    plan_runs,
    published_for,
    throughput_of,
    up_to,
)
from imagenet_captions.ablations.runs import ALL_TEXT, Pick, TrainingSet
from imagenet_captions.ablations.settings import DOMAIN, AblateSettings, check_there
from imagenet_captions.errors import InputError, aligned
from imagenet_captions.images.examples import open_examples
from imagenet_captions.models.config import PRESETS, config_of

_COLUMNS = ["run", "images", "steps", "images seen", "GPU, reported"]
_WIDEST = 110


def describe(settings: AblateSettings) -> str:
    """Return the tables of all factors as text; nothing is written, and no images are read.

    A number in the place of a data set's path plans for so many images that are not there yet.
    """
    check_there(settings.tests or {}, "`tests`")
    micro = settings.preset == "micro"
    datasets = []
    for name, path in settings.data.items():
        if path.exists() or not path.name.isdecimal():
            examples = open_examples(path)
            datasets.append(TrainingSet(name, len(examples), examples.classes is not None))
        else:
            datasets.append(TrainingSet(name, int(path.name[:12]), labelled=common_name(name) == LABELLED))
    ask = settings.ask(datasets)
    if DOMAIN in settings.factors:
        path = settings.data[ask.datasets[0].name]
        if not path.exists():
            raise InputError(
                f"ablate domain counts the rows of each domain, and {path} is not there; give data that is"
            )
        need = "" if micro else ALL_TEXT  # a micro set gets captions later
        ask = replace(ask, mixed=plan_mixed(ask.datasets[0].name, open_examples(path), micro, need))
    sizes = {each.name: each.rows for each in (*ask.datasets, ask.mixed) if each is not None}

    def rows_of(data: str, pick: Pick) -> Rows:
        """Rows without the needed caption are left out, but texts are not read here; a smaller sample has enough."""
        count = min(pick.rows or sizes[data], sizes[data])
        needs_text = pick.need and not micro and not pick.domains
        return Rows(count, at_most=pick.reads_texts or bool(needs_text and count == sizes[data]))

    tables = make_tables(settings.factors, ask)
    planned = plan_runs(settings, tables, rows_of)
    for name in {each.recipe.model for each in planned.values()} - PRESETS.keys():
        config_of(name)  # raises InputError for a model that cannot be built
    lines: list[str] = []
    for table in tables:
        own = [planned[run.name] for run in table.runs]
        lines += [f"{table.factor}: {len(own)} runs", *_numbers(own, ask.mixed)]
        published = []
        for each in own:
            if numbers := published_for(each.run, each.recipe.model, sizes[each.run.data]):
                listed = "; ".join(map(str, numbers))
                published.append(f"  {each.run.name} will be compared with: {listed}")
        lines += published or ["  no number was published for any of these runs"]
        for comparison in table.comparisons:
            apart = describe_differences(differences(comparison, table, planned))
            arms = f"{comparison.first} and {comparison.second}"
            lines.append(f"  {arms}: {comparison.question} {apart}")
        for curves in table.curves:
            covered = "They are compared at an accuracy without shift that both cover, if there is one."
            lines.append(f"  {curves.title}: {curves.question} {covered}")
        lines.append("")
    lines += _notes([each for each in planned.values() if each.run.trains])
    if any(each.trained.at_most for each in planned.values()):
        named = any(each.run.pick.reads_texts for each in planned.values())
        what = "have the caption" + (", and how many texts name exactly one class," if named else "")
        lines.append(f"up to: how many rows {what} is known only when the texts are read")
    wrapped = []
    for line in lines:
        indent = line[: len(line) - len(line.lstrip())] + "    "
        how: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
        wrapped.append(textwrap.fill(line, _WIDEST, subsequent_indent=indent, **how))
    return "\n".join(wrapped)


def _numbers(planned: Sequence[Planned], mixed: TrainingSet | None) -> Iterator[str]:
    rows = [_COLUMNS]
    for each in planned:
        found, time = throughput_of(each.recipe), "-"
        if found is not None:
            hours = _hours(each.seen / found.images_per_second)
            time = f"{'≤ ' if each.steps_at_most else ''}{hours} {found.gpu}"
        steps, seen = (up_to(number, each.steps_at_most) for number in (each.steps, each.seen))
        cells = [up_to(each.trained.count, each.trained.at_most), steps, seen, time]
        rows.append([each.run.name, *(cells if each.run.trains else "----")])
    if all(row[-1] == "-" for row in rows[1:]):
        rows = [row[:-1] for row in rows]
    head, *lines = aligned(rows, left=(0, 4))
    yield f"  {head}"
    for line, each in zip(lines, planned, strict=True):
        yield f"  {line}"
        yield f"      {_how(each, mixed)}"


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    if hours < 1:
        return f"{60 * hours:.1f} min"
    return f"{hours:.1f} h" if hours < 100 else f"{hours:,.0f} h"


def _how(planned: Planned, mixed: TrainingSet | None) -> str:
    run = planned.run
    parts = []
    if run.trains:
        parts = [f"{run.objective} {planned.recipe.model}", f"recipe {run.recipe}", f"data {run.data}"]
    parts += [f"from {run.init}"] if run.init else []
    parts.append(f"test {run.classifier} {run.prompts}".rstrip() if run.classifier else "no test of its own")
    parts += [f"of {run.model_of}, not trained"] if run.model_of else []
    if run.pick.domains and mixed is not None and mixed.domains is not None:
        parts.append(f"rows {mixed.domains.describe(run.pick)}")
    return ", ".join(parts)


def _notes(trained: Sequence[Planned]) -> list[str]:
    seen = up_to(sum(each.seen for each in trained), any(each.steps_at_most for each in trained))
    lines = [f"{len(trained)} trainings, {seen} images seen"]
    found = [throughput_of(each.recipe) for each in trained]
    sources = {each.source: f"{each.gpu}: {each.images_per_second:,.0f} images/s" for each in found if each}
    lines += [f"GPU hours from what others reported of one {rate} ({source})" for source, rate in sources.items()]
    if sources and not all(found):
        lines.append("  nothing was reported for the other objectives")
    if not sources and any(each.recipe.model == REPORTED_MODEL for each in trained):
        lines.append(f"GPU hours were reported for `precision='{REPORTED_PRECISION}'` and {REPORTED_MODEL} alone")
    return lines
