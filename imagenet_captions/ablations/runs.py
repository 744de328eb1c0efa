"""The parts of an experiment: runs, the rows that each trains on, which of them are compared, and the two presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from imagenet_captions.errors import InputError
from imagenet_captions.training.recipes import find_recipe

if TYPE_CHECKING:
    from imagenet_captions.ablations.inputs import Domains

ALL_TEXT = "title tags description"  # the caption of the dataset, as docs/reference/captions.md writes it
UNIFORM, LONG_TAIL, DARK = "uniform", "long-tail", "dark"
ZERO_SHOT = "zero-shot"
OWN, FROM_TEXT = "own", "text"  # a class as the data names it, or as the row's text names it
IMAGES, STEPS, SEED, MODEL = "images", "steps", "seed", "model"  # what arms can be asked to share
FEWEST_SIZES = 3  # along which arms are compared at one accuracy


@dataclass(frozen=True)
class Pick:
    """A selection of a data set's rows to train on.

    `need` is the template of a caption that every row has, "" for none. `rows` limits their number by a seeded
    sample, even over the classes, in which a smaller one lies within a larger one; `kind` takes another sample of the
    same size: few classes with many images ("long-tail"), or each class's darkest images. `labels` says
    which class a row counts as: `FROM_TEXT` keeps of these rows those whose text names exactly one. `named` keeps the
    same rows with their own labels, and `named_rows` so many of them. `domains` are those of a mixture, in which the
    domain `unseen` lacks the held-out classes. `seed` is that of the sample: each seed of an ablation draws its own,
    which all arms share.
    """

    need: str = ALL_TEXT
    rows: int | None = None
    kind: str = UNIFORM
    labels: str = OWN
    named: bool = False
    named_rows: int | None = None
    domains: tuple[str, ...] = ()
    unseen: str = ""
    seed: int = 0

    def seeded(self, seed: int) -> Pick:
        """Return the pick with another seed; where all rows are taken, there is nothing to draw."""
        return self if self.rows is None and self.named_rows is None else replace(self, seed=seed)

    @property
    def reads_texts(self) -> bool:
        """Whether the pick needs the texts of the rows."""
        return self.named or self.labels == FROM_TEXT


@dataclass(frozen=True)
class Run:
    """One row of the table: what is trained, on which rows, and how it is tested.

    `arm` is what it stands for in this table; `stem` what it is in any, without data and seed, such as "clip".
    `caption` is the template of the texts that a contrastive run sees. `init` names the run whose weights this one
    starts from; `model_of` the run whose model this one classifies with, without training of its own; `steps_of` the
    run whose number of steps it takes in place of its epochs.
    """

    name: str
    arm: str
    stem: str
    data: str
    pick: Pick
    objective: str
    recipe: str
    batch_size: int
    epochs: int
    seed: int
    caption: str = ""
    init: str | None = None
    model_of: str | None = None
    classifier: str = ZERO_SHOT
    prompts: str = ""
    steps_of: str | None = None

    def seeded(self, seed: int) -> Run:
        """Return the run of an arm with a seed, in its name and in those of the runs that it names."""
        others = {name: getattr(self, name) for name in ("init", "model_of", "steps_of")}
        named: dict[str, Any] = {name: f"{other}-s{seed}" for name, other in others.items() if other is not None}
        return replace(self, seed=seed, pick=self.pick.seeded(seed), name=f"{self.name}-s{seed}", **named)

    @property
    def trains(self) -> bool:
        """Whether the run has its own training."""
        return self.model_of is None


@dataclass(frozen=True)
class Comparison:
    """Two arms, the question that their difference answers, and what they must share for that.

    `on` names the one shift that the question is about; without it, it is about all of them.
    """

    first: str
    second: str
    question: str
    equal: tuple[str, ...]
    on: str = ""


@dataclass(frozen=True)
class Curves:
    """Two ways to train, each with the arms of its sizes, that are compared at one accuracy without shift."""

    first: str
    second: str
    question: str
    arms: tuple[tuple[str, ...], ...]

    @property
    def title(self) -> str:
        """What is compared, and along how many sizes."""
        sizes = " and ".join(str(len(arms)) for arms in self.arms)
        return f"{self.first} and {self.second}, along {sizes} sizes"


@dataclass(frozen=True)
class Table:
    """The runs and comparisons of one factor."""

    factor: str
    runs: tuple[Run, ...]
    comparisons: tuple[Comparison, ...]
    curves: tuple[Curves, ...] = ()

    def arms(self) -> dict[str, list[Run]]:
        """Return the runs of each arm, one for each seed, in the table's order."""
        found: dict[str, list[Run]] = {}
        for run in self.runs:
            found.setdefault(run.arm, []).append(run)
        return found


