"""Turn a batch of bytes into the floats that a model expects."""

from __future__ import annotations

import numpy as np
import torch

from imagenet_captions.images.image_spec import ImageSpec


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
