"""Read the pixels that a checkpoint expects from the description that came with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imagenet_captions.errors import InputError, shortened
from imagenet_captions.images.image_spec import ImageSpec

_PIL_FILTERS = {2: "bilinear", 3: "bicubic"}


def from_open_clip(config: Mapping[str, Any]) -> ImageSpec:
    """Read open_clip's `preprocess_cfg`."""
    return ImageSpec(
        size=_side(config.get("size", 224)),
        mean=_three(config["mean"]),
        std=_three(config["std"]),
        interpolation=_interpolation(config.get("interpolation", "bicubic")),
        resize_mode=config.get("resize_mode") or "shortest",
    )


def from_timm(config: Mapping[str, Any]) -> ImageSpec:
    """Read timm's data configuration; the size is that of training, even if it has another one for evaluation."""
    return ImageSpec(
        size=_side(config["input_size"][1:]),
        mean=_three(config["mean"]),
        std=_three(config["std"]),
        interpolation=_interpolation(config.get("interpolation", "bicubic")),
        crop_fraction=float(config.get("crop_pct") or 1.0),
        resize_mode="squash" if config.get("crop_mode") == "squash" else "shortest",
    )


def from_transformers(config: Mapping[str, Any]) -> ImageSpec:
    """Read transformers' `preprocessor_config.json`, as CLIP's processor and EfficientNet's write it.

    EfficientNet's scales by 1 / 127.5, takes 1 away, and may not normalize: the same as a mean and deviation of a half.

    >>> half = from_transformers({"size": {"height": 346, "width": 346}, "crop_size": {"height": 289, "width": 289},
    ...     "rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False, "resample": 2})
    >>> half.size, [round(value, 3) for value in half.mean + half.std], half.interpolation, half.resize_mode
    (289, [0.5, 0.5, 0.5, 0.5, 0.5, 0.5], 'bilinear', 'squash')
    """
    scale = float(config.get("rescale_factor", 1 / 255)) * 255 if config.get("do_rescale", True) else 255.0
    offset = 1.0 if config.get("rescale_offset") else 0.0
    normalised = config.get("do_normalize", True)
    mean = _three(config["image_mean"]) if normalised else (0.0, 0.0, 0.0)
    std = _three(config["image_std"]) if normalised else (1.0, 1.0, 1.0)
    resized = config.get("size", 224)
    squash = isinstance(resized, Mapping) and "height" in resized
    before = _side(resized)
    size = _side(config.get("crop_size", resized)) if config.get("do_center_crop", True) else before
    return ImageSpec(
        size=size,
        mean=_three([(offset + value) / scale for value in mean]),
        std=_three([value / scale for value in std]),
        interpolation=_interpolation(_PIL_FILTERS.get(config.get("resample", 3), "")),
        crop_fraction=size / before,
        resize_mode="squash" if squash else "shortest",
    )


def _side(size: Any) -> int:
    if isinstance(size, Mapping):
        size = size.get("shortest_edge") or (size.get("height"), size.get("width"))
    if isinstance(size, Sequence) and not isinstance(size, str):
        if len(set(size)) != 1:
            given = shortened(tuple(size))
            raise InputError(f"the model wants images of {given} pixels; only square images are read here")
        size = size[0]
    return int(size)


def _three(values: Sequence[float] | float) -> tuple[float, float, float]:
    if isinstance(values, (int, float)):
        values = [values] * 3
    first, second, third = (float(value) for value in values)
    return first, second, third


def _interpolation(name: str) -> Any:
    return "bilinear" if name == "bilinear" else "bicubic"
