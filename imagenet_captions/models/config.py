"""Configurations of models, the table of those that this package names, and what objectives need; needs no PyTorch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from imagenet_captions.errors import InputError, quoted, unknown_name
from imagenet_captions.images.image_spec import ImageSpec
from imagenet_captions.storage.files import checked, require_there

_FORMAT = 1


@dataclass(frozen=True)
class TowerConfig:
    """The configuration of one tower: the library that it comes from, and the library's own settings."""

    kind: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class TokenizerConfig:
    """The configuration of a tokenizer.

    Kind `clip` is CLIP's byte pairs, which come with open_clip. Kind `json` is any other: `json` holds the text of its
    `tokenizer.json`, and `pad_id` the token that fills a short text up.
    """

    kind: str = "clip"
    context_length: int = 77
    pad_id: int = 0
    json: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ProjectorConfig:
    """The configuration of SimCLR's projector, two layers on the image tower that only SimCLR uses."""

    hidden: int = 2048
    dim: int = 128


@dataclass(frozen=True)
class ModelConfig:
    """The configuration of a model, without its weights.

    `dim` is the width of the space that images and texts share, None for a model of images alone. `temperature` is
    what similarities are divided by before training has changed it.
    """

    name: str
    spec: ImageSpec
    image: TowerConfig
    text: TowerConfig | None = None
    tokenizer: TokenizerConfig | None = None
    dim: int | None = None
    temperature: float = 0.07
    head_classes: tuple[str, ...] | None = None
    projector: ProjectorConfig | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return values that JSON, YAML and the hyperparameters of a checkpoint can hold."""
        plain: dict[str, Any] = json.loads(json.dumps({"format": _FORMAT, **asdict(self)}))
        return plain


def config_from_dict(values: Mapping[str, Any]) -> ModelConfig:
    """Return the configuration that `to_dict` gave as a dictionary."""
    if values.get("format") != _FORMAT:
        raise InputError(
            f"the model's description has format {quoted(values.get('format'), 20)} where this version reads {_FORMAT};"
            " use the version that wrote it"
        )
    described = {key: value for key, value in values.items() if key != "format"}
    config = checked(described, ModelConfig, "the model's description")
    if config.to_dict() != json.loads(json.dumps(values)):
        raise InputError("the model's description is not whole (a setting is missing or unknown); write it again")
    return config


class Needs(NamedTuple):
    """What a loss needs of data and model, which values of a recipe it does not read, and how its model is tested."""

    classifier: str  # of `evaluate`
    unread: str
    texts: bool = False  # captions, and a text tower
    labels: bool = False  # labels, and a head
    views: bool = False  # a second view of each image, and SimCLR's projector


CONTRASTIVE, SUPERVISED, SIMCLR = "contrastive", "supervised", "simclr"
OBJECTIVES = {
    CONTRASTIVE: Needs("zero-shot", unread="mixup colour temperature", texts=True),
    SUPERVISED: Needs("head", unread="caption lock colour temperature", labels=True),
    SIMCLR: Needs("linear-probe", unread="caption lock mixup flip crop randaugment label_smoothing", views=True),
}


_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_HALF = (0.5, 0.5, 0.5)
_BYTE_PAIRS = 49408
_MICRO_TOKENS = 4096
_MICRO_CONTEXT = 24
# The 3,582 most frequent of CLIP's byte pairs: 512 bytes, within a word and at its end, and two marks come on top.
_MICRO_TOKENIZER = TokenizerConfig(context_length=_MICRO_CONTEXT, options={"merges": _MICRO_TOKENS - 512 - 2})


def _spec(size: int) -> ImageSpec:
    return ImageSpec(size=size, mean=_CLIP_MEAN, std=_CLIP_STD, interpolation="bicubic")


def _timm(architecture: str, **arguments: Any) -> TowerConfig:
    return TowerConfig("timm", {"architecture": architecture, "arguments": arguments})


def _text(width: int, heads: int, layers: int, tokens: int, tokenizer: TokenizerConfig) -> dict[str, Any]:
    """Return open_clip's text transformer."""
    sizes = {"width": width, "heads": heads, "layers": layers}
    sizes |= {"context_length": tokenizer.context_length, "vocab_size": tokens}
    tower = TowerConfig("open_clip", {"text_cfg": sizes, "quick_gelu": False})
    return {"text": tower, "tokenizer": tokenizer}


