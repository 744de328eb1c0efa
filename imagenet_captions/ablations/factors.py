"""The paper's five factors and `domain`, as tables of runs that differ in one; see docs/design/experiments.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from imagenet_captions.ablations.runs import (
    DARK,
    FEWEST_SIZES,
    FROM_TEXT,
    IMAGES,
    LONG_TAIL,
    MODEL,
    SEED,
    STEPS,
    UNIFORM,
    Ask,
    Comparison,
    Curves,
    Pick,
    Run,
    Table,
    TrainingSet,
)
from imagenet_captions.ablations.settings import DOMAIN
from imagenet_captions.errors import InputError

TEMPLATES = "class_name template=open_clip-80"
_STEP_MATCHED = 0.5  # the share that is also trained for the steps of all, where arms keep their recipe's epochs
_PART = 0.4  # of the rows for each distribution, where one data set is redistributed
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


def make_table(factor: str, ask: Ask) -> Table:
    """Return the runs and comparisons of a factor."""
    make, most, what = _FACTORS[factor]
    if len(ask.datasets) > most:
        raise InputError(f"ablate {factor} takes {what}, and {len(ask.datasets)} data sets were given")
    arms, comparisons = make(ask)
    curves = _curves(ask) if factor == "distribution" and ask.sizes else ()
    runs = tuple(arm.seeded(seed) for arm in arms for seed in ask.seeds)
    return Table(factor, runs, tuple(comparisons), tuple(curves))


def make_tables(factors: Sequence[str], ask: Ask) -> tuple[Table, ...]:
    """Return the tables of the factors; of several, only the size and the distribution are about all data sets."""
    first = replace(ask, datasets=ask.datasets[:1])
    whole = [each for each in factors if each in ("size", "distribution") or len(factors) == 1]
    return tuple(make_table(each, ask if each in whole else first) for each in factors)


def _size(ask: Ask) -> tuple[list[Run], list[Comparison]]:
    data, preset = max(ask.datasets, key=lambda data: data.rows), ask.preset
    shares = ask.shares(data, 2)
    ends = {rows: "" if share == 1 else f"-{rows}" for rows, share in shares.items()}
    arms: list[Run] = []
    for rows, share in shares.items():
        arms.append(ask.arm(f"clip{ends[rows]}", data, Pick(rows=rows), share=share))
        if data.labelled:
            arms.append(ask.arm(f"supervised{ends[rows]}", data, Pick(rows=rows), "supervised", share=share))
    equal = (SEED, STEPS) if preset.micro and not ask.sizes else (SEED,)
    most, *smaller = shares
    comparisons = [
        Comparison(
            f"{kind}{ends[most]}", f"{kind}{ends[rows]}", f"Do more images than {rows:,} of the same kind help?", equal
        )
        for kind in (("clip", "supervised") if data.labelled else ("clip",))
        for rows in smaller
    ]
    half = round(data.rows * _STEP_MATCHED)
    if preset.micro or half not in smaller:
        return arms, comparisons
    arms.append(ask.arm(f"clip-{half}-all-steps", data, Pick(rows=half), steps_of=arms[0].name))
    question = f"Do more images than {half:,} help, in as many steps?"
    return arms, [*comparisons, Comparison(arms[0].arm, arms[-1].arm, question, (SEED, STEPS))]


_HOW = {"clip": "to CLIP on captions", "labels": "to cross-entropy on labels"}
_HOW["text-labels"] = "to cross-entropy on labels read off texts"


def _distribution(ask: Ask) -> tuple[list[Run], list[Comparison]]:
    """Return arms on captions, labels and text labels for every distribution, with equal images and steps.

    With sizes there are arms for each size of every data set, and only those on the same images are compared here.
    """
    cells = _distributions(ask)
    few = "-all" if ask.sizes else f"-{ask.named}" if ask.named else ""
    arms: list[Run] = []
    for name, (data, pick, share) in cells.items():
        end = f"-{name}" if len(ask.datasets) == 1 else "" if share == 1 else f"-{pick.rows}"
        clip = ask.arm(f"clip-{name}", data, pick, share=share, stem=f"clip{end}")
        arms.append(clip)
        if data.labelled:
            stem = f"supervised-matched{end}"
            arms.append(ask.arm(f"labels-{name}", data, pick, "matched", share=share, stem=stem))
        named = replace(pick, labels=FROM_TEXT, named_rows=ask.named)
        how: dict[str, Any] = {"share": share, "steps_of": clip.name, "stem": f"text-labels{end}{few}"}
        arms.append(ask.arm(f"text-labels-{name}", data, named, "matched", **how))
    first, *others = cells
    comparisons = [
        Comparison(
            f"{kind}-{first}",
            f"{kind}-{other}",
            f"Does it matter where the images come from, {how}?",
            (SEED, STEPS),
        )
        for kind, how in _HOW.items()
        for other in others
        if not ask.sizes and {f"{kind}-{first}", f"{kind}-{other}"} <= {arm.arm for arm in arms}
    ]
    largest = {data.name: name for name, (data, _, _) in reversed(cells.items())}
    for name, (data, _, _) in cells.items():
        if ask.sizes and name != largest[data.name]:
            continue
        if data.labelled:
            question = f"On {name}: do captions do better than labels, on the same images?"
            comparisons.append(Comparison(f"clip-{name}", f"labels-{name}", question, (IMAGES, STEPS, SEED)))
        question = f"On {name}: do captions do better than labels read off them, in as many steps?"
        comparisons.append(Comparison(f"clip-{name}", f"text-labels-{name}", question, (STEPS, SEED)))
    return arms, comparisons


def _curves(ask: Ask) -> list[Curves]:
    first, *others = ask.datasets
    return [
        Curves(
            f"{kind}-{first.name}",
            f"{kind}-{other.name}",
            f"Does it matter where the images come from, {how}, at the same accuracy?",
            tuple(
                tuple(f"{kind}-{data.name}-{rows}" for rows in ask.shares(data, FEWEST_SIZES))
                for data in (first, other)
            ),
        )
        for kind, how in _HOW.items()
        for other in others
        if kind != "labels" or (first.labelled and other.labelled)
    ]


def _distributions(ask: Ask) -> dict[str, tuple[TrainingSet, Pick, float]]:
    """Return the distributions by name: all sizes of data sets, data sets of equal size, or one pool redistributed."""
    if len(ask.datasets) > 1 and ask.sizes:
        return {
            f"{data.name}-{rows}": (data, Pick(rows=rows), share)
            for data in ask.datasets
            for rows, share in ask.shares(data, FEWEST_SIZES).items()
        }
    if len(ask.datasets) > 1:
        rows = ask.preset.part_rows(min(data.rows for data in ask.datasets))
        return {data.name: (data, Pick(rows=rows), rows / ask.preset.part_rows(data.rows)) for data in ask.datasets}
    if not ask.preset.micro or ask.sizes:
        raise InputError(
            "ablate distribution compares data sets; give two data sets or more, such as YFCC's beside ours"
        )
    rows = ask.preset.part_rows(ask.datasets[0].rows, _PART)
    share = rows / ask.preset.part_rows(ask.datasets[0].rows)
    return {
        f"{kind}-{rows}": (ask.datasets[0], Pick(rows=rows, kind=kind), share) for kind in (UNIFORM, LONG_TAIL, DARK)
    }


def named_picks(ask: Ask) -> list[tuple[str, Pick]]:
    """Return the distributions' rows whose texts name one class; the smallest such set gives `Ask.named`."""
    picks = [(data.name, replace(pick, labels=FROM_TEXT)) for data, pick, _ in _distributions(ask).values()]
    return [(name, pick.seeded(seed)) for name, pick in picks for seed in ask.seeds]


