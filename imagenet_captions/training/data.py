"""What a model is trained on: its images and captions, for a run and for a loop of your own."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from imagenet_captions.captions.caption_template import CLASS_NAME, OPEN_CLIP_80, CaptionTemplate
from imagenet_captions.captions.compose import compose_captions, names_of
from imagenet_captions.dataset.shards import Shards
from imagenet_captions.errors import InputError, shortened
from imagenet_captions.imagenet.image_ids import wnid_of
from imagenet_captions.images.examples import (
    ClassCount,
    Examples,
    Texts,
    find_named,
    only_ids,
    open_examples,
    select,
)
from imagenet_captions.storage.faults import require
from imagenet_captions.storage.files import read_lines
from imagenet_captions.storage.outputs import is_dataset
from imagenet_captions.storage.places import local_place
from imagenet_captions.storage.progress import progress

if TYPE_CHECKING:
    from PIL.Image import Image


log = logging.getLogger(__name__)

CLASS_NAMES_ONLY = CaptionTemplate((CLASS_NAME,), template=OPEN_CLIP_80)
_LOOKED_AT = 1000
_AT_ONCE = 4096


@dataclass(frozen=True)
class CaptionSampler:
    """Captions by a template, or stored ones without; random choices depend on the seed, the id and the epoch.

    A template's own seed is added to `seed`. A row with nothing but a caption, as in an open_clip CSV, uses it for the
    template's first text field.
    """

    template: CaptionTemplate | None
    seed: int

    def of(self, examples: Examples, rows: Sequence[int], epoch: int) -> list[str]:
        """Return the captions of some rows in an epoch, "" where there is none; one takes a few microseconds."""
        texts = [examples.texts(row) for row in rows]
        if self.template is None:
            return [text.caption for text in texts]
        template = replace(self.template, seed=self.template.seed + self.seed)
        texts = [_standing_in(text, template) for text in texts]
        columns = {
            "image_id": pa.array([examples.image_id(row) for row in rows], pa.string()),
            "title": pa.array([text.title for text in texts], pa.string()),
            "tags": pa.array([text.tags for text in texts], pa.list_(pa.string())),
            "description": pa.array([text.description for text in texts], pa.string()),
        }
        if CLASS_NAME in template.fields:
            names = [_names(examples, row, template.names) for row in rows]
            columns["class_names"] = pa.array(names, pa.list_(pa.string()))
        captions: list[str] = compose_captions(template, columns, epoch).to_pylist()
        return captions


def _standing_in(texts: Texts, template: CaptionTemplate) -> Texts:
    """Return the texts, with the caption as the template's first text field if there are no other texts."""
    if not texts.caption or texts.title or texts.description or texts.tags or not template.text_fields:
        return texts
    first = template.text_fields[0]
    if first == "tags":
        return Texts(tags=(texts.caption,))
    return Texts(title=texts.caption) if first == "title" else Texts(description=texts.caption)


def _names(examples: Examples, row: int, names: str) -> tuple[str, ...]:
    classes, label = examples.classes, examples.labels[row]
    if classes is None or label < 0:
        return names_of(wnid_of(examples.image_id(row)), names)
    class_ = classes[label]
    return (names_of(class_.key, names) if names == "wordnet" else ()) or (class_.name,)


def make_sampler(examples: Examples, template: CaptionTemplate | None, seed: int) -> CaptionSampler:
    """Return the captions of examples: by the template if there is one, else the stored ones, else from their texts.

    In a dataset as published, a title that is a camera's file name is part of its captions too. Without any texts, the
    names of the classes are put into open_clip's sentences. Raises InputError if there are no classes either.
    """
    count = len(examples)
    texts = [examples.texts(int(row)) for row in np.linspace(0, count - 1, min(count, _LOOKED_AT))]
    if not any(text != Texts() for text in texts):
        if template is not None and CLASS_NAME in template.fields:
            return CaptionSampler(template, seed)
        if examples.classes is None:
            raise InputError(f"{examples.source} has neither texts nor labels, so there is nothing to make captions of")
        log.info("%s has no texts; captions are made of its class names: %s", examples.source, CLASS_NAMES_ONLY)
        return CaptionSampler(CLASS_NAMES_ONLY, seed)
    if template is None and not any(text.caption for text in texts):
        template = CaptionTemplate()
    if template is not None and is_dataset(examples.source) and Shards(examples.source).manifest.as_published:
        template = template.with_camera_names()
    return CaptionSampler(template, seed)


def with_captions(examples: Examples, sampler: CaptionSampler) -> Examples:
    """Return the examples that have a caption, the same in every epoch; raises InputError if none has one."""
    has_caption = (caption.strip() != "" for caption in _first_captions(examples, sampler))
    kept = np.flatnonzero(np.fromiter(has_caption, bool, len(examples)))
    if not len(kept):
        template = "its own captions" if sampler.template is None else f"the caption {sampler.template}"
        raise InputError(f"no image of {examples.source} has a text by {template}; give other fields with `caption`")
    if len(kept) == len(examples):
        return examples
    log.info(f"{len(examples) - len(kept):,} of {len(examples):,} images have no caption and are left out")
    return select(examples, kept)


