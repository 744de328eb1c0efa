"""Run a model over images in batches: encoded bytes in, one row of numbers for each image out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from imagenet_captions.engines.local import count_readers
from imagenet_captions.errors import InputError, first_of, shortened
from imagenet_captions.evaluation.accuracy import Labels
from imagenet_captions.evaluation.classifiers import FEATURES, HEAD, JOINT
from imagenet_captions.evaluation.settings import Reading
from imagenet_captions.images.examples import Examples
from imagenet_captions.images.pixels import BrokenImage, EvalTransform, normalise, read_batches, worker_context
from imagenet_captions.models.model import Model
from imagenet_captions.storage.progress import progress

log = logging.getLogger(__name__)


class Extracted(NamedTuple):
    """Numbers `[images, width]` of the images at `indices`; `broken` has the id of each other one, and a reason."""

    values: npt.NDArray[np.float32]
    indices: Labels
    broken: list[tuple[str, str]]


@torch.inference_mode()
def extract(
    model: Model, images: Examples, view: str, reading: Reading, *, border: int = 0, what: str = "images"
) -> Extracted:
    """Return one row for each image that can be decoded, in order; the model stays on the device in evaluation mode."""
    device = reading.torch_device()
    model.to(device).eval()
    see = {FEATURES: model.image_features, JOINT: model.embed_images, HEAD: model.class_logits}[view]
    values, indices, broken = [], [], []
    with progress(what, len(images), "images") as bar:
        for pixels, good, bad in decoded_batches(images, EvalTransform(model.spec, border), reading):
            if len(good):
                values.append(see(normalise(pixels.to(device), model.spec)).float().cpu().numpy())
            indices += good
            broken += [(images.image_id(index), reason) for index, reason in bad]
            bar.update(len(good) + len(bad))
    if not values:
        raise InputError(f"none of the {len(images):,} images of {what} can be decoded; {_first(broken)}")
    if broken:
        log.warning("%s: %d images cannot be decoded and do not count; %s", what, len(broken), _first(broken))
    return Extracted(np.concatenate(values), np.array(indices, np.int64), broken)


def _first(broken: list[tuple[str, str]]) -> str:
    return first_of([f"{image_id[-80:]}: {shortened(reason)}" for image_id, reason in broken])


_Item = tuple[int, Tensor | None, Any]
_Batch = tuple[Tensor, list[int], list[tuple[int, Any]]]


class _Decoded(Dataset[_Item]):
    """Each image with its index and its pixels, or a text of what is wrong; an unreadable file is an InputError."""

    def __init__(self, images: Examples, transform: EvalTransform) -> None:
        self._images, self._transform = images, transform

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> _Item:
        try:
            return index, self._transform(self._images.image(index)), ""
        except BrokenImage as error:
            return index, None, str(error)
        except InputError as error:  # raised in a worker, it would arrive with that one's traceback in its message
            return index, None, error


def decoded_batches(
    images: Examples, transform: EvalTransform, reading: Reading, rows: Sequence[list[int]] | None = None
) -> Iterator[_Batch]:
    """Yield pixels with their indices, and the indices of broken images with the reasons.

    `rows` are the rows of each batch; without them, batches take all images in order.
    """
    readers = count_readers(reading.workers)
    if rows is None:
        every, size = range(len(images)), reading.batch_size
        rows = [list(every[at : at + size]) for at in every[::size]]
    loader = DataLoader(
        _Decoded(images, transform),
        batch_sampler=rows,
        num_workers=readers,
        collate_fn=_collate,
        multiprocessing_context=worker_context(readers),
    )
    for pixels, good, bad in read_batches(loader):
        for _, reason in bad:
            if isinstance(reason, InputError):
                raise reason
        yield pixels, good, bad


def _collate(items: list[_Item]) -> _Batch:
    good = [(index, pixels) for index, pixels, _ in items if pixels is not None]
    pixels = torch.stack([pixels for _, pixels in good]) if good else torch.empty(0)
    bad = [(index, reason) for index, image, reason in items if image is None]
    return pixels, [index for index, _ in good], bad
