"""The two sizes of an experiment: the paper's, and a small one that takes minutes on a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from imagenet_captions.ablations.table import ALL_TEXT
from imagenet_captions.errors import InputError, quoted
from imagenet_captions.evaluation.classifiers import read_prompts
from imagenet_captions.training.recipes import find_recipe

ROLES = {
    "contrastive": "contrastive",
    "supervised": "supervised",
    "matched": "supervised-matched",
    "simclr": "simclr",
    "finetune": "finetune",
}


@dataclass(frozen=True)
class Budget:
    """The number of images a step, and the number of epochs."""

    batch_size: int
    epochs: int


@dataclass(frozen=True)
class AblationPreset:
    """The recipe of each role, and how the factors are varied.

    With `equal_steps`, arms of fewer images see each of them more often, so that all take as many steps and only the
    data differs; without it every arm keeps its recipe's epochs, as published. `shares` are the sizes, `part` how much
    of the data each distribution gets where one data set is redistributed. `prompts` are the sentences with which
    zero-shot arms are asked, and `k` is the number of images a class for k-shot classification.
    """

    name: str
    recipes: Mapping[str, str]
    budgets: Mapping[str, Budget]
    shares: tuple[float, ...]
    equal_steps: bool
    redistributes: bool
    part: float
    field_need: str
    prompts: str
    k: int = 16

    def full_rows(self, rows: int) -> int:
        """Return how many of so many rows a full arm takes: all, or a number that gives whole steps."""
        return self.part_rows(rows, 1.0) if self.equal_steps else rows

    def part_rows(self, rows: int, share: float) -> int:
        """Return how many rows a share is, in whole steps if all arms must have equal steps."""
        if not self.equal_steps:
            return round(rows * share)
        step = self.budgets["contrastive"].batch_size * (round(1 / min(self.shares)) if share == 1 else 1)
        return max(1, int(rows * share) // step) * step

    def budget(self, role: str, like: str | None = None, share: float = 1.0) -> Budget:
        """Return the batches and epochs of a role on a share of the rows, or those of the role that it must equal."""
        found = self.budgets[like or role]
        return replace(found, epochs=round(found.epochs / share)) if self.equal_steps else found

    def for_rows(self, rows: int) -> AblationPreset:
        """Return the preset for a small data set, with batches small enough for the smallest size."""
        most = rows // round(1 / min(self.shares))
        if most < 2:
            raise InputError(
                f"{rows} images are too few for an ablation of sizes; give {2 * round(1 / min(self.shares))} or more"
            )
        if not self.equal_steps or most >= self.budgets["contrastive"].batch_size:
            return self
        budgets = {role: replace(each, batch_size=min(each.batch_size, most)) for role, each in self.budgets.items()}
        return replace(self, budgets=budgets)

    def with_epochs(self, epochs: int | None) -> AblationPreset:
        """Return the preset with this number of epochs for every recipe."""
        if epochs is None:
            return self
        if epochs < 1:
            raise InputError(f"`epochs` must be at least 1, not {epochs}")
        return replace(self, budgets={role: replace(each, epochs=epochs) for role, each in self.budgets.items()})

    def with_prompts(self, prompts: str | None) -> AblationPreset:
        """Return the preset with other prompts for zero-shot arms; raises InputError if they cannot be read."""
        if prompts is None:
            return self
        read_prompts(prompts)
        return replace(self, prompts=prompts)


def _published(name: str) -> Budget:
    recipe = find_recipe(name)
    return Budget(recipe.batch_size, recipe.epochs)


PRESETS: Mapping[str, AblationPreset] = {
    "paper": AblationPreset(
        name="paper",
        recipes=ROLES,
        budgets={role: _published(recipe) for role, recipe in ROLES.items()},
        shares=(1, 0.5, 0.25, 0.125),
        equal_steps=False,
        redistributes=False,
        part=1.0,
        field_need="title",
        prompts="80",
    ),
    # Five experiments, 23 trainings of 46,000 to 64,000 images.
    "micro": AblationPreset(
        name="micro",
        recipes={role: f"micro-{recipe}" for role, recipe in ROLES.items()},
        budgets={
            "contrastive": Budget(50, 16),
            "supervised": Budget(50, 16),
            "matched": Budget(50, 16),
            "simclr": Budget(100, 16),
            "finetune": Budget(50, 16),
        },
        shares=(1, 0.5, 0.25),
        equal_steps=True,
        redistributes=True,
        part=0.4,
        field_need=ALL_TEXT,
        prompts="one",
    ),
}


def find_preset(name: str) -> AblationPreset:
    """Return the preset of this name.

    >>> find_preset("paper").budget("contrastive")
    Budget(batch_size=1024, epochs=32)
    """
    if name not in PRESETS:
        raise InputError(f"the preset must be {' or '.join(PRESETS)}, not {quoted(name)}")
    return PRESETS[name]
