"""The small image tower, and CLIP's byte pairs cut to a small vocabulary."""

from __future__ import annotations

import pytest
import torch

from imagenet_captions.models.build import MicroNet, build_model
from imagenet_captions.models.config import TokenizerConfig
from imagenet_captions.models.tokenizing import build_tokenizer

MERGES = 3582
START, END = 4094, 4095


def tokens_of(text: str, merges: int | None = MERGES) -> list[int]:
    options = {} if merges is None else {"merges": merges}
    tokens = build_tokenizer(TokenizerConfig(context_length=77, options=options))([text])[0]
    return [number for number in tokens.tolist() if number]


@pytest.mark.parametrize("text", ["a photo of a cat", "Zwölf 猫 🐟 & co", "supercalifragilistic", ""])
def test_any_text_is_written_between_start_and_end(text: str) -> None:
    tokens = tokens_of(text)
    assert tokens[0] == START
    assert tokens[-1] == END
    assert all(number < START for number in tokens[1:-1])
    assert (len(tokens) == 2) == (text == "")


def test_common_words_have_the_tokens_of_the_whole_vocabulary_and_rare_ones_more() -> None:
    assert tokens_of("a photo of a cat")[1:-1] == tokens_of("a photo of a cat", None)[1:-1]
    assert len(tokens_of("rhododendron")) > len(tokens_of("rhododendron", None))
    assert len({tuple(tokens_of(word)) for word in ("cat", "cats", "catalogue", "c a t")}) == 4


def test_a_model_takes_its_own_tokens_and_tells_texts_apart() -> None:
    model = build_model("micro", 0).eval()
    texts = ["cat", "dog", "猫", "supercalifragilistic " * 40]
    with torch.no_grad():
        points = model.embed_texts(model.tokenize(texts))
    assert model.tokenize(texts).max() == END
    assert torch.linalg.norm(points - points.roll(1, 0), dim=1).min() > 1e-3


def test_the_tower_halves_three_times_and_learns_everywhere() -> None:
    tower = MicroNet((4, 8, 8, 16))
    features = tower(torch.randn(5, 3, 32, 32))
    assert features.shape == (5, tower.width)
    assert tower.steps(tower.stem(torch.randn(2, 3, 32, 32))).shape[-2:] == (4, 4)
    features.square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in tower.parameters())