def _train_language(ask: Ask) -> tuple[list[Run], list[Comparison]]:
    data = ask.datasets[0]
    if not data.labelled:
        raise InputError(
            f"ablate train-language trains on labels too, and {data.name} has none; "
            f"label its rows first (imagenet-captions label-by-text)"
        )
    pick = Pick(need=ask.preset.need, rows=ask.preset.part_rows(data.rows))
    labels, on_labels = _against_labels(data, pick, ask)
    texts = {
        "clip-title": ("title", "Do tags and descriptions add to titles?"),
        "clip-title-tags": ("title tags", "Do descriptions add to titles and tags?"),
        "clip-templates": (TEMPLATES, "Do captions say more than the class's name in a sentence?"),
    }
    arms = [ask.arm("clip", data, pick)]
    arms += [ask.arm(arm, data, pick, caption=caption) for arm, (caption, _) in texts.items()]
    shared = (IMAGES, STEPS, SEED)
    order = ("clip-templates", "clip-title", "clip-title-tags")
    others = [Comparison("clip", arm, texts[arm][1], shared) for arm in order]
    return [*arms, *labels], [*on_labels, *others]


def _against_labels(data: TrainingSet, pick: Pick, ask: Ask) -> tuple[list[Run], list[Comparison]]:
    """Return arms with cross-entropy on CLIP's images, by CLIP's recipe (only the loss differs) and by its own."""
    question = "Do captions and CLIP's loss do better than labels and cross-entropy, on the same images"
    own = (IMAGES, STEPS, SEED) if ask.preset.micro else (IMAGES, SEED)
    roles = {"supervised": "supervised", "supervised-matched": "matched"}
    return [ask.arm(arm, data, pick, role) for arm, role in roles.items()], [
        Comparison("clip", "supervised-matched", f"{question}, with one recipe?", (IMAGES, STEPS, SEED)),
        Comparison("clip", "supervised", f"{question}, each by its own recipe?", own),
    ]