def _align(dim: int, tokenizer: TokenizerConfig, vision: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Any]:
    """Return transformers' ALIGN with CLIP's byte pairs instead of WordPieces, which are only on a hub."""
    words = {"vocab_size": _BYTE_PAIRS, "max_position_embeddings": tokenizer.context_length, **text}
    config = {"projection_dim": dim, "vision_config": dict(vision), "text_config": words}
    image = TowerConfig("align", {"config": config, "mask": "end", "pad_id": 0})
    return {"image": image, "text": TowerConfig("align", {}), "tokenizer": tokenizer, "dim": dim}


_LONG = TokenizerConfig(context_length=64)


def _basic(name: str, architecture: str, heads: int, layers: int) -> ModelConfig:
    image, text = _timm(architecture, head_hidden_size=0), _text(1024, heads, layers, _BYTE_PAIRS, _LONG)
    return ModelConfig(name, _spec(224), image, dim=1024, **text)


_MICRO_TEXT = _text(64, 2, 2, _MICRO_TOKENS, _MICRO_TOKENIZER)
_NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
# ALIGN makes every image a square of 346 pixels and takes 289 of them (section 5; transformers' image processor).
_ALIGN_SPEC = ImageSpec(289, _HALF, _HALF, "bilinear", crop_fraction=289 / 346, resize_mode="squash")
_EFFICIENTNET_L2 = {"image_size": 289, "width_coefficient": 4.3, "depth_coefficient": 5.3}
_BERT_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_MICRO_EFFICIENTNET: dict[str, Any] = {"image_size": 32, "width_coefficient": 0.4, "depth_coefficient": 0.25}
_MICRO_EFFICIENTNET |= {"strides": [1, 1, 2, 2, 1, 2, 1], "drop_connect_rate": 0.0, "batch_norm_momentum": 0.1}
_MICRO_BERT: dict[str, Any] = {
    "vocab_size": _MICRO_TOKENS,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
_MICRO_BERT |= {"intermediate_size": 256, **_NO_DROPOUT}
_MICRO_COATNET = {"img_size": 32, "head_hidden_size": 0, "stem_width": [16, 32], "embed_dim": [32, 64, 128, 128]}
_MICRO_COATNET |= {"depths": [1, 1, 2, 1]}
_MICRO_TRANSFORMER = {"image_size": 32, "patch_size": 4, "width": 128, "layers": 4, "head_width": 32}
_MICRO_VIT = {"embed_dim": 128, "vision_cfg": _MICRO_TRANSFORMER, "quick_gelu": False}


_CLIPS = ("RN50", "RN101", "ViT-B-32", "ViT-B-16", "ViT-L-14")  # open_clip's configurations of these names
_OURS = (
    ModelConfig("resnet50", _spec(224), _timm("resnet50")),
    ModelConfig("align", _ALIGN_SPEC, temperature=1.0, **_align(640, _LONG, {"image_size": 289}, {})),
    ModelConfig("align-large", _ALIGN_SPEC, temperature=1.0, **_align(1376, _LONG, _EFFICIENTNET_L2, _BERT_LARGE)),
    ModelConfig(
        "align-micro",
        ImageSpec(32, _HALF, _HALF, "bicubic"),
        **_align(128, _MICRO_TOKENIZER, _MICRO_EFFICIENTNET, _MICRO_BERT),
    ),
    _basic("basic", "coatnet_0_224", heads=16, layers=6),
    _basic("basic-medium", "coatnet_3_224", heads=8, layers=12),
    ModelConfig("basic-micro", _spec(32), _timm("coatnet_0_224", **_MICRO_COATNET), dim=128, **_MICRO_TEXT),
    ModelConfig("micro", _spec(32), TowerConfig("micro", {"widths": [16, 32, 64, 128]}), dim=128, **_MICRO_TEXT),
    ModelConfig("vit-micro", _spec(32), TowerConfig("open_clip", _MICRO_VIT), dim=128, **_MICRO_TEXT),
)
# The models that this package names; docs/design/presets.md describes them.
PRESETS: dict[str, ModelConfig | None] = {**dict.fromkeys(_CLIPS), **{config.name: config for config in _OURS}}


def check_name(name: str) -> None:
    """Raise InputError, with the closest known names, unless a model can be called so; PyTorch is not loaded."""
    library, _, rest = name.partition(":")
    found = find_spec("open_clip") if library == "open_clip" and rest else None
    if found is not None and found.origin is not None:
        files = (Path(found.origin).parent / "model_configs").glob("*.json")
        names = sorted(path.stem for path in files)
        if rest not in names:
            raise unknown_name("open_clip model", rest, names)
    elif name not in PRESETS and not (rest and library in ("open_clip", "timm")):
        raise unknown_name("model to build", name, PRESETS)


def config_of(name: str) -> ModelConfig:
    """Return the configuration of a model's name; one that a library has is looked up there, which loads PyTorch."""
    library, _, rest = name.partition(":")
    if library != "open_clip":
        check_name(name)
    if (config := PRESETS.get(name)) is not None:
        return config
    if library == "timm":
        from imagenet_captions.models import timm as timm_models

        return timm_models.named_config(rest)
    from imagenet_captions.models import open_clip as open_clip_models

    return open_clip_models.named_config(rest or name, name)


LIBRARIES = ("open_clip", "timm", "transformers")


def split_library(source: str) -> tuple[str, str]:
    """Return the library that a source names and what it names there; of a path, nothing and the path."""
    library, colon, rest = source.partition(":")
    return (library, rest) if colon and rest and library in LIBRARIES else ("", source)


def check_source(source: str) -> None:
    """Raise InputError unless a source of `load_model` names a library, or a path that is there."""
    if split_library(source)[0]:
        return
    if os.path.lexists(source):
        require_there(Path(source), "the model")
        return
    library, colon, rest = source.partition(":")
    if colon and rest and "/" not in library:
        raise unknown_name("library of models", library, LIBRARIES)
    if source in PRESETS:
        raise InputError(f"{quoted(source)} is a model without weights; give a run's folder, or a checkpoint")
    raise InputError(
        f"model {quoted(source)} does not exist; give a folder, a .ckpt file, open_clip:NAME@TAG, timm:NAME or "
        "transformers:NAME"
    )


def side_of(size: Any) -> int:
    """Return the side of square images, however a library's description of its pixels says it."""
    if isinstance(size, Mapping):
        size = size.get("shortest_edge") or (size.get("height"), size.get("width"))
    if isinstance(size, Sequence) and not isinstance(size, str):
        if len(set(size)) != 1:
            raise InputError(f"the model wants images of {quoted(tuple(size))} pixels; only square ones are read")
        size = size[0]
    return int(size)


def three_of(values: Any) -> tuple[float, float, float]:
    """Return a value for each color, from three or from one that is for all."""
    red, green, blue = [values] * 3 if isinstance(values, (int, float)) else values
    return float(red), float(green), float(blue)


def spec_of(size: Any, mean: Any, std: Any, interpolation: str, **others: Any) -> ImageSpec:
    """Return the pixels of a library's description, with a kind of interpolation that this package has."""
    kind = "bilinear" if interpolation == "bilinear" else "bicubic"
    return ImageSpec(side_of(size), three_of(mean), three_of(std), kind, **others)
