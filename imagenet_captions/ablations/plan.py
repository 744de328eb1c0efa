"""The plan of an ablation: each run with its recipe, rows and steps, and how compared arms differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from imagenet_captions.ablations.inputs import Rows
from imagenet_captions.ablations.runs import (
    IMAGES,
    MODEL,
    OWN,
    SEED,
    STEPS,
    UNIFORM,
    Comparison,
    Run,
    Table,
)
from imagenet_captions.ablations.settings import AblateSettings
from imagenet_captions.errors import InputError
from imagenet_captions.training.recipes import (
    CONTRASTIVE,
    Recipe,
    find_recipe,
    readable,
    recipe_values,
    unread_values,
)
from imagenet_captions.training.sampler import step_size
from imagenet_captions.training.settings import check_share


@dataclass(frozen=True)
class Planned:
    """A run with its recipe and its rows; `steps`, and the images seen in them, are those of its model's training.

    `at_most` says that `images` is a bound, since the texts of the rows are not read yet, and `steps_at_most` that
    `steps` and `seen` are.
    """

    run: Run
    recipe: Recipe
    rows: Rows
    images: int
    digest: str
    steps: int
    seen: int
    at_most: bool = False
    steps_at_most: bool = False

    @property
    def shown_images(self) -> str:
        """The number of images, with "up to" before a bound."""
        return f"{'up to ' if self.at_most else ''}{self.images:,}"

    @property
    def shown_steps(self) -> str:
        """The number of steps, with "up to" before a bound."""
        return f"{'up to ' if self.steps_at_most else ''}{self.steps:,}"

    @property
    def model_run(self) -> str:
        """The run whose model this one is about."""
        return self.run.model_of or self.run.name


def plan_runs(
    settings: AblateSettings,
    tables: Iterable[Table],
    rows_of: Callable[[Run], Rows],
    is_bound: Callable[[Run], bool] = lambda run: False,
) -> dict[str, Planned]:
    """Return all runs of the tables once, by name, each after the runs that it needs.

    `is_bound` tells whether a run may have fewer rows than `rows_of` returns.
    Raises InputError for batches that the devices cannot share.
    """
    found: dict[str, Planned] = {}
    for run in (run for table in tables for run in table.runs):
        if run.name in found:
            continue
        recipe, rows = make_recipe(run, settings), rows_of(run)
        if run.model_of is not None:
            found[run.name] = replace(found[run.model_of], run=run, recipe=recipe, rows=rows)
            continue
        check_share(recipe, settings.processes)
        size = step_size(rows.count, run.batch_size, settings.processes * recipe.accumulate)
        an_epoch = rows.count // size
        steps, at_most = run.epochs * an_epoch, is_bound(run)
        steps_at_most = at_most
        if run.steps_of is not None:
            steps, steps_at_most = found[run.steps_of].steps, found[run.steps_of].steps_at_most
        found[run.name] = Planned(
            run,
            recipe,
            rows,
            rows.count,
            rows.digest,
            steps,
            steps * size,
            at_most,
            steps_at_most,
        )
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
    arms = table.arms()
    lines = []
    for comparison in table.comparisons:
        pairs = list(zip(arms[comparison.first], arms[comparison.second], strict=True))
        facts = [tuple(_facts(planned[run.name]) for run in pair) for pair in pairs]
        for kind in comparison.equal:
            if any(one[kind] != other[kind] for one, other in facts):
                first, second = (f"{run.name} has {fact[kind]}" for run, fact in zip(pairs[0], facts[0], strict=True))
                raise InputError(
                    f"{comparison.first} and {comparison.second} have to share their {kind} and do not: "
                    f"{first}, {second}; give data in which all rows can be used by both"
                )
        lines.append(_describe_shared(comparison, pairs[0], *facts[0]))
    return lines


def _facts(planned: Planned) -> dict[str, object]:
    return {
        MODEL: planned.model_run,
        IMAGES: (planned.images, planned.digest),
        STEPS: planned.steps,
        SEED: planned.run.seed,
    }


def _describe_shared(
    comparison: Comparison,
    pair: Sequence[Run],
    one: Mapping[str, object],
    other: Mapping[str, object],
) -> str:
    same = [kind for kind in one if one[kind] == other[kind]]
    apart = [kind for kind in (IMAGES, STEPS) if kind not in same]
    parts = [f"{comparison.first} and {comparison.second} share {', '.join(same) or 'nothing'}"]
    parts += [f"not {', '.join(apart)}"] if apart else []
    parts += [f"{run.arm} starts from {run.init}, whose steps come on top" for run in pair if run.init]
    return "; ".join(parts)


_CLOSE = 0.01  # the share by which passes over the images may differ: the last batches of an epoch are smaller
_UNREAD = "-"
_SHOWN_OTHERWISE = ("objective", "caption", "epochs")

Values = tuple[str, str]  # of the first and of the second arm


def differences(comparison: Comparison, table: Table, planned: Mapping[str, Planned]) -> dict[str, Values]:
    """Return all values in which two arms differ, by the names that recipes use, so that none stays hidden."""
    pair = [planned[table.arms()[arm][0].name] for arm in (comparison.first, comparison.second)]
    found: dict[str, Values] = {}
    passes = [each.seen / each.images for each in pair]
    if pair[0].images != pair[1].images or abs(passes[0] - passes[1]) > _CLOSE * passes[0]:
        one, other = (f"{each.shown_images}, each seen {each.seen / each.images:.3g} times" for each in pair)
        found["images"] = one, other
    elif any(each.at_most for each in pair) and not _same_rows(*pair):
        one, other = (each.shown_images for each in pair)
        found["images"] = one, f"{other}, not counted yet" if one == other else other
    found |= _pair_up([{**_data(each), **_recipe(each.recipe)} for each in pair])
    first, second = (each.run for each in pair)
    if first.objective != second.objective:
        learns = [f"{run.objective} on {_material(run)}, {_classifier(run)}" for run in (first, second)]
        return found | _pair_up([{"objective": each} for each in learns])
    tests = [{"learns from": _material(run), "classifier": _classifier(run)} for run in (first, second)]
    if first.model_of or second.model_of:  # one model, asked in two ways
        tests = [{"classifier": each["classifier"]} for each in tests]
    return found | _pair_up(tests)


def _same_rows(one: Planned, other: Planned) -> bool:
    """Return whether two runs have the same rows whatever their texts say: both read them, or neither does."""
    picks = [replace(each.run.pick, labels=OWN, named=each.run.pick.reads_texts) for each in (one, other)]
    return one.run.data == other.run.data and picks[0] == picks[1]


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


def _pair_up(pair: Sequence[Mapping[str, str]]) -> dict[str, Values]:
    """Return the values that differ; an unused value equals one that is off."""
    one, other = pair
    off = {_UNREAD, "none", "no", "0"}
    return {
        name: (one[name], other[name])
        for name in one
        if one[name] != other[name] and not (_UNREAD in (one[name], other[name]) and {one[name], other[name]} <= off)
    }


def _data(planned: Planned) -> dict[str, str]:
    run = planned.run
    rows = "an even sample" if run.pick.kind == UNIFORM else f"the {run.pick.kind} sample"
    if run.pick.domains:
        rows = " + ".join(run.pick.domains)
        rows += f" without held-out classes in {run.pick.unseen}" if run.pick.unseen else ""
    return {
        "data": run.data,
        "rows": rows,
        "starts from": run.init or "random weights",
        "steps": planned.shown_steps,
    }


def _recipe(recipe: Recipe) -> dict[str, str]:
    unread = unread_values(recipe)
    values = {name: value for name, value in recipe_values(recipe).items() if name not in _SHOWN_OTHERWISE}
    return {name: _UNREAD if name in unread else readable(value) for name, value in values.items()}


def _material(run: Run) -> str:
    """Return what a loss uses beside images."""
    if run.objective == CONTRASTIVE:
        return f"captions ({run.caption})"
    return "labels" if run.pick.labels == OWN else "labels read off texts"


def _classifier(run: Run) -> str:
    return f"{run.classifier} ({run.prompts})" if run.prompts else run.classifier or "not asked"
