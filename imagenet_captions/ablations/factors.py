"""The paper's five factors, each as a table of runs in which it varies and the rest stands still.

What the paper did is told in docs/ablate-*.md; where a table differs from it, the page says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from imagenet_captions.ablations.presets import Preset
from imagenet_captions.ablations.table import (
    ALL_TEXT,
    DARK,
    FROM_TEXT,
    IMAGES,
    LONG_TAIL,
    MODEL,
    SEED,
    STEPS,
    UNIFORM,
    ZERO_SHOT,
    Comparison,
    Pick,
    Run,
    Table,
)
from imagenet_captions.errors import InputError
from imagenet_captions.training.recipes import find_recipe

TEMPLATES = "class_name template=open_clip-80"
_PROMPTS = {
    "none": ("no-prompt", "names without a sentence"),
    "one": ("one-prompt", "names in one sentence"),
    "80": ("80-prompts", "names in 80 sentences"),
}
_LABELLED_QUESTIONS = {
    "linear-probe": "Does language at test time beat a linear probe on the same encoder?",
    "prototypes": "Does language at test time beat the classes' mean images?",
    "k-shot": "Does language at test time beat a few labelled images a class?",
}


@dataclass(frozen=True)
class Source:
    """What a table has to know of a data set: its name, its rows, and whether they have classes."""

    name: str
    rows: int
    labelled: bool


@dataclass(frozen=True)
class Ask:
    """What a table is made for."""

    sources: tuple[Source, ...]
    preset: Preset
    seeds: tuple[int, ...]

    @property
    def first(self) -> Source:
        """The data that all factors but the distribution vary on."""
        return self.sources[0]


def make_table(factor: str, ask: Ask) -> Table:
    """The runs and comparisons of a factor."""
    make, most, what = _FACTORS[factor]
    if not ask.sources:
        raise InputError(f"ablate {factor} needs data; give {what}")
    if len(ask.sources) > most:
        raise InputError(f"ablate {factor} takes {what}, and {len(ask.sources)} data sets were given")
    arms, comparisons = make(ask)
    return Table(factor, _by_seed(arms, ask), tuple(comparisons))


@dataclass(frozen=True)
class _Arm:
    """A run before it has a seed; `init` and `model_of` name arms."""

    arm: str
    source: Source
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


def _size(ask: Ask) -> tuple[list[_Arm], list[Comparison]]:
    source, shares = ask.first, ask.preset.shares
    full = ask.preset.full_rows(source.rows)
    arms: list[_Arm] = []
    for share in sorted(shares, reverse=True):
        rows = full if share == 1 else round(full * share)
        end = "" if share == 1 else f"-{rows}"
        pick = Pick(rows=rows)
        arms.append(_clip(f"clip{end}", source, pick, share=share))
        if source.labelled:
            arms.append(_supervised(f"supervised{end}", source, pick, ask, share=share))
    equal = (SEED, STEPS) if ask.preset.equal_steps else (SEED,)
    kinds = ("clip", "supervised") if source.labelled else ("clip",)
    smaller = [round(full * share) for share in sorted(shares, reverse=True) if share != 1]
    comparisons = [
        Comparison(kind, f"{kind}-{rows}", f"Do more images than {rows:,} of the same kind help?", equal)
        for kind in kinds
        for rows in smaller
    ]
    return arms, comparisons


def _distribution(ask: Ask) -> tuple[list[_Arm], list[Comparison]]:
    if len(ask.sources) > 1:
        rows = ask.preset.part_rows(min(source.rows for source in ask.sources), 1.0)
        arms = [_of_source(source, rows, ask) for source in ask.sources]
        question = "Does it matter to train on the same number of images of another source?"
    elif ask.preset.redistributes:
        rows = ask.preset.part_rows(ask.first.rows, ask.preset.part)
        share = rows / ask.preset.full_rows(ask.first.rows)
        arms = [
            _clip(f"clip-{kind}-{rows}", ask.first, Pick(rows=rows, kind=kind), share=share)
            for kind in (UNIFORM, LONG_TAIL, DARK)
        ]
        question = "Does it matter to train on as many images of the same pool, chosen otherwise?"
    else:
        raise InputError("ablate distribution compares sources; give two data sets or more, such as YFCC's beside ours")
    return arms, [Comparison(arms[0].arm, arm.arm, question, (SEED, STEPS)) for arm in arms[1:]]


def _of_source(source: Source, rows: int, ask: Ask) -> _Arm:
    full = ask.preset.full_rows(source.rows)
    arm = _clip(f"clip-{source.name}", source, Pick(rows=rows), share=rows / full)
    return replace(arm, stem="clip" if rows == full else f"clip-{rows}")


def _train_language(ask: Ask) -> tuple[list[_Arm], list[Comparison]]:
    source = ask.first
    if not source.labelled:
        raise InputError(
            f"ablate train-language trains on labels too, and {source.name} has none; "
            f"label its rows first (imagenet-captions label-by-text)"
        )
    pick = Pick(need=ask.preset.field_need, rows=ask.preset.full_rows(source.rows))
    labels, on_labels = _against_labels(source, pick, ask)
    arms = [
        _clip("clip", source, pick),
        _clip("clip-title", source, pick, caption="title"),
        _clip("clip-title-tags", source, pick, caption="title tags"),
        _clip("clip-templates", source, pick, caption=TEMPLATES),
        *labels,
    ]
    shared = (IMAGES, STEPS, SEED)
    comparisons = [
        *on_labels,
        Comparison("clip", "clip-templates", "Do captions say more than the class's name in a sentence?", shared),
        Comparison("clip", "clip-title", "Do tags and descriptions add to titles?", shared),
        Comparison("clip", "clip-title-tags", "Do descriptions add to titles and tags?", shared),
    ]
    return arms, comparisons


def _against_labels(source: Source, pick: Pick, ask: Ask) -> tuple[list[_Arm], list[Comparison]]:
    """Cross-entropy on the images that CLIP sees: as its own recipe has it, and in as many steps as CLIP takes."""
    question = "Do captions and CLIP's loss do better than labels and cross-entropy, on the same images?"
    arms = [_supervised("supervised", source, pick, ask)]
    if ask.preset.equal_steps:
        return arms, [Comparison("clip", "supervised", question, (IMAGES, STEPS, SEED))]
    arms.append(replace(arms[0], arm="supervised-equal", like="contrastive"))
    return arms, [
        Comparison("clip", "supervised-equal", question, (IMAGES, STEPS, SEED)),
        Comparison("clip", "supervised", f"{question[:-1]}, each by its published recipe?", (IMAGES, SEED)),
    ]


def _test_language(ask: Ask) -> tuple[list[_Arm], list[Comparison]]:
    source, labelled = ask.first, ask.sources[-1]
    if not labelled.labelled:
        raise InputError(
            "ablate test-language fits classifiers without language too, and the data has no labels; "
            "give a labelled data set as the second one"
        )
    pick = Pick(rows=ask.preset.full_rows(source.rows))
    fitted = pick if labelled is source else Pick(need="", rows=ask.preset.full_rows(labelled.rows))
    own = ask.preset.prompts
    prompts = [each for each in _PROMPTS if each != own]
    arms = [
        _clip("clip", source, pick),
        *(_reading("clip", _PROMPTS[each][0], source, pick, prompts=each) for each in prompts),
        *(_reading("clip", each, labelled, fitted, classifier=each) for each in _LABELLED_QUESTIONS),
    ]
    asked = _PROMPTS[own][1] if own in _PROMPTS else "these sentences"
    questions = {_PROMPTS[each][0]: f"Do {asked} do better than {_PROMPTS[each][1]}?" for each in prompts}
    questions |= _LABELLED_QUESTIONS
    return arms, [Comparison("clip", f"clip.{arm}", question, (MODEL,)) for arm, question in questions.items()]


def _loss(ask: Ask) -> tuple[list[_Arm], list[Comparison]]:
    source = ask.first
    pick = Pick(rows=ask.preset.full_rows(source.rows))
    matched = Pick(rows=pick.rows, labels=FROM_TEXT)
    labels, on_labels = _against_labels(source, pick, ask) if source.labelled else ([], [])
    arms = [
        _clip("clip", source, pick),
        *labels,
        _Arm("simclr", source, pick, "simclr", classifier=""),
        _Arm("noclip", source, matched, "finetune", init="simclr", classifier="head"),
        _Arm("text-matched", source, matched, "finetune", classifier="head"),
    ]
    comparisons = [
        *on_labels,
        Comparison("clip", "noclip", "Does CLIP's loss beat SimCLR and labels read off the same captions?", (SEED,)),
        Comparison("noclip", "text-matched", "Does SimCLR's first stage help?", (IMAGES, STEPS, SEED)),
    ]
    return arms, comparisons


def _clip(arm: str, source: Source, pick: Pick, caption: str = ALL_TEXT, share: float = 1.0) -> _Arm:
    return _Arm(arm, source, pick, "contrastive", caption=caption, share=share)


def _reading(of: str, arm: str, source: Source, pick: Pick, classifier: str = ZERO_SHOT, prompts: str = "") -> _Arm:
    """Another classifier of a trained arm's model."""
    return _Arm(f"{of}.{arm}", source, pick, "contrastive", model_of=of, classifier=classifier, prompts=prompts)


