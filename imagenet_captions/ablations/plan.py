"""The plan of an ablation, without PyTorch: its runs, what they share, what was published for them, and all as text."""

from __future__ import annotations

import csv
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

from imagenet_captions.ablations.factors import make_tables
from imagenet_captions.ablations.inputs import Rows, plan_mixed
from imagenet_captions.ablations.runs import (
    ALL_TEXT,
    IMAGES,
    MODEL,
    OWN,
    SEED,
    STEPS,
    UNIFORM,
    Comparison,
    Pick,
    Run,
    Table,
    TrainingSet,
)
from imagenet_captions.ablations.settings import DOMAIN, AblateSettings, check_there
from imagenet_captions.errors import InputError, aligned
from imagenet_captions.evaluation.robustness.tables import IMAGENET, SHIFTS, read_published
from imagenet_captions.imagenet.classes import DATA
from imagenet_captions.images.examples import open_examples
from imagenet_captions.models.config import OBJECTIVES, PRESETS, config_of
from imagenet_captions.training.recipes import Recipe, find_recipe, readable, recipe_values, unread_values
from imagenet_captions.training.sampler import step_size
from imagenet_captions.training.settings import check_share


@dataclass(frozen=True)
class Planned:
    """A run with its recipe and the rows that it reads.

    `trained` are the rows that its model is trained on, for `steps` in which it sees `seen` images; `steps_at_most`
    says that both are bounds.
    """

    run: Run
    recipe: Recipe
    rows: Rows
    trained: Rows
    steps: int
    seen: int
    steps_at_most: bool = False


def up_to(number: int, is_bound: bool) -> str:
    """Return a number, with "up to" before a bound."""
    return f"{'up to ' if is_bound else ''}{number:,}"


