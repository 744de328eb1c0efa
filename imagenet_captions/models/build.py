"""Build models with random weights, by name or from a configuration."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.models.config import ModelConfig, TowerConfig, config_of
from imagenet_captions.models.model import Model
from imagenet_captions.models.tokenizing import build_tokenizer


def build_model(name: str, seed: int) -> Model:
    """Build a model with random weights; the same name and seed give the same weights."""
    config = config_of(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(config)


def build(config: ModelConfig) -> Model:
    """Build a model from its configuration, with random weights from torch's global generator."""
    tower, text, dim = config.image, config.text, config.dim
    projection: nn.Module | None
    words: nn.Module | None = None
    if tower.kind in ("align", "clip"):
        from imagenet_captions.models.transformers import build_both

        image, projection, words = build_both(tower.kind, tower.options)
    elif tower.kind == "open_clip":
        from imagenet_captions.models.open_clip import build_image as build_clip

        image, projection = build_clip(tower.options)
    elif tower.kind == "timm":
        from imagenet_captions.models.timm import build_image as build_timm

        image, projection = build_timm(tower.options, dim)
    elif tower.kind == "micro":
        net = MicroNet(tuple(tower.options["widths"]))
        image, projection = net, None if dim is None else nn.Linear(net.width, dim, bias=False)
    else:
        raise InputError(f"a model's description names the tower {quoted(tower.kind)}, which is not known")
    if text is None or dim is None:
        return Model(config, image, None, None, None)
    if text.kind == "open_clip":
        from imagenet_captions.models.open_clip import build_text

        words = build_text(text.options, dim)
    elif words is None:
        raise InputError(f"a model's description names the tower {quoted(text.kind)}, which is not known")
    tokenizer = None if config.tokenizer is None else build_tokenizer(config.tokenizer)
    return Model(config, image, projection, words, tokenizer)


def with_drop_path(model: Model, rate: float) -> Model:
    """Return a copy of a model, with its weights, whose image tower of timm has stochastic depth at this rate."""
    tower = model.config.image
    try:
        arguments = {**tower.options["arguments"], "drop_path_rate": rate}
        config = replace(model.config, image=TowerConfig("timm", {**tower.options, "arguments": arguments}))
        with torch.random.fork_rng(devices=[]):
            changed = build(config)
    except (KeyError, TypeError):  # of a tower that is not timm's, and of timm for a model that does not take the rate
        raise InputError(
            f"`drop_path` {rate:g} needs stochastic depth, which {model.name} does not have; give `drop_path=0`, "
            "or a model of timm's, such as basic"
        ) from None
    changed.load_state_dict(model.state_dict())
    return changed


class Convolution(nn.Sequential):
    """A 3 x 3 convolution and normalization, with the size halved if wanted."""

    def __init__(self, wide_in: int, wide_out: int, halve: bool = False) -> None:
        super().__init__(
            nn.Conv2d(wide_in, wide_out, 3, padding=1, bias=False),
            nn.MaxPool2d(2) if halve else nn.Identity(),
            nn.BatchNorm2d(wide_out),
            nn.ReLU(inplace=True),
        )


class MicroNet(nn.Module):
    """A convolution for each width, a residual block after the last, and the mean over positions: a short "ResNet-9".

    Such nets learn CIFAR's classes in a fifth of the work of a ResNet that keeps 32 x 32 for a stage.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = Convolution(3, widths[0], halve=True)
        self.steps = nn.Sequential()
        for number, (before, wide) in enumerate(pairwise(widths)):
            self.steps.append(Convolution(before, wide, halve=number > 0))
        last = self.width = widths[-1]
        self.block = nn.Sequential(Convolution(last, last), Convolution(last, last))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return features [n, last width] of images [n, 3, 32, 32]."""
        # Channels last: convolutions on a CPU take two thirds of the time so.
        before = self.steps(self.stem(pixels.contiguous(memory_format=torch.channels_last)))
        features: Tensor = (before + self.block(before)).mean(dim=(2, 3))
        return features
