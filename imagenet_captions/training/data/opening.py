"""Open the images that a run trains on, and count how often each class is in them and in their captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.errors import InputError
from imagenet_captions.images.examples import ClassCount, Examples, Texts, find_named, only_ids, open_examples
from imagenet_captions.storage.files import require_file
from imagenet_captions.training.data.captions import CaptionSampler, captions_of, make_sampler


def open_rows(data: Path, ids: Path | None) -> Examples:
    """Return the images of `data`, or those of them whose ids are in the file `ids`, one a line."""
    examples = open_examples(data)
    if ids is None:
        return examples
    lines = require_file(ids, "the list of ids").read_text(encoding="utf-8").splitlines()
    lines = [line.strip() for line in lines if line.strip()]
    if not lines:
        raise InputError(f"the list of ids {ids} is empty; give one id a line")
    return only_ids(examples, lines)


_AT_ONCE = 4096


def count_classes(data: Path, ids: Path | None = None, caption: str | None = None, seed: int = 0) -> list[ClassCount]:
    """Count the images and mentions of each class of the data as a run reads it.

    The captions are those of the run's first epoch: by the template `caption`, or else as the data has them. A caption
    counts once for each class that it names, whatever its image shows. Raises InputError for data without labels.
    """
    examples = open_rows(data, ids)
    classes = examples.classes
    if classes is None or not (examples.labels >= 0).any():
        raise InputError(f"{data} has no labels, so its classes cannot be counted; give labeled data")
    sampler = make_sampler(examples, None if caption is None else CaptionTemplate.parse(caption), seed)
    captions = _captions(examples, sampler)
    mentions = Counter(place for named in find_named(captions, classes) for place in named)
    images = np.bincount(examples.labels[examples.labels >= 0], minlength=len(classes)).tolist()
    return [ClassCount(each, images[place], mentions[place]) for place, each in enumerate(classes)]


def _captions(examples: Examples, sampler: CaptionSampler) -> Iterator[Texts]:
    for start in range(0, len(examples), _AT_ONCE):
        rows = range(start, min(start + _AT_ONCE, len(examples)))
        for caption in captions_of(examples, sampler, rows, epoch=0):
            yield Texts(caption=caption)
