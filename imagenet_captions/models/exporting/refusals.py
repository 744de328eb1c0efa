"""The error that the exports to open_clip and transformers share."""

from __future__ import annotations

from imagenet_captions.errors import InputError
from imagenet_captions.models.model import Model


def no_text_tower(model: Model, whose: str) -> InputError:
    """Build the error for a model without a text tower; only an image tower of timm's has another library."""
    advice = "export it to timm" if model.config.image.kind == "timm" else "timm has no code for its image tower either"
    return InputError(f"{model.name} has no text tower, and {whose} have one; {advice}")
