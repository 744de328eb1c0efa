"""Configurations of models: plain values from which a model can be built again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from imagenet_captions.errors import InputError, quoted, shortened
from imagenet_captions.images.image_spec import ImageSpec

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

    def __post_init__(self) -> None:
        if (self.text is None) != (self.tokenizer is None) or (self.text is not None and self.dim is None):
            raise InputError(
                f"model {self.name}: a text tower needs a tokenizer and a shared dimension; give all three"
            )

    def image_only(self) -> ModelConfig:
        """Return the configuration without texts."""
        return replace(self, text=None, tokenizer=None, dim=None)

    def to_dict(self) -> dict[str, Any]:
        """Return values that JSON, YAML and the hyperparameters of a checkpoint can hold."""
        return {"format": _FORMAT, **_plain(asdict(self))}


def config_from_dict(values: Mapping[str, Any]) -> ModelConfig:
    """Return the configuration that `to_dict` gave as a dictionary.

    Raises InputError where something is missing or unknown, as in a file of a later version.
    """
    if values.get("format") != _FORMAT:
        raise InputError(
            f"the model's description has format {quoted(values.get('format'), 20)} where this version reads {_FORMAT};"
            " use the version that wrote it"
        )
    import msgspec

    try:
        config = msgspec.convert({key: value for key, value in values.items() if key != "format"}, ModelConfig)
    except msgspec.ValidationError as error:
        said = shortened(error).replace("`", "'")
        raise InputError(f"the model's description is not whole ({said}); write it again") from None
    if config.to_dict() != _plain(values):
        raise InputError("the model's description is not whole (a setting is missing or unknown); write it again")
    return config


def _plain(value: Any) -> Any:
    """Turn mappings into dicts and sequences into lists, as they come back from JSON."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value