@dataclass(frozen=True)
class AblationPreset:
    """The batch size and epochs of each role, and how the factors are varied.

    In `micro`, arms of fewer images see each of them more often, so that all take as many steps and only the data
    differs; without it every arm keeps its recipe's epochs, as published. `shares` are the sizes; `need` is the caption
    of all images that training texts are compared on; zero-shot arms are asked with `prompts`.
    """

    micro: bool
    budgets: Mapping[str, tuple[int, int]]
    shares: tuple[float, ...]
    need: str
    prompts: str

    def part_rows(self, rows: int, share: float = 1.0) -> int:
        """Return how many rows a share is, in whole steps if all arms must have equal steps."""
        if not self.micro:
            return round(rows * share)
        step = self.budgets["contrastive"][0] * (round(1 / min(self.shares)) if share == 1 else 1)
        return max(1, int(rows * share) // step) * step

    def for_rows(self, rows: int) -> AblationPreset:
        """Return the preset for a small data set, with batches small enough for the smallest size."""
        sizes = round(1 / min(self.shares))
        most = rows // sizes
        if most < 2:
            raise InputError(f"{rows} images are too few for an ablation of sizes; give {2 * sizes} or more")
        if not self.micro or most >= self.budgets["contrastive"][0]:
            return self
        return replace(self, budgets={role: (min(size, most), epochs) for role, (size, epochs) in self.budgets.items()})


# The recipe of each role, and how its runs are tested unless an arm says otherwise.
_ROLES = {
    "contrastive": ("contrastive", ZERO_SHOT),
    "supervised": ("supervised", "head"),
    "matched": ("supervised-matched", "head"),
    "simclr": ("simclr", ""),
    "finetune": ("finetune", "head"),
}
PRESETS: Mapping[str, AblationPreset] = {
    "paper": AblationPreset(
        micro=False,
        budgets={role: (find_recipe(name).batch_size, find_recipe(name).epochs) for role, (name, _) in _ROLES.items()},
        shares=(1, 0.5, 0.25, 0.125),
        need="title",
        prompts="80",
    ),
    # Five experiments, 23 trainings of 46,000 to 64,000 images.
    "micro": AblationPreset(
        micro=True,
        budgets=dict.fromkeys(_ROLES, (50, 16)) | {"simclr": (100, 16)},
        shares=(1, 0.5, 0.25),
        need=ALL_TEXT,
        prompts="one",
    ),
}


@dataclass(frozen=True)
class TrainingSet:
    """A data set that runs train on: its name, its number of rows, whether it has classes, and its domains."""

    name: str
    rows: int
    labelled: bool
    domains: Domains | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Ask:
    """The request that a factor's table is made for; its methods make the arms, which are runs without a seed.

    `named` is the number of rows whose text names exactly one class that each distribution has, None while the texts
    are not read. `mixed` is the data whose rows are of several domains, for the factor that mixes them. `sizes` are
    numbers of rows or shares up to 1, in place of the preset's.
    """

    datasets: tuple[TrainingSet, ...]
    preset: AblationPreset
    seeds: tuple[int, ...]
    named: int | None = None
    mixed: TrainingSet | None = None
    sizes: tuple[float, ...] = ()

    def shares(self, data: TrainingSet, fewest: int) -> dict[int, float]:
        """Return the sizes that a data set has, the largest first, each with its share of a full arm's rows."""
        full = self.preset.part_rows(data.rows)
        rows = {round(full * size) if size <= 1 else int(size) for size in self.sizes or self.preset.shares}
        kept = sorted((each for each in rows if 0 < each <= full), reverse=True)
        if len(kept) < fewest:
            raise InputError(f"{data.name} has {full:,} images, and `sizes` needs {fewest} sizes of it or more")
        return {each: each / full for each in kept}

    def arm(
        self,
        arm: str,
        data: TrainingSet,
        pick: Pick,
        role: str = "contrastive",
        *,
        share: float = 1.0,
        stem: str = "",
        **more: Any,
    ) -> Run:
        """Return an arm in a role of the preset; `share` is that of a full arm's rows, for as many steps as that.

        The folder of its run is named after `stem`, if it is not the arm, for the same training in every table. `more`
        are values of the run in place of the role's.
        """
        batch_size, epochs = self.preset.budgets[role]
        if self.preset.micro:
            epochs = round(epochs / share)
        need = "" if pick.need in ("", ALL_TEXT) else f"-with-{pick.need}"
        recipe, classifier = _ROLES[role]
        recipe = f"micro-{recipe}" if self.preset.micro else recipe
        values = {"classifier": classifier, "caption": ALL_TEXT if role == "contrastive" else "", **more}
        if values["classifier"] == ZERO_SHOT:
            values.setdefault("prompts", self.preset.prompts)
        return Run(
            name=f"{data.name}-{stem or arm}{need}",
            arm=arm,
            stem=stem or arm,
            data=data.name,
            pick=pick,
            objective=find_recipe(recipe).objective,
            recipe=recipe,
            batch_size=min(batch_size, pick.named_rows or batch_size),
            epochs=epochs,
            seed=-1,
            **values,
        )
