"""A model so small that a test can compute by hand, in numpy, what it gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from imagenet_captions.images.image_spec import ImageSpec

SIZE, WIDTH, DIM, LETTERS = 8, 24, 6, 40
SPEC = ImageSpec(size=SIZE, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


class MadeModel(nn.Module):
    """Everything is one matrix: pixels to features, features to the joint space, letters to the joint space."""

    name = "made"
    spec = SPEC

    def __init__(self, head_classes: Sequence[str] = (), has_text: bool = True) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        self.see = nn.Parameter(torch.randn(3 * SIZE * SIZE, WIDTH, generator=random))
        self.join = nn.Parameter(torch.randn(WIDTH, DIM, generator=random))
        self.read = nn.Parameter(torch.randn(LETTERS * 128, DIM, generator=random))
        self.head = nn.Parameter(torch.randn(WIDTH, len(head_classes), generator=random))
        self.head_classes = tuple(head_classes) or None
        self.has_head, self.has_text = bool(head_classes), has_text

    def image_features(self, pixels: Tensor) -> Tensor:
        return pixels.reshape(len(pixels), -1) @ self.see

    def embed_images(self, pixels: Tensor) -> Tensor:
        return nn.functional.normalize(self.image_features(pixels) @ self.join, dim=-1)

    def class_logits(self, pixels: Tensor) -> Tensor:
        return self.image_features(pixels) @ self.head

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        tokens = torch.zeros(len(texts), LETTERS, dtype=torch.long)
        for row, text in enumerate(texts):
            for place, letter in enumerate(text[:LETTERS]):
                tokens[row, place] = min(ord(letter), 127)
        return tokens

    def embed_texts(self, tokens: Tensor) -> Tensor:
        places = torch.arange(LETTERS) * 128
        return nn.functional.normalize(self.read[tokens + places].sum(dim=1), dim=-1)


def features_by_hand(model: MadeModel, pixels: np.ndarray) -> np.ndarray:
    """Features of images `[n, size, size, 3]` of bytes, in numpy."""
    scaled = (pixels / 255 - np.array(SPEC.mean)) / np.array(SPEC.std)
    return scaled.transpose(0, 3, 1, 2).reshape(len(pixels), -1) @ model.see.detach().numpy().astype(np.float64)


def joint_by_hand(model: MadeModel, pixels: np.ndarray) -> np.ndarray:
    return unit_by_hand(features_by_hand(model, pixels) @ model.join.detach().numpy().astype(np.float64))


def text_by_hand(model: MadeModel, text: str) -> np.ndarray:
    rows = [place * 128 + min(ord(letter), 127) for place, letter in enumerate(text[:LETTERS])]
    rows += [place * 128 for place in range(len(rows), LETTERS)]
    return unit_by_hand(model.read.detach().numpy().astype(np.float64)[rows].sum(axis=0))


def unit_by_hand(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.sqrt((vectors**2).sum(axis=-1, keepdims=True))