def _first_captions(examples: Examples, sampler: CaptionSampler) -> Iterator[str]:
    """Yield the captions of all rows in the first epoch."""
    with progress("captions", len(examples), "images") as bar:
        for start in range(0, len(examples), _AT_ONCE):
            rows = range(start, min(start + _AT_ONCE, len(examples)))
            yield from sampler.of(examples, rows, 0)
            bar.update(len(rows))


def open_rows(data: Path, ids: Path | None) -> Examples:
    """Return the images of `data`, or those of them whose ids are in the file `ids`, one a line."""
    examples = open_examples(data)
    if ids is None:
        return examples
    lines = read_lines(ids, "the list of ids")
    if not lines:
        raise InputError(f"the list of ids {ids} is empty; give one id a line")
    return only_ids(examples, lines)


def count_classes(data: Path, ids: Path | None = None, caption: str | None = None, seed: int = 0) -> list[ClassCount]:
    """Count the images of each class, and the captions of a run's first epoch that name it, whatever they show."""
    examples = open_rows(data, ids)
    classes = examples.classes
    if classes is None or not (examples.labels >= 0).any():
        raise InputError(f"{data} has no labels, so its classes cannot be counted; give labeled data")
    sampler = make_sampler(examples, None if caption is None else CaptionTemplate.parse(caption), seed)
    captions = (Texts(caption=caption) for caption in _first_captions(examples, sampler))
    mentions = Counter(place for named in find_named(captions, classes) for place in named)
    images = np.bincount(examples.labels[examples.labels >= 0], minlength=len(classes)).tolist()
    return [ClassCount(each, images[place], mentions[place]) for place, each in enumerate(classes)]


@dataclass(frozen=True)
class TorchDataset:
    """A map-style dataset; item `row` is a dictionary with `image`, `caption`, `label` (-1: unknown) and `image_id`.

    What a transform draws from torch's generator depends on the seed, the epoch of a `ResumableSampler` (or 0) and the
    row alone, and so do captions of a template with choices.
    """

    examples: Examples
    captions: CaptionSampler
    transform: Callable[[Image], Any] | None
    size: int
    seed: int

    @property
    def classes(self) -> list[str]:
        """Return the names of the classes, in the order of the labels."""
        return [class_.name for class_ in self.examples.classes or ()]

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return self.__getitems__([range(len(self))[row]])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return the items of a batch; torch's loader calls this, in a worker if it has any."""
        epoch = getattr(rows, "epoch", 0)
        labels = self.examples.labels
        return [
            {
                "image": self._image(row, epoch),
                "caption": caption,
                "label": int(labels[row]),
                "image_id": self.examples.image_id(row),
            }
            for row, caption in zip(rows, self.captions.of(self.examples, rows, epoch), strict=True)
        ]

    def _image(self, row: int, epoch: int) -> Any:
        import torch
        from PIL import Image

        from imagenet_captions.images.image_spec import ImageSpec
        from imagenet_captions.images.pixels import BrokenImage, EvalTransform, decode
        from imagenet_captions.training.batches import sample_seed

        data = self.examples.image(row)
        try:
            if self.transform is None:
                return EvalTransform(ImageSpec(size=self.size))(data)
            image = Image.fromarray(decode(data).permute(1, 2, 0).numpy())
        except BrokenImage as error:
            raise unusable(self.examples, row, error, "filter it out") from None
        with torch.random.fork_rng(devices=[]):  # a loop in this process draws from it too
            torch.default_generator.manual_seed(sample_seed(self.seed, epoch, row))
            return self.transform(image)


def unusable(examples: Examples, row: int, error: Exception, instead: str) -> InputError:
    """Build the error for an image that cannot be decoded."""
    image = f"the image {shortened(examples.image_id(row))} of {examples.source}"
    return InputError(f"{image} cannot be used ({error}); repair it, or {instead}")


def torch_dataset(
    data: str | os.PathLike[str],
    *,
    transform: Callable[[Image], Any] | None = None,
    caption: str | CaptionTemplate | None = None,
    size: int = 224,
    seed: int = 0,
) -> TorchDataset:
    """Open a dataset with images for torch's DataLoader, without the rows that have no image or no caption.

        data = ic.torch_dataset("imagenet-captions", transform=transform, caption="title tags")
        sampler = ic.ResumableSampler(data, batch_size=256)
        loader = DataLoader(data, batch_sampler=sampler, num_workers=8)

    `data` is anything that `train` reads. `transform` takes a PIL image in RGB; without it, an image is bytes
    [3, size, size] of its center. `caption` is a caption template; without it, captions are those of the dataset.
    Raises InputError if torch is missing, or there are no images.
    """
    require("train", "`torch_dataset`", "torch", "torchvision")
    template = CaptionTemplate.parse(caption) if isinstance(caption, str) else caption
    examples = open_examples(local_place(str(data)))
    captions = make_sampler(examples, template, seed)
    return TorchDataset(with_captions(examples, captions), captions, transform, size, seed)
