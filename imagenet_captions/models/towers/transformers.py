"""Towers from transformers: ALIGN's (EfficientNet and BERT) and CLIP's, from a configuration or a loaded model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AlignConfig, AlignModel, CLIPConfig, CLIPModel, PreTrainedModel

KINDS: dict[str, tuple[Any, Any]] = {"align": (AlignConfig, AlignModel), "clip": (CLIPConfig, CLIPModel)}


_MOST_OF_THE_NEW = 0.5
_OUTPUTS = {"output_attentions", "output_hidden_states", "return_dict"}  # what a call gives, which is asked for here


class PooledImage(nn.Module):
    """An image tower of which the pooled output is used."""

    def __init__(self, trunk: nn.Module, width: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.width = width

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the pooled features, [n, width]."""
        features: Tensor = self.trunk(pixel_values=pixels).pooler_output
        return features


class BertText(nn.Module):
    """ALIGN's text tower: BERT's first token and a projection."""

    def __init__(self, trunk: Any, projection: nn.Module, mask: str, pad_id: int) -> None:
        super().__init__()
        trunk.pooler = None  # ALIGN takes the first token as it is; weights without a gradient would stop DDP
        self.trunk = trunk
        self.projection = projection
        self._mask = mask
        self._pad_id = pad_id

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the embedded texts, [n, dim]."""
        hidden = self.trunk(input_ids=tokens, attention_mask=attention_mask(tokens, self._mask, self._pad_id))
        out: Tensor = self.projection(hidden.last_hidden_state[:, 0, :])
        return out


class ClipText(nn.Module):
    """CLIP's text tower, pooled at the end of the text, and a projection."""

    def __init__(self, trunk: nn.Module, projection: nn.Module, mask: str, pad_id: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.projection = projection
        self._mask = mask
        self._pad_id = pad_id

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the embedded texts, [n, dim]."""
        hidden = self.trunk(input_ids=tokens, attention_mask=attention_mask(tokens, self._mask, self._pad_id))
        out: Tensor = self.projection(hidden.pooler_output)
        return out


def attention_mask(tokens: Tensor, mask: str, pad_id: int) -> Tensor:
    """Return which tokens are text: up to the end token, or all but the padding.

    CLIP's byte pairs fill up with 0, which is also the token of "!", but their end mark is the highest number.

    >>> attention_mask(torch.tensor([[9, 0, 10, 0, 0]]), "end", 0).tolist()
    [[1, 1, 1, 0, 0]]
    >>> attention_mask(torch.tensor([[9, 4, 10, 1, 1]]), "padding", 1).tolist()
    [[1, 1, 1, 0, 0]]
    """
    if mask == "padding":
        return (tokens != pad_id).long()
    places = torch.arange(tokens.shape[1], device=tokens.device)
    return (places[None, :] <= tokens.argmax(dim=1)[:, None]).long()


def split_model(kind: str, model: PreTrainedModel, mask: str, pad_id: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Split a whole model into an image tower, its projection, and a text tower."""
    whole: Any = model
    if kind == "align":
        width = whole.text_projection.out_features
        _mend_momentum(whole.vision_model)
        text: nn.Module = BertText(whole.text_model, whole.text_projection, mask, pad_id)
        return PooledImage(whole.vision_model, width), nn.Identity(), text
    width = whole.visual_projection.in_features
    text = ClipText(whole.text_model, whole.text_projection, mask, pad_id)
    return PooledImage(whole.vision_model, width), whole.visual_projection, text


def _mend_momentum(vision: nn.Module) -> None:
    """Convert ALIGN's momentum for torch: 0.99 is TensorFlow's share of the old value, torch's is of the new one.

    Evaluation does not change; training would forget all but the last batch's statistics.
    """
    for module in vision.modules():
        if isinstance(module, nn.BatchNorm2d) and module.momentum is not None and module.momentum > _MOST_OF_THE_NEW:
            module.momentum = 1 - module.momentum


def build_both(kind: str, options: Mapping[str, Any]) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Build both towers and the image projection with random weights from a configuration."""
    return split_model(kind, KINDS[kind][1](config_from(kind, options["config"])), options["mask"], options["pad_id"])


def config_from(kind: str, values: Mapping[str, Any]) -> Any:
    """Return a configuration with the values that its class knows; others may name code to load, such as a kernel."""
    config_class, _ = KINDS[kind]
    plain = config_class()
    known = {key: value for key, value in values.items() if key in plain.to_dict().keys() - _OUTPUTS}
    for tower in ("text_config", "vision_config"):
        names = getattr(plain, tower).to_dict().keys() - _OUTPUTS
        for key in (tower, f"{tower}_dict"):  # CLIP's older files have both
            if values.get(key) is not None:
                known[key] = {name: value for name, value in values[key].items() if name in names}
    return config_class.from_dict(known)
