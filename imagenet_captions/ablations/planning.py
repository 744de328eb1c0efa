"""From a table to its trainings: recipes, steps, and whether arms share what their comparison needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from imagenet_captions.ablations.table import IMAGES, MODEL, SEED, STEPS, Comparison, Run, Table
from imagenet_captions.errors import InputError
from imagenet_captions.training.recipes import Recipe, find_recipe
from imagenet_captions.training.sampler import batch_bounds, images_seen


@dataclass(frozen=True)
class Amount:
    """How much a run trains on: images, the digest of their ids ("" before they are chosen), and steps."""

    images: int
    digest: str
    steps: int
    seen: int


def make_recipe(run: Run, model: str | None = None) -> Recipe:
    """Return a run's recipe: the named one with the run's batches, epochs and captions.

    Where another batch or number of epochs than the recipe's own is asked for, SGD's rate grows with the batch (Goyal
    et al. 2017), and cuts and warm-up stay at the same part of the training.

    >>> from imagenet_captions.ablations.table import Pick
    >>> run = Run("s", "s", "s", "d", Pick(), "supervised", "supervised", batch_size=1024, epochs=45, seed=0)
    >>> make_recipe(run).lr, make_recipe(run).milestones
    (0.4, (15, 25, 35))
    """
    recipe = find_recipe(run.recipe)
    grown, longer = run.batch_size / recipe.batch_size, run.epochs / recipe.epochs
    changed = replace(
        recipe,
        model=model or recipe.model,
        batch_size=run.batch_size,
        epochs=run.epochs,
        lr=recipe.lr * grown if recipe.optimiser in ("sgd", "lars") else recipe.lr,
        milestones=tuple(round(epoch * longer) for epoch in recipe.milestones),
        warmup_epochs=round(recipe.warmup_epochs * longer),
    )
    return replace(changed, caption=run.caption) if run.caption else changed


def amount_of(run: Run, images: int, digest: str = "", processes: int = 1, steps: int | None = None) -> Amount:
    """Return the steps of a run over so many images, by epochs or by a fixed number of steps."""
    if steps is not None:
        return Amount(images, digest, steps, images_seen(steps, images, run.batch_size, processes))
    steps = run.epochs * len(batch_bounds(images, run.batch_size, processes))
    return Amount(images, digest, steps, run.epochs * images)


def check_fairness(table: Table, amounts: Mapping[str, Amount]) -> list[str]:
    """Return a line on what each comparison's arms share; raises InputError if they differ where they must not."""
    arms = table.arms()
    lines = []
    for comparison in table.comparisons:
        pairs = list(zip(arms[comparison.first], arms[comparison.second], strict=True))
        for kind in comparison.equal:
            if any(_kind(kind, first, amounts) != _kind(kind, second, amounts) for first, second in pairs):
                first, second = (f"{run.name} has {_kind(kind, run, amounts)}" for run in pairs[0])
                raise InputError(
                    f"{comparison.first} and {comparison.second} have to share their {kind} and do not: "
                    f"{first}, {second}; give data in which all rows can be used by both"
                )
        lines.append(_shared(comparison, pairs[0], amounts))
    return lines


def _kind(kind: str, run: Run, amounts: Mapping[str, Amount]) -> object:
    amount = amounts[run.model_of or run.name]
    return {
        IMAGES: (amount.images, amount.digest),
        STEPS: amount.steps,
        SEED: run.seed,
        MODEL: run.model_of or run.name,
    }[kind]


def _shared(comparison: Comparison, pair: tuple[Run, Run], amounts: Mapping[str, Amount]) -> str:
    same = [kind for kind in (MODEL, IMAGES, STEPS, SEED) if _same(kind, pair, amounts)]
    apart = [kind for kind in (IMAGES, STEPS) if kind not in same]
    text = f"{comparison.first} and {comparison.second} share {', '.join(same) or 'nothing'}"
    parts = [text, *([f"not {', '.join(apart)}"] if apart else [])]
    parts += [f"{run.arm} starts from {run.init}, whose steps come on top" for run in pair if run.init]
    return "; ".join(parts)


def _same(kind: str, pair: tuple[Run, Run], amounts: Mapping[str, Amount]) -> bool:
    return _kind(kind, pair[0], amounts) == _kind(kind, pair[1], amounts)
