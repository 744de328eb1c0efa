"""The table of the factor `domain`: natural images alone, and three mixtures for each test domain."""

from __future__ import annotations

from imagenet_captions.ablations.arms import Arm, Ask, clip
from imagenet_captions.ablations.domain.mixtures import Domains
from imagenet_captions.ablations.table import SEED, STEPS, Comparison, Pick
from imagenet_captions.errors import InputError

_ONLY = "natural-only"
_AFTER = {
    ("leave-out", _ONLY): "Do other domains help on {}, which neither arm has seen?",
    ("low-diversity", _ONLY): "Does seeing {} with other classes help on its held-out classes?",
    ("high-diversity", "low-diversity"): "Do more domains help on the held-out classes of {}?",
    ("high-diversity", "leave-out"): "Among many domains: does seeing {} with other classes help on its held-out ones?",
}


def mixtures(domains: Domains) -> dict[str, Pick]:
    """Return the mixture of each arm: its domains, and the one in which held-out classes are unseen."""
    natural, others = domains.natural, domains.others
    found = {_ONLY: Pick(domains=(natural,))}
    for test in others:
        rest = tuple(name for name in others if name != test)
        found[f"leave-out-{test}"] = Pick(domains=(natural, *rest))
        found[f"low-diversity-{test}"] = Pick(domains=(natural, test), unseen=test)
        found[f"high-diversity-{test}"] = Pick(domains=(natural, *others), unseen=test)
    return found


def domain_arms(ask: Ask) -> tuple[list[Arm], list[Comparison]]:
    """Return CLIP on each mixture, with equal images and steps; each comparison is about one test domain."""
    data = ask.mixed
    if data is None or data.domains is None:
        raise InputError("ablate domain needs a labelled data set with a column `domain`; its rows are counted")
    found = mixtures(data.domains)
    fewest = min(len(data.domains.pool(pick.domains, pick.unseen)) for pick in found.values())
    rows = ask.preset.part_rows(data.rows, fewest / data.rows)
    share = rows / ask.preset.full_rows(data.rows)
    arms = [
        clip(f"clip-{arm}", data, Pick(rows=rows, domains=pick.domains, unseen=pick.unseen), share=share)
        for arm, pick in found.items()
    ]
    before = "micro-" if ask.preset.name == "micro" else ""
    comparisons = [
        Comparison(_arm(first, test), _arm(second, test), question.format(test), (SEED, STEPS), f"{before}{test}")
        for test in data.domains.others
        for (first, second), question in _AFTER.items()
    ]
    return arms, comparisons


def _arm(kind: str, test: str) -> str:
    return f"clip-{kind}" if kind == _ONLY else f"clip-{kind}-{test}"
