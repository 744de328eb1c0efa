"""The captions that a model is trained on: composed by a caption template, drawn again in every epoch.

A template is a `CaptionTemplate`, and `compose_captions` makes the captions, so that a column and a training batch
follow the same rules. Classes are given as `examples.Class`, since a name alone has no other names.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from imagenet_captions.captions.caption_template import CLASS_NAME, OPEN_CLIP_80, CaptionTemplate
from imagenet_captions.captions.compose import compose_captions, names_of
from imagenet_captions.dataset.manifest import read_manifest
from imagenet_captions.errors import InputError
from imagenet_captions.imagenet.image_ids import wnid_of
from imagenet_captions.images.examples import Class, Examples, Texts, select, spread_rows
from imagenet_captions.storage.outputs import is_dataset
from imagenet_captions.storage.progress import progress

log = logging.getLogger(__name__)

CLASS_NAMES_ONLY = CaptionTemplate((CLASS_NAME,), template=OPEN_CLIP_80)
_LOOKED_AT = 1000
_AT_ONCE = 4096


@dataclass(frozen=True)
class CaptionSampler:
    """Captions by a template, or stored ones without; random choices depend on the seed, the id and the epoch.

    A template's own seed is added to `seed`. A row with nothing but a caption, as in an open_clip CSV, uses it for the
    template's first text field.

    >>> sampler = CaptionSampler(CaptionTemplate.parse("title|description"), seed=0)
    >>> texts = Texts(title="A fish", description="caught by me")
    >>> [sampler(texts, None, "n01440764_17", epoch) for epoch in range(3)]
    ['caught by me', 'A fish', 'caught by me']
    """

    template: CaptionTemplate | None
    seed: int

    def __call__(self, texts: Texts, class_: Class | None, image_id: str, epoch: int) -> str:
        """Return the caption of one image, or "" if it has none."""
        return self.batch([texts], [class_], [image_id], epoch)[0]

    def batch(
        self, texts: Sequence[Texts], classes: Sequence[Class | None], image_ids: Sequence[str], epoch: int
    ) -> list[str]:
        """Return the captions of several images; one takes a few microseconds."""
        if self.template is None:
            return [text.caption for text in texts]
        template = replace(self.template, seed=self.template.seed + self.seed)
        wanted = [_standing_in(text, template) for text in texts]
        rows = {
            "image_id": pa.array(image_ids, pa.string()),
            "title": pa.array([text.title for text in wanted], pa.string()),
            "tags": pa.array([text.tags for text in wanted], pa.list_(pa.string())),
            "description": pa.array([text.description for text in wanted], pa.string()),
        }
        if CLASS_NAME in template.fields:
            names = list(map(_names, classes, image_ids, [template.names] * len(wanted)))
            rows["class_names"] = pa.array(names, pa.list_(pa.string()))
        captions: list[str] = compose_captions(template, rows, epoch).to_pylist()
        return captions


def make_sampler(examples: Examples, template: CaptionTemplate | None, seed: int) -> CaptionSampler:
    """Return the captions of examples: by the template if there is one, else the stored ones, else from their texts.

    Where the examples are a dataset as published, a title that is a camera's file name is part of its captions too.
    Without any texts, the names of the classes are put into open_clip's sentences, and the log says so.
    Raises InputError if there are no classes either.
    """
    texts = [examples.texts(row) for row in spread_rows(len(examples), _LOOKED_AT)]
    if not any(text != Texts() for text in texts):
        if template is not None and CLASS_NAME in template.fields:
            return CaptionSampler(template, seed)
        if examples.classes is None:
            raise InputError(f"{examples.source} has neither texts nor labels, so there is nothing to make captions of")
        log.info("%s has no texts; captions are made of its class names: %s", examples.source, CLASS_NAMES_ONLY)
        return CaptionSampler(CLASS_NAMES_ONLY, seed)
    if template is None and not any(text.caption for text in texts):
        template = CaptionTemplate()
    if template is not None and is_dataset(examples.source) and read_manifest(examples.source).as_published:
        template = template.with_camera_names()
    return CaptionSampler(template, seed)


def with_captions(examples: Examples, sampler: CaptionSampler) -> Examples:
    """Return the examples that have a caption; they are the same in every epoch.

    Says how many are left out. Raises InputError if none has one.
    """
    kept = np.flatnonzero(np.fromiter(_has_caption(examples, sampler), bool, len(examples)))
    if not len(kept):
        template = "its own captions" if sampler.template is None else f"the caption {sampler.template}"
        raise InputError(f"no image of {examples.source} has a text by {template}; give other fields with `caption`")
    if len(kept) == len(examples):
        return examples
    log.info("%s of %s images have no caption and are left out", f"{len(examples) - len(kept):,}", f"{len(examples):,}")
    return select(examples, kept)


def captions_of(examples: Examples, sampler: CaptionSampler, rows: Sequence[int], epoch: int) -> list[str]:
    """Return the captions of some rows in an epoch."""
    classes, labels = examples.classes, examples.labels
    return sampler.batch(
        [examples.texts(row) for row in rows],
        [classes[labels[row]] if classes is not None and labels[row] >= 0 else None for row in rows],
        [examples.image_id(row) for row in rows],
        epoch,
    )


def _has_caption(examples: Examples, sampler: CaptionSampler) -> Iterator[bool]:
    with progress("captions", len(examples), "images") as bar:
        for start in range(0, len(examples), _AT_ONCE):
            rows = range(start, min(start + _AT_ONCE, len(examples)))
            for caption in captions_of(examples, sampler, rows, 0):
                yield caption.strip() != ""
            bar.update(len(rows))


def _standing_in(texts: Texts, template: CaptionTemplate) -> Texts:
    """Return the texts, with the caption as the template's first text field if there are no other texts."""
    if not texts.caption or texts.title or texts.description or texts.tags or not template.text_fields:
        return texts
    first = template.text_fields[0]
    if first == "tags":
        return Texts(tags=(texts.caption,))
    return Texts(title=texts.caption) if first == "title" else Texts(description=texts.caption)


def _names(class_: Class | None, image_id: str, names: str) -> tuple[str, ...]:
    if class_ is None:
        return names_of(wnid_of(image_id), names)
    return (names_of(class_.key, names) if names == "wordnet" else ()) or (class_.name,)
