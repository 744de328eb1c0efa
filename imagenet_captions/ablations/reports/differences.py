"""List the differences between two arms in recipe, rows and steps, so that a comparison hides none of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from imagenet_captions.ablations.planning import Amount, make_recipe
from imagenet_captions.ablations.table import OWN, UNIFORM, Run, Table
from imagenet_captions.training.recipes import CONTRASTIVE, Recipe, readable, recipe_values, unread_values

_CLOSE = 0.01  # the share by which passes over the images may differ: the last batches of an epoch are smaller
_UNREAD = "-"
_SHOWN_OTHERWISE = ("objective", "caption", "epochs")


@dataclass(frozen=True)
class Apart:
    """One difference between two arms, with the value of each."""

    what: str
    first: str
    second: str

    def __str__(self) -> str:
        return f"{self.what}: {self.first} and {self.second}"


def differences(first: Run, second: Run, amounts: Mapping[str, Amount], model: str | None = None) -> tuple[Apart, ...]:
    """Return all differences between two runs of one seed, by the names that recipes use."""
    runs = first, second
    sizes = [amounts[run.model_of or run.name] for run in runs]
    one, other = (
        {**_data(run), "steps": f"{size.steps:,}", **_recipe(make_recipe(run, model))}
        for run, size in zip(runs, sizes, strict=True)
    )
    found = [Apart(name, one[name], other[name]) for name in one if _differ(one[name], other[name])]
    return (*_images(*sizes), *found, *_loss(*runs))


def table_differences(
    table: Table, amounts: Mapping[str, Amount], model: str | None = None
) -> tuple[tuple[Apart, ...], ...]:
    """Return the differences between the arms of each comparison of a table."""
    arms = table.arms()
    return tuple(
        differences(arms[comparison.first][0], arms[comparison.second][0], amounts, model)
        for comparison in table.comparisons
    )


def describe_differences(found: Sequence[Apart]) -> str:
    """Return a sentence that lists the differences.

    >>> describe_differences([Apart("lr", "0.002", "0.003")])
    'They differ in one thing: lr: 0.002 and 0.003.'
    """
    if not found:
        return "They do not differ."
    number = "one thing" if len(found) == 1 else f"{len(found)} things"
    return f"They differ in {number}: {'; '.join(map(str, found))}."


def _data(run: Run) -> dict[str, str]:
    kind = "an even sample" if run.pick.kind == UNIFORM else f"the {run.pick.kind} sample"
    if run.pick.domains:
        kind = " + ".join(run.pick.domains) + (
            f" without held-out classes in {run.pick.unseen}" if run.pick.unseen else ""
        )
    return {"data": run.data, "rows": kind, "starts from": run.init or "random weights"}


def _recipe(recipe: Recipe) -> dict[str, str]:
    unread = unread_values(recipe)
    return {
        name: _UNREAD if name in unread else readable(value)
        for name, value in recipe_values(recipe).items()
        if name not in _SHOWN_OTHERWISE
    }


def _differ(one: str, other: str) -> bool:
    """Return whether two values differ; an unused value equals one that is off."""
    off = {_UNREAD, "none", "no", "0"}
    return one != other and not (_UNREAD in (one, other) and {one, other} <= off)


def _images(first: Amount, second: Amount) -> tuple[Apart, ...]:
    """Return the difference in images, or in how often each is seen, if there is one."""
    passes = [amount.seen / amount.images for amount in (first, second)]
    if first.images == second.images and abs(passes[0] - passes[1]) <= _CLOSE * passes[0]:
        return ()
    shown = [
        f"{amount.images:,}, each seen {each:.3g} times" for amount, each in zip((first, second), passes, strict=True)
    ]
    return (Apart("images", *shown),)


def _loss(first: Run, second: Run) -> tuple[Apart, ...]:
    """Return the difference in loss, and in what follows from it: what the arms learn from and how they are tested."""
    if first.objective != second.objective:
        return (Apart("objective", f"{_learns(first)}, {_asked(first)}", f"{_learns(second)}, {_asked(second)}"),)
    facts = [{"learns from": _material(run), "classifier": _asked(run)} for run in (first, second)]
    if first.model_of or second.model_of:  # one model, asked in two ways
        facts = [{"classifier": each["classifier"]} for each in facts]
    one, other = facts
    return tuple(Apart(name, one[name], other[name]) for name in one if one[name] != other[name])


def _learns(run: Run) -> str:
    return f"{run.objective} on {_material(run)}"


def _material(run: Run) -> str:
    """Return what a loss uses beside images."""
    if run.objective == CONTRASTIVE:
        return f"captions ({run.caption})"
    return "labels" if run.pick.labels == OWN else "labels read off texts"


def _asked(run: Run) -> str:
    return f"{run.classifier} ({run.prompts})" if run.prompts else run.classifier or "not asked"
