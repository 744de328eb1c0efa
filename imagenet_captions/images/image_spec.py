"""The images that a model expects: their size, how they are resized, mean and deviation."""

from __future__ import annotations

from dataclasses import dataclass

from imagenet_captions.errors import InputError, quoted

Three = tuple[float, float, float]
INTERPOLATIONS = ("bicubic", "bilinear")
RESIZE_MODES = ("shortest", "squash")


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
        if self.size < 1:
            raise InputError(f"the image size must be 1 pixel or more, not {self.size}")
        if not 0 < self.crop_fraction <= 1:
            raise InputError(f"the crop fraction must be above 0 and up to 1, not {self.crop_fraction}")
        if self.interpolation not in INTERPOLATIONS:
            raise InputError(
                f"the interpolation must be {' or '.join(INTERPOLATIONS)}, not {quoted(self.interpolation)}"
            )
        if self.resize_mode not in RESIZE_MODES:
            raise InputError(f"the resize mode must be {' or '.join(RESIZE_MODES)}, not {quoted(self.resize_mode)}")
        if min(self.std) <= 0:
            raise InputError(f"a standard deviation must be above 0, not {min(self.std)}")


CLIP_224 = ImageSpec()  # openai/CLIP clip.py
