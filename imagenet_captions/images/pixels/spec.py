"""The images that a model expects: their size, how they are resized, mean and deviation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

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


# openai/CLIP clip.py, and torchvision's reference training of ImageNet models.
CLIP_224 = ImageSpec()
IMAGENET_224 = ImageSpec(
    mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), interpolation="bilinear", crop_fraction=0.875
)


def normalise(images: torch.Tensor, spec: ImageSpec, out: torch.Tensor | None = None) -> torch.Tensor:
    """Return a batch of bytes [n, 3, h, w] as the floats that a model expects, on the batch's device.

    A whole batch is normalized at once: bytes between processes and to a GPU take a quarter of the space of floats.
    With `out`, floats for as many images or more, the result is written there, for a loop that is done with the last
    batch: on a CPU, new memory of 77 MB costs more than the arithmetic.
    """
    scale = torch.tensor([1 / (255 * std) for std in spec.std], device=images.device)
    shift = torch.tensor([-mean / std for mean, std in zip(spec.mean, spec.std, strict=True)], device=images.device)
    made = None if out is None else out[: len(images)]
    if images.device.type == "cpu" and all(map(_channels_last, (images, images if made is None else made))):
        return _normalise_rows(images, scale, shift, made)
    return torch.addcmul(shift.view(1, 3, 1, 1), images.to(torch.float32), scale.view(1, 3, 1, 1), out=made)


def _channels_last(images: torch.Tensor) -> bool:
    return images.is_contiguous(memory_format=torch.channels_last)


def _normalise_rows(
    images: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, out: torch.Tensor | None
) -> torch.Tensor:
    """Normalize image by image on a CPU, in a quarter of torch's time: each stays in the cache, row by row.

    numpy asks the kernel for large pages and starts no threads, for which busy workers would have to wait.
    """
    count, _, height, width = images.shape
    rows = (count, height, width * 3)
    stored = images.permute(0, 2, 3, 1).reshape(rows).numpy()
    made = np.empty(rows, np.float32) if out is None else out.permute(0, 2, 3, 1).reshape(rows).numpy()
    scales, shifts = scale.repeat(width).numpy(), shift.repeat(width).numpy()
    for source, target in zip(stored, made, strict=True):
        np.multiply(source, scales, out=target)
        target += shifts
    return torch.from_numpy(made).view(count, height, width, 3).permute(0, 3, 1, 2)
