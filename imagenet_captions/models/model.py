"""The one face that training and evaluation see, whatever stands behind it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from imagenet_captions.errors import InputError
from imagenet_captions.images.pixels.spec import ImageSpec
from imagenet_captions.models.config import ModelConfig, ProjectorConfig

_HEAD_STD = 0.01


class Model(nn.Module):
    """An image tower, and what was put beside it: a text tower, a head of classes, SimCLR's projector.

    `image` gives features of `width`; `image_projection` takes them to the space that images and texts share, of
    `config.dim`. `text` gives points of that space. Pixels are normalised floats [n, 3, size, size].
    """

    def __init__(
        self,
        config: ModelConfig,
        image: nn.Module,
        image_projection: nn.Module | None,
        text: nn.Module | None,
        tokenizer: Callable[[Sequence[str]], Tensor] | None,
    ) -> None:
        super().__init__()
        self.config = config
        self.image = image
        self.image_projection = image_projection
        self.text = text
        self.tokenizer = tokenizer
        self.logit_scale = None if text is None else nn.Parameter(torch.tensor(math.log(1 / config.temperature)))
        self.head: nn.Linear | None = None
        self.projector: nn.Sequential | None = None
        self._locked: set[str] = set()
        if config.head_classes is not None:
            self.set_head(config.head_classes)
        if config.projector is not None:
            self.set_projector(config.projector)

    @property
    def name(self) -> str:
        """What the model was named when it was built."""
        return self.config.name

    @property
    def spec(self) -> ImageSpec:
        """The size and the normalisation of the pixels that the image tower wants."""
        return self.config.spec

    @property
    def width(self) -> int:
        """How many features an image has before any projection."""
        return int(self.image.width)  # type: ignore[arg-type]

    @property
    def has_text(self) -> bool:
        """Whether texts can be embedded."""
        return self.text is not None

    @property
    def has_head(self) -> bool:
        """Whether the model has classes of its own."""
        return self.head is not None

    @property
    def head_classes(self) -> tuple[str, ...] | None:
        """The classes of the model's own head, in the order of its logits."""
        return self.config.head_classes

    def image_features(self, pixels: Tensor) -> Tensor:
        """What the image tower sees: [n, width], before any projection."""
        features: Tensor = self.image(pixels)
        return features

    def embed_images(self, pixels: Tensor) -> Tensor:
        """Images as points of unit length in the space they share with texts: [n, dim]."""
        if self.image_projection is None or self.text is None:
            raise self._without("a text tower", "use a classifier that needs none, such as a head or a linear probe")
        return F.normalize(self.image_projection(self.image(pixels)), dim=-1)

    def embed_texts(self, tokens: Tensor) -> Tensor:
        """Texts, as `tokenize` gives them, as points of unit length: [n, dim]."""
        if self.text is None:
            raise self._without("a text tower", "use a classifier that needs none, such as a head or a linear probe")
        return F.normalize(self.text(tokens), dim=-1)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Texts as the text tower reads them: whole numbers [n, context length], on the CPU."""
        if self.tokenizer is None:
            raise self._without("a tokenizer", "use a model with a text tower")
        return self.tokenizer(texts)

    def class_logits(self, pixels: Tensor) -> Tensor:
        """The model's own head: [n, classes], in the order of `head_classes`."""
        if self.head is None:
            raise self._without("a head of classes", "train one, or use a linear probe")
        logits: Tensor = self.head(self.image(pixels))
        return logits

    def embed_views(self, pixels: Tensor) -> Tensor:
        """SimCLR's points of unit length: the image tower, then the projector."""
        if self.projector is None:
            raise self._without("a projector", "call set_projector first")
        return F.normalize(self.projector(self.image(pixels)), dim=-1)

    def set_head(self, classes: Sequence[str], seed: int = 0) -> None:
        """A new head of these classes on the image features, for training; an old one is dropped."""
        if not classes or len(set(classes)) < len(classes):
            raise InputError(f"a head needs classes, each once, and got {len(classes)} with {len(set(classes))} names")
        head = nn.Linear(self.width, len(classes))
        with torch.no_grad():
            head.weight.normal_(0.0, _HEAD_STD, generator=torch.Generator().manual_seed(seed))
            head.bias.zero_()
        self.head = head.to(self._device())
        self.config = replace(self.config, head_classes=tuple(classes))

    def set_projector(self, projector: ProjectorConfig, seed: int = 0) -> None:
        """SimCLR's two layers on the image features, new; evaluation and `save_model` leave them out."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers = nn.Sequential(
                nn.Linear(self.width, projector.hidden), nn.ReLU(), nn.Linear(projector.hidden, projector.dim)
            )
        self.projector = layers.to(self._device())
        self.config = replace(self.config, projector=projector)

    def drop_head(self) -> None:
        """Leave the head of classes."""
        self.head = None
        self.config = replace(self.config, head_classes=None)

    def drop_text(self) -> None:
        """Leave the text tower and the way to it: a supervised run has no use for them, and DDP wants none unused."""
        self.text = self.tokenizer = self.image_projection = self.logit_scale = None
        self.config = self.config.image_only()

    def drop_projector(self) -> None:
        """Leave SimCLR's two layers."""
        self.projector = None
        self.config = replace(self.config, projector=None)

    def lock_image(self) -> None:
        """Keep the image tower as it is: no gradients, and its batch statistics and dropout off for good.

        The projection to the shared space stays free, so that a tower that has none yet can be joined to texts.
        """
        self._lock("image")

    def lock_text(self) -> None:
        """Keep the text tower as it is, its projection included."""
        if self.text is None:
            raise self._without("a text tower", "leave it unlocked")
        self._lock("text")

    def train(self, mode: bool = True) -> Model:
        """As every module's; locked towers stay as they are in use."""
        super().train(mode)
        for tower in self._locked:
            getattr(self, tower).eval()
        return self

    def _lock(self, tower: str) -> None:
        self._locked.add(tower)
        getattr(self, tower).requires_grad_(False)
        self.train(self.training)

    def _device(self) -> torch.device:
        return next(self.image.parameters()).device

    def _without(self, what: str, instead: str) -> InputError:
        return InputError(f"model {self.name} has no {what.removeprefix('a ')}; {instead}")


def model_config_of(model: Model) -> dict[str, Any]:
    """The dictionary that `build_from_config` builds the same model of, its weights aside.

    A Lightning checkpoint carries it among its hyperparameters as `model_config`, which `load_model` looks for.
    """
    return model.config.to_dict()