def plan_runs(
    settings: AblateSettings, tables: Iterable[Table], rows_of: Callable[[str, Pick], Rows]
) -> dict[str, Planned]:
    """Return all runs of the tables once, by name, each after the runs that it needs."""
    found: dict[str, Planned] = {}
    for run in (run for table in tables for run in table.runs):
        if run.name in found:
            continue
        recipe, rows = make_recipe(run, settings), rows_of(run.data, run.pick)
        if run.model_of is not None:
            found[run.name] = replace(found[run.model_of], run=run, recipe=recipe, rows=rows)
            continue
        processes = settings.devices * settings.nodes
        check_share(recipe, processes)
        size = step_size(rows.count, run.batch_size, processes * recipe.accumulate)
        steps, at_most = run.epochs * (rows.count // size), rows.at_most
        if run.steps_of is not None:
            steps, at_most = found[run.steps_of].steps, found[run.steps_of].steps_at_most
        found[run.name] = Planned(run, recipe, rows, rows, steps, steps * size, at_most)
    return found


def make_recipe(run: Run, settings: AblateSettings) -> Recipe:
    """Return a run's recipe: the named one with the run's batches, epochs and captions, and the user's values.

    Where another batch or number of epochs than the recipe's own is asked for, SGD's rate grows with the batch (Goyal
    et al. 2017), and cuts and warm-up stay at the same part of the training.
    """
    recipe = find_recipe(run.recipe)
    grown, longer = run.batch_size / recipe.batch_size, run.epochs / recipe.epochs
    return replace(
        recipe,
        model=settings.model or recipe.model,
        batch_size=run.batch_size,
        epochs=run.epochs,
        lr=recipe.lr * grown if recipe.optimiser in ("sgd", "lars") else recipe.lr,
        milestones=tuple(round(epoch * longer) for epoch in recipe.milestones),
        warmup_epochs=round(recipe.warmup_epochs * longer),
        caption=run.caption or recipe.caption,
        precision=settings.precision or recipe.precision,
        accumulate=settings.accumulate or recipe.accumulate,
    )


def check_fairness(table: Table, planned: Mapping[str, Planned]) -> list[str]:
    """Return a line on what each comparison's arms share; raises InputError if they differ where they must not."""
    facts: dict[str, dict[str, object]] = {}
    for run in table.runs:
        of = planned[run.name]
        images = of.trained.count, of.trained.digest
        facts[run.name] = {MODEL: run.model_of or run.name, IMAGES: images, STEPS: of.steps, SEED: run.seed}
    arms, lines = table.arms(), []
    for comparison in table.comparisons:
        pairs = list(zip(arms[comparison.first], arms[comparison.second], strict=True))
        for kind in comparison.equal:
            if any(facts[one.name][kind] != facts[other.name][kind] for one, other in pairs):
                first, second = (f"{run.name} has {facts[run.name][kind]}" for run in pairs[0])
                raise InputError(
                    f"{comparison.first} and {comparison.second} have to share their {kind} and do not: "
                    f"{first}, {second}; give data in which all rows can be used by both"
                )
        one, other = (facts[run.name] for run in pairs[0])
        same = [kind for kind in one if one[kind] == other[kind]]
        apart = [kind for kind in (IMAGES, STEPS) if kind not in same]
        line = f"{comparison.first} and {comparison.second} share {', '.join(same) or 'nothing'}"
        line += f"; not {', '.join(apart)}" if apart else ""
        started = [f"; {run.arm} starts from {run.init}, whose steps come on top" for run in pairs[0] if run.init]
        lines.append(line + "".join(started))
    return lines


_CLOSE = 0.01  # the share by which passes over the images may differ: the last batches of an epoch are smaller
_UNREAD = "-"
_OFF = {_UNREAD, "none", "no", "0"}
_SHOWN_OTHERWISE = ("objective", "caption", "epochs")

Values = tuple[str, str]  # of the first and of the second arm


def differences(comparison: Comparison, table: Table, planned: Mapping[str, Planned]) -> dict[str, Values]:
    """Return all values in which two arms differ, by the names that recipes use, so that none stays hidden."""
    one, other = (planned[table.arms()[arm][0].name] for arm in (comparison.first, comparison.second))
    found: dict[str, Values] = {}
    images = [up_to(each.trained.count, each.trained.at_most) for each in (one, other)]
    passes = [each.seen / each.trained.count for each in (one, other)]
    # Equal bounds are of the same rows if both runs pick them alike, whatever the texts say.
    picks = [replace(each.pick, labels=OWN, named=each.pick.reads_texts) for each in (one.run, other.run)]
    alike = one.run.data == other.run.data and picks[0] == picks[1]
    if one.trained.count != other.trained.count or abs(passes[0] - passes[1]) > _CLOSE * passes[0]:
        first, second = (f"{images[at]}, each seen {passes[at]:.3g} times" for at in (0, 1))
        found["images"] = first, second
    elif (one.trained.at_most or other.trained.at_most) and not alike:
        unknown = ", not counted yet" if images[0] == images[1] else ""
        found["images"] = images[0], images[1] + unknown
    ours, theirs = _values(one), _values(other)
    for name in ours:
        pair = ours[name], theirs[name]
        unused = _UNREAD in pair and set(pair) <= _OFF  # which equals one that is off
        if pair[0] != pair[1] and not unused:
            found[name] = pair
    if one.run.model_of or other.run.model_of:
        found.pop("learns from", None)
    if "objective" in found:  # what both learn from is part of it
        parts = [(each["objective"], each["learns from"], each["classifier"]) for each in (ours, theirs)]
        first, second = (f"{objective} on {material}, {classifier}" for objective, material, classifier in parts)
        found["objective"] = first, second
        found.pop("learns from", None)
        found.pop("classifier", None)
    return found


def _values(planned: Planned) -> dict[str, str]:
    run, recipe = planned.run, planned.recipe
    rows = "an even sample" if run.pick.kind == UNIFORM else f"the {run.pick.kind} sample"
    if run.pick.domains:
        rows = " + ".join(run.pick.domains)
        rows += f" without held-out classes in {run.pick.unseen}" if run.pick.unseen else ""
    start, steps = run.init or "random weights", up_to(planned.steps, planned.steps_at_most)
    values = {"data": run.data, "rows": rows, "starts from": start, "steps": steps}
    unread = unread_values(recipe)
    for name, value in recipe_values(recipe).items():
        if name not in _SHOWN_OTHERWISE:
            values[name] = _UNREAD if name in unread else readable(value)
    labels = "labels" if run.pick.labels == OWN else "labels read off texts"
    material = f"captions ({run.caption})" if OBJECTIVES[run.objective].texts else labels
    classifier = f"{run.classifier} ({run.prompts})" if run.prompts else run.classifier or "not asked"
    return {**values, "objective": run.objective, "learns from": material, "classifier": classifier}


def describe_differences(found: Mapping[str, Values]) -> str:
    """Return a sentence that lists the differences.

    >>> describe_differences({"lr": ("0.002", "0.003")})
    'They differ in one thing: lr: 0.002 and 0.003.'
    """
    if not found:
        return "They do not differ."
    number = "one thing" if len(found) == 1 else f"{len(found)} things"
    listed = "; ".join(f"{name}: {first} and {second}" for name, (first, second) in found.items())
    return f"They differ in {number}: {listed}."


PUBLISHED_ARMS = DATA / "published_arms.csv"
# The rows of published_results.csv that are a ResNet-50 trained with CLIP's loss on all of a data set.
_CLIP_RN50 = {"yfcc15m": "OpenCLIP RN50 YFCC-15M", "cc12m": "OpenCLIP RN50 CC-12M"}
LABELLED = "imagenet-captions"  # the set whose images have ImageNet's labels; the others only have texts
_ALSO = {"yfcc": "yfcc15m", "yfcc-15m": "yfcc15m", "cc-12m": "cc12m"}
_ALSO |= {"imagenet_captions": LABELLED, "incaps": LABELLED}


class Published(NamedTuple):
    """A published accuracy in percent of a ResNet-50 trained like `arm` on `data`.

    Where the source does not name the loss, `arm` lists the arms that it may be, apart by spaces.
    `source` names who published it, `reference` the file, row and column that hold it.
    """

    data: str
    arm: str
    test_set: str
    top1: float
    source: str
    reference: str

    def __str__(self) -> str:
        return f"{self.test_set} {self.top1:g} % ({self.source})"


@cache
def published_numbers() -> tuple[Published, ...]:
    """Return all published accuracies; arms have the names that `factors` gives them."""
    by_model = {row.model: row for row in read_published().rows}
    found = [
        Published(data, "clip", name, row.accuracies[name], row.cells["source"], row.cells["reference"])
        for data, row in ((data, by_model[model]) for data, model in _CLIP_RN50.items())
        for name in (IMAGENET, *(shift.column for shift in SHIFTS))
    ]
    with PUBLISHED_ARMS.open(encoding="utf-8", newline="") as opened:
        found += [Published(**{**row, "top1": float(row["top1"])}) for row in csv.DictReader(opened)]  # type: ignore[arg-type]
    return tuple(found)


def common_name(data: str) -> str:
    """Return the name of a data set in the table of published accuracies.

    >>> common_name("YFCC"), common_name("mine")
    ('yfcc15m', 'mine')
    """
    return _ALSO.get(data.lower(), data.lower())


def published_for(run: Run, model: str, rows: int) -> list[Published]:
    """Return what was published for a run on all `rows` of its data with the paper's model."""
    if model != REPORTED_MODEL or (run.pick.rows is not None and run.pick.rows < rows):
        return []
    name = common_name(run.data)
    return [row for row in published_numbers() if row.data == name and run.stem in row.arm.split()]


class Throughput(NamedTuple):
    """A reported training throughput: images a second on one GPU of this kind."""

    gpu: str
    images_per_second: float
    source: str


REPORTED_MODEL = "RN50"
REPORTED_PRECISION = "16-mixed"  # open_clip's default then (amp), and timm's with channels last
# By objective, for a ResNet-50 at 224 pixels; a rough guide, since no two machines feed a GPU alike.
THROUGHPUTS = {
    "contrastive": Throughput(
        "V100",
        2_905_954 * 30 / (8 * 12 * 3600),  # pairs of CC3M (open_clip issue 930) x epochs / (GPUs x seconds)
        "open_clip issue 15: 30 epochs of CC3M on 8 V100 in about 12 hours",
    ),
    "supervised": Throughput("A100", 2600, "timm issue 1491: a ResNet-50 with mixed precision in channels-last form"),
}


def throughput_of(recipe: Recipe) -> Throughput | None:
    """Return the reported throughput for a recipe's objective with its model and precision, if there is one."""
    reported = (recipe.model, recipe.precision) == (REPORTED_MODEL, REPORTED_PRECISION)
    return THROUGHPUTS.get(recipe.objective) if reported else None


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
