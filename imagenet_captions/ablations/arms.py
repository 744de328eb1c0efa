"""Arms: the runs of a factor's table before they have a seed, and the runs made from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from imagenet_captions.ablations.domain.mixtures import Domains
from imagenet_captions.ablations.presets import AblationPreset
from imagenet_captions.ablations.table import ALL_TEXT, ZERO_SHOT, Pick, Run
from imagenet_captions.images.examples import Examples
from imagenet_captions.training.recipes import find_recipe


@dataclass(frozen=True)
class TrainingSet:
    """A data set that runs train on: its name, its number of rows, whether it has classes, and its domains."""

    name: str
    rows: int
    labelled: bool
    domains: Domains | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, name: str, examples: Examples) -> TrainingSet:
        """Return the data set that these examples are."""
        return cls(name, len(examples), examples.classes is not None)


@dataclass(frozen=True)
class Ask:
    """The request that a factor's table is made for.

    `named` is the number of rows whose text names exactly one class that each distribution has, None while the texts
    are not read. `mixed` is the data whose rows are of several domains, for the factor that mixes them.
    """

    datasets: tuple[TrainingSet, ...]
    preset: AblationPreset
    seeds: tuple[int, ...]
    named: int | None = None
    mixed: TrainingSet | None = None

    @property
    def first(self) -> TrainingSet:
        """The data that most factors are studied on."""
        return self.datasets[0]

    @property
    def largest(self) -> TrainingSet:
        """The data with the most rows, which the size factor is studied on."""
        return max(self.datasets, key=lambda data: data.rows)


@dataclass(frozen=True)
class Arm:
    """A run before it has a seed; `init`, `model_of` and `steps_of` name other arms."""

    arm: str
    data: TrainingSet
    pick: Pick
    role: str  # one of the preset's recipes
    caption: str = ""
    init: str | None = None
    model_of: str | None = None
    classifier: str = ZERO_SHOT
    prompts: str = ""  # of a zero-shot arm, where they are not the preset's
    like: str | None = None  # the role whose batches and epochs it has, where steps have to be equal
    share: float = 1.0  # of the rows that a full arm has, for as many steps as that
    stem: str = ""  # what the run is called where that is not the arm
    steps_of: str | None = None  # the arm whose number of steps it takes, whatever its own rows and epochs give


def clip(arm: str, data: TrainingSet, pick: Pick, caption: str = ALL_TEXT, share: float = 1.0) -> Arm:
    """Return an arm that trains CLIP on captions."""
    return Arm(arm, data, pick, "contrastive", caption=caption, share=share)


def supervised(arm: str, data: TrainingSet, pick: Pick, preset: AblationPreset, share: float = 1.0) -> Arm:
    """Return an arm that trains with cross-entropy on labels, by its own recipe; it may take CLIP's steps."""
    like = "contrastive" if preset.equal_steps else None
    return Arm(arm, data, pick, "supervised", classifier="head", like=like, share=share)


def matched(arm: str, data: TrainingSet, pick: Pick, share: float = 1.0, steps_of: str | None = None) -> Arm:
    """Return an arm that trains with cross-entropy on labels by CLIP's own recipe: crops, optimizer, schedule and
    steps.
    """
    return Arm(arm, data, pick, "matched", classifier="head", share=share, steps_of=steps_of)


def reading(of: str, arm: str, data: TrainingSet, pick: Pick, classifier: str = ZERO_SHOT, prompts: str = "") -> Arm:
    """Return an arm that tests a trained arm's model with another classifier."""
    return Arm(f"{of}.{arm}", data, pick, "contrastive", model_of=of, classifier=classifier, prompts=prompts)


def runs_of(arms: Sequence[Arm], ask: Ask) -> tuple[Run, ...]:
    """Return the runs of the arms, one for each seed."""
    names = {arm.arm: _name(arm) for arm in arms}
    return tuple(_make_run(arm, names, ask.preset, seed) for arm in arms for seed in ask.seeds)


def _make_run(arm: Arm, names: dict[str, str], preset: AblationPreset, seed: int) -> Run:
    def run_of(other: str | None) -> str | None:
        return f"{names[other]}-s{seed}" if other else None

    budget = preset.budget(arm.role, arm.like, arm.share)
    few = arm.pick.named_rows
    if few is not None:
        budget = replace(budget, batch_size=min(budget.batch_size, few))
    return Run(
        name=f"{names[arm.arm]}-s{seed}",
        arm=arm.arm,
        stem=arm.stem or arm.arm,
        data=arm.data.name,
        pick=arm.pick,
        objective=find_recipe(preset.recipes[arm.role]).objective,
        recipe=preset.recipes[arm.role],
        batch_size=budget.batch_size,
        epochs=budget.epochs,
        seed=seed,
        caption=arm.caption,
        init=run_of(arm.init),
        model_of=run_of(arm.model_of),
        classifier=arm.classifier,
        prompts=arm.prompts or (preset.prompts if arm.classifier == ZERO_SHOT else ""),
        steps_of=run_of(arm.steps_of),
    )


def _name(arm: Arm) -> str:
    """Return the name of the run's folder without the seed; the same training has it in every factor's table."""
    need = "" if arm.pick.need in ("", ALL_TEXT) else f"-with-{arm.pick.need}"
    return f"{arm.data.name}-{arm.stem or arm.arm}{need}"