def _test_language(ask: Ask) -> tuple[list[Run], list[Comparison]]:
    data, labelled = ask.datasets[0], ask.datasets[-1]
    if not labelled.labelled:
        raise InputError(
            "ablate test-language fits classifiers without language too, and the data has no labels; "
            "give a labelled data set as the second one"
        )
    pick = Pick(rows=ask.preset.part_rows(data.rows))
    fitted = pick if labelled is data else Pick(need="", rows=ask.preset.part_rows(labelled.rows))
    own = ask.preset.prompts
    asked = _PROMPTS[own][1] if own in _PROMPTS else "these sentences"
    arms = [ask.arm("clip", data, pick)]
    comparisons = []

    def read(arm: str, question: str, of: TrainingSet, rows: Pick, **how: Any) -> None:
        """Add an arm that tests CLIP's model with another classifier."""
        arms.append(ask.arm(f"clip.{arm}", of, rows, caption="", model_of=arms[0].name, **how))
        comparisons.append(Comparison("clip", f"clip.{arm}", question, (MODEL,)))

    for prompts, (arm, what) in _PROMPTS.items():
        if prompts != own:
            read(arm, f"Do {asked} do better than {what}?", data, pick, prompts=prompts)
    for classifier, question in _LABELLED_QUESTIONS.items():
        read(classifier, question, labelled, fitted, classifier=classifier)
    return arms, comparisons


def _loss(ask: Ask) -> tuple[list[Run], list[Comparison]]:
    data = ask.datasets[0]
    pick = Pick(rows=ask.preset.part_rows(data.rows))
    from_text = replace(pick, labels=FROM_TEXT)
    labels, comparisons = _against_labels(data, pick, ask) if data.labelled else ([], [])
    clip, simclr = ask.arm("clip", data, pick), ask.arm("simclr", data, pick, "simclr")
    arms = [
        clip,
        *labels,
        simclr,
        ask.arm("noclip", data, from_text, "finetune", init=simclr.name),
        ask.arm("clip-named", data, replace(pick, named=True), steps_of=clip.name),
        # `text-matched` was fine-tuning from scratch in older folders
        ask.arm("text-matched", data, from_text, "matched", steps_of=clip.name, stem="text-matched-scratch"),
    ]
    question = "Does CLIP's loss beat SimCLR and labels read off the same captions?"
    comparisons.append(Comparison("clip", "noclip", question, (SEED,)))
    question = "Do captions and CLIP's loss beat labels read off these captions, on the same images, with one recipe?"
    comparisons.append(Comparison("clip-named", "text-matched", question, (IMAGES, STEPS, SEED)))
    question = "Do SimCLR's first stage and fine-tuning beat training from scratch on the same labels?"
    comparisons.append(Comparison("noclip", "text-matched", question, (IMAGES, SEED)))
    return arms, comparisons


def _domain(ask: Ask) -> tuple[list[Run], list[Comparison]]:
    """Return CLIP on each mixture, with equal images and steps; each comparison is about one test domain."""
    data = ask.mixed
    if data is None or data.domains is None:
        raise InputError("ablate domain needs a labelled data set with a column `domain`; its rows are counted")
    natural, others = data.domains.natural, data.domains.others
    only = "clip-natural-only"
    mixtures = {only: Pick(domains=(natural,))}
    comparisons = []
    for test in others:
        out, low, high = (f"clip-{kind}-{test}" for kind in ("leave-out", "low-diversity", "high-diversity"))
        mixtures[out] = Pick(domains=(natural, *(name for name in others if name != test)))
        mixtures[low] = Pick(domains=(natural, test), unseen=test)
        mixtures[high] = Pick(domains=(natural, *others), unseen=test)
        for first, second, question in (
            (out, only, f"Do other domains help on {test}, which neither arm has seen?"),
            (low, only, f"Does seeing {test} with other classes help on its held-out classes?"),
            (high, low, f"Do more domains help on the held-out classes of {test}?"),
            (high, out, f"Among many domains: does seeing {test} with other classes help on its held-out ones?"),
        ):
            on = f"micro-{test}" if ask.preset.micro else test
            comparisons.append(Comparison(first, second, question, (SEED, STEPS), on))
    fewest = min(len(data.domains.pool(pick.domains, pick.unseen)) for pick in mixtures.values())
    rows = ask.preset.part_rows(data.rows, fewest / data.rows)
    share = rows / ask.preset.part_rows(data.rows)
    arms = [ask.arm(arm, data, replace(pick, rows=rows), share=share) for arm, pick in mixtures.items()]
    return arms, comparisons


_Make = Callable[[Ask], tuple[list[Run], list[Comparison]]]
_FACTORS: Mapping[str, tuple[_Make, int, str]] = {
    "size": (_size, 20, "one data set or more, of which the largest is used"),
    "distribution": (_distribution, 20, "the data sets to compare"),
    "train-language": (_train_language, 1, "one labelled data set with captions"),
    "test-language": (_test_language, 2, "a data set with captions, and a labelled one if it has no labels itself"),
    "loss": (_loss, 1, "one data set with captions"),
    DOMAIN: (_domain, 1, "one labelled data set with captions and a column `domain`"),
}
