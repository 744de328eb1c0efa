"""The model that training and evaluation see, whichever library its towers come from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from imagenet_captions.errors import InputError
from imagenet_captions.images.image_spec import ImageSpec
from imagenet_captions.models.config import ModelConfig, ProjectorConfig

Part = TypeVar("Part")

_HEAD_STD = 0.01
_TEXT = "text tower; use a classifier that needs none, such as a head or a linear probe"


class TextTokenizer(Protocol):
    """A tokenizer: tokens [n, context length] of texts, and how many each whole text has."""

    def __call__(self, texts: Sequence[str]) -> Tensor: ...
    def lengths(self, texts: Sequence[str]) -> list[int]: ...


class Tower(nn.Module):
    """A library's model as a tower: the pooled features of what it returns."""

    def __init__(self, trunk: nn.Module, width: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.width = width

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the features of images, or the embedded texts: [n, width]."""
        out = self.trunk(inputs)
        if hasattr(out, "pooler_output"):  # as transformers has it
            out = out.pooler_output
        features: Tensor = out[0] if isinstance(out, tuple) else out  # CoCa's towers have several outputs
        return features


class Model(nn.Module):
    """An image tower and what is attached to it: a text tower, a classification head, SimCLR's projector.

    `image` gives features of `width`; `image_projection` takes them to the space that images and texts share, of
    `config.dim`. `text` gives points of that space. Pixels are normalized floats [n, 3, size, size].
    """

    def __init__(
        self,
        config: ModelConfig,
        image: nn.Module,
        image_projection: nn.Module | None,
        text: nn.Module | None,
        tokenizer: TextTokenizer | None,
    ) -> None:
        super().__init__()
        self.config = config
        self.image = image
        self.image_projection = image_projection
        self.text = text
        self.tokenizer = tokenizer
        self.logit_scale: nn.Parameter | None = None
        if text is not None:
            self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / config.temperature)))
        self.head: nn.Linear | None = None
        self.projector: nn.Sequential | None = None
        self._locked: set[str] = set()
        if config.head_classes is not None:
            self.set_head(config.head_classes)
        if config.projector is not None:
            self.set_projector(config.projector)

    @property
    def name(self) -> str:
        """The name that the model was built with."""
        return self.config.name

    @property
    def spec(self) -> ImageSpec:
        """The size and the normalization of the pixels that the image tower expects."""
        return self.config.spec

    @property
    def width(self) -> int:
        """The number of features of an image before any projection."""
        return int(self.image.width)  # type: ignore[arg-type]

    @property
    def has_text(self) -> bool:
        """Whether the model can embed texts."""
        return self.text is not None

    @property
    def has_head(self) -> bool:
        """Whether the model has a classification head."""
        return self.head is not None

    @property
    def head_classes(self) -> tuple[str, ...] | None:
        """The classes of the classification head, in the order of its logits."""
        return self.config.head_classes

    def image_features(self, pixels: Tensor) -> Tensor:
        """Return the features of images before any projection: [n, width]."""
        features: Tensor = self.image(pixels)
        return features

    def embed_images(self, pixels: Tensor) -> Tensor:
        """Return images as unit vectors in the space that they share with texts: [n, dim]."""
        return F.normalize(self._part(self.image_projection, _TEXT)(self.image(pixels)), dim=-1)

    def embed_texts(self, tokens: Tensor) -> Tensor:
        """Return texts, tokenized by `tokenize`, as unit vectors: [n, dim]."""
        return F.normalize(self._part(self.text, _TEXT)(tokens), dim=-1)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Return the tokens of texts: integers [n, context length], on the CPU."""
        return self._part(self.tokenizer, _TEXT)(texts)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each whole text, start and end included; `tokenize` cuts longer ones."""
        return self._part(self.tokenizer, _TEXT).lengths(texts)

    def class_logits(self, pixels: Tensor) -> Tensor:
        """Return the logits of the classification head: [n, classes], in the order of `head_classes`."""
        head = self._part(self.head, "head of classes; train one, or use a linear probe")
        logits: Tensor = head(self.image(pixels))
        return logits

    def embed_views(self, pixels: Tensor) -> Tensor:
        """Return SimCLR's unit vectors: the image tower, then the projector."""
        projector = self._part(self.projector, "projector; call set_projector first")
        return F.normalize(projector(self.image(pixels)), dim=-1)

    def set_head(self, classes: Sequence[str], seed: int = 0) -> None:
        """Attach a new classification head for these classes to the image features, in place of an old one."""
        head = nn.Linear(self.width, len(classes))
        with torch.no_grad():
            head.weight.normal_(0.0, _HEAD_STD, generator=torch.Generator().manual_seed(seed))
            head.bias.zero_()
        self.head = head.to(self._device())
        self.config = replace(self.config, head_classes=tuple(classes))

    def set_projector(self, projector: ProjectorConfig, seed: int = 0) -> None:
        """Attach a new projector of SimCLR to the image features; evaluation and `save_model` leave it out."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            first, last = nn.Linear(self.width, projector.hidden), nn.Linear(projector.hidden, projector.dim)
        self.projector = nn.Sequential(first, nn.ReLU(), last).to(self._device())
        self.config = replace(self.config, projector=projector)

    def drop_head(self) -> None:
        """Remove the classification head."""
        self.head = None
        self.config = replace(self.config, head_classes=None)

    def drop_text(self) -> None:
        """Remove the text tower and the projection to it; DDP refuses what a supervised run does not use."""
        self.text = self.tokenizer = self.image_projection = self.logit_scale = None
        self.config = replace(self.config, text=None, tokenizer=None, dim=None)

    def drop_projector(self) -> None:
        """Remove SimCLR's projector."""
        self.projector = None
        self.config = replace(self.config, projector=None)

    def lock(self, tower: str) -> None:
        """Freeze the tower `image` or `text`: no gradients, fixed batch statistics, no dropout.

        The image tower's projection stays free, so that a tower that has none yet can be joined to texts.
        """
        self._locked.add(tower)
        getattr(self, tower).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Model:
        """Set the training mode, as every module does; frozen towers stay in evaluation mode."""
        super().train(mode)
        for tower in self._locked:
            getattr(self, tower).eval()
        return self

    def _device(self) -> torch.device:
        return next(self.image.parameters()).device

    def _part(self, part: Part | None, what: str) -> Part:
        if part is None:
            raise InputError(f"model {self.name} has no {what}")
        return part