def _supervised(arm: str, source: Source, pick: Pick, ask: Ask, share: float = 1.0) -> _Arm:
    like = "contrastive" if ask.preset.equal_steps else None
    return _Arm(arm, source, pick, "supervised", classifier="head", like=like, share=share)


def _by_seed(arms: Sequence[_Arm], ask: Ask) -> tuple[Run, ...]:
    names = {arm.arm: _name(arm) for arm in arms}
    return tuple(_make_run(arm, names, ask.preset, seed) for arm in arms for seed in ask.seeds)


def _make_run(arm: _Arm, names: Mapping[str, str], preset: Preset, seed: int) -> Run:
    budget = preset.budget(arm.role, arm.like, arm.share)
    return Run(
        name=f"{names[arm.arm]}-s{seed}",
        arm=arm.arm,
        stem=arm.stem or arm.arm,
        data=arm.source.name,
        pick=arm.pick,
        objective=find_recipe(preset.recipes[arm.role]).objective,
        recipe=preset.recipes[arm.role],
        batch_size=budget.batch_size,
        epochs=budget.epochs,
        seed=seed,
        caption=arm.caption,
        init=f"{names[arm.init]}-s{seed}" if arm.init else None,
        model_of=f"{names[arm.model_of]}-s{seed}" if arm.model_of else None,
        classifier=arm.classifier,
        prompts=arm.prompts or (preset.prompts if arm.classifier == ZERO_SHOT else ""),
    )


def _name(arm: _Arm) -> str:
    """What the run's folder is called, without the seed: the same for the same training in another factor's table."""
    need = "" if arm.pick.need in ("", ALL_TEXT) else f"-with-{arm.pick.need}"
    return f"{arm.source.name}-{arm.stem or arm.arm}{need}"


_Make = Callable[[Ask], tuple[list[_Arm], list[Comparison]]]
_FACTORS: Mapping[str, tuple[_Make, int, str]] = {
    "size": (_size, 1, "one data set"),
    "distribution": (_distribution, 20, "the data sets to compare"),
    "train-language": (_train_language, 1, "one labelled data set with captions"),
    "test-language": (_test_language, 2, "a data set with captions, and a labelled one if it has no labels itself"),
    "loss": (_loss, 1, "one data set with captions"),
}
FACTORS = tuple(_FACTORS)
