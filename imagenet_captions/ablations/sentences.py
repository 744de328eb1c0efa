"""The comparisons of a factor in sentences: each quantity with its interval, never stronger than the numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from imagenet_captions.ablations.compare import Floats, difference, mean_score, sentence
from imagenet_captions.ablations.differences import in_words
from imagenet_captions.ablations.markdown import escape
from imagenet_captions.ablations.results import FactorResult, RunResult
from imagenet_captions.ablations.table import Comparison


def comparison_lines(factor: FactorResult, clean: str, shifts: Sequence[str], same_images: bool) -> list[str]:
    """A question, and a sentence for each quantity, for every comparison whose arms were tested.

    Where the shifts are the clean set's own images, what an arm loses under them is compared image by image too.
    """
    tested = factor.tested_arms()
    lines: list[str] = []
    for comparison, shared, apart in zip(factor.table.comparisons, factor.shared, factor.apart, strict=True):
        lines += ["", f"**{comparison.question}** ({shared}.)", "", escape(in_words(apart), longest=4000), ""]
        if comparison.first in tested and comparison.second in tested:
            lines += [f"- {line}" for line in _sentences(comparison, factor, clean, shifts, same_images)]
        else:
            lines.append("- Not compared: one of the arms failed.")
    return lines


def _sentences(
    comparison: Comparison, factor: FactorResult, clean: str, shifts: Sequence[str], same_images: bool
) -> Iterable[str]:
    arms = factor.arm(comparison.first), factor.arm(comparison.second)
    quantities: list[tuple[str, tuple[str, ...]]] = [(f"accuracy on {name}", (name,)) for name in (clean, *shifts)]
    if same_images and shifts:
        quantities = [quantities[0], ("mean accuracy under the shifts", tuple(shifts))]
    for words, sets in quantities:
        scores = [[mean_score(result.answers, sets) for result in arm] for arm in arms]
        yield sentence(comparison.first, comparison.second, words, difference(*scores))
    if same_images and shifts:
        kept = [[_change(result, clean, shifts) for result in arm] for arm in arms]
        words = "what the shifts change (mean accuracy under them less that on the same images without)"
        yield sentence(comparison.first, comparison.second, words, difference(*kept))


def _change(result: RunResult, clean: str, shifts: Sequence[str]) -> Floats:
    return mean_score(result.answers, shifts) - mean_score(result.answers, (clean,))
