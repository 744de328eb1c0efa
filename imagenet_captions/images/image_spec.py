"""The images that a model expects: their size, how they are resized, mean and deviation."""

from __future__ import annotations

from dataclasses import dataclass

from imagenet_captions.errors import InputError, quoted

Three = tuple[float, float, float]


@dataclass(frozen=True)
class ImageSpec:
    """The images that a model expects.

    `crop_fraction` is the part of the resized shorter side that the center crop keeps at test time (CLIP: all of it);
    with the resize mode "squash" the image is made square whatever its shape, and then cropped likewise.
    """

    size: int = 224
    mean: Three = (0.48145466, 0.4578275, 0.40821073)
    std: Three = (0.26862954, 0.26130258, 0.27577711)
    interpolation: str = "bicubic"
    crop_fraction: float = 1.0
    resize_mode: str = "shortest"

    def __post_init__(self) -> None:
        resampling, resizing = self.interpolation, self.resize_mode
        for fine, what, value in (
            (self.size >= 1, "image size must be 1 pixel or more", self.size),
            (0 < self.crop_fraction <= 1, "crop fraction must be above 0 and up to 1", self.crop_fraction),
            (resampling in ("bicubic", "bilinear"), "interpolation must be bicubic or bilinear", quoted(resampling)),
            (resizing in ("shortest", "squash"), "resize mode must be shortest or squash", quoted(resizing)),
            (min(self.std) > 0, "standard deviation must be above 0", min(self.std)),
        ):
            if not fine:
                raise InputError(f"the {what}, not {value}")


CLIP_224 = ImageSpec()  # openai/CLIP clip.py
