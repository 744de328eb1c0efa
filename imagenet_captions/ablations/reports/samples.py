"""Three samples of an arm as its model got them: pictures from the loader that trains it, and the texts."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from imagenet_captions.ablations.reports.results import TextSample
from imagenet_captions.ablations.table import Run
from imagenet_captions.ablations.testing import Fitting
from imagenet_captions.evaluation.classifiers import read_prompts
from imagenet_captions.images.examples import Class, Examples, select
from imagenet_captions.images.image_spec import CLIP_224, ImageSpec
from imagenet_captions.images.pixels import EvalTransform
from imagenet_captions.storage.files import read_json, replacing, write_json
from imagenet_captions.training.batches import Feed
from imagenet_captions.training.settings import TrainSettings
from imagenet_captions.training.train import make_model, open_training_set

SHOWN = 3


def training_samples(run: Run, settings: TrainSettings, folder: Path) -> list[TextSample]:
    """Return the first images of a run's first step, which are written beside the report once."""
    told = folder / f"{run.name}.json"
    if not told.is_file():
        examples, head = open_training_set(settings)
        batch = next(iter(Feed(examples, head, make_model(settings, head), settings)))
        samples = [
            TextSample(
                pictures=tuple(
                    _write_picture(views[at], folder / f"{run.name}-{at}{end}.png")
                    for views, end in ((batch.images, ""), (batch.other, "-other-view"))
                    if views is not None
                ),
                text=batch.texts[at] if batch.texts else "",
                label=head[int(batch.labels[at])].name if head else "",
            )
            for at in range(min(SHOWN, len(batch)))
        ]
        write_json(told, [asdict(sample) for sample in samples])
    return _read(told)


def test_samples(
    run: Run, classes: Sequence[Class], fitting: tuple[Examples, Fitting] | None, folder: Path
) -> list[TextSample]:
    """Return samples of what a classifier is made from: sentences, or labeled images."""
    told = folder / f"{run.name}.json"
    if not told.is_file():
        if fitting is None:
            sentences = read_prompts(run.prompts)
            shown = [(sentences[at % len(sentences)], each.name) for at, each in enumerate(classes[:SHOWN])]
            samples = [TextSample((), sentence.replace("{}", name), name) for sentence, name in shown]
        else:
            samples = _labelled(run, *fitting, folder)
        write_json(told, [asdict(sample) for sample in samples])
    return _read(told)


def _labelled(run: Run, examples: Examples, fitting: Fitting, folder: Path) -> list[TextSample]:
    rows = [row for row in range(len(examples)) if examples.image_id(row) in fitting.ids]
    rows = rows[:: max(1, len(rows) // SHOWN)][:SHOWN]  # most sets are sorted by class
    some, transform = select(examples, rows), EvalTransform(_spec_of(examples))
    return [
        TextSample(
            (_write_picture(transform(some.image(at)), folder / f"{run.name}-{at}.png"),),
            "",
            some.classes[int(some.labels[at])].name if some.classes else "",
        )
        for at in range(len(some))
    ]


def _spec_of(examples: Examples) -> ImageSpec:
    """Return the size of the pictures: their own, but at most 224 pixels a side."""
    with Image.open(io.BytesIO(examples.image(0))) as picture:
        return ImageSpec(size=min(CLIP_224.size, *picture.size))


def _write_picture(pixels: torch.Tensor, path: Path) -> str:
    """Write uint8 [3, h, w] as a PNG, pixel by pixel, and return the file's name."""
    shown = Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))
    with replacing(path) as partial:
        shown.save(partial, "PNG")
    return path.name


def _read(told: Path) -> list[TextSample]:
    return read_json(told, list[TextSample], "the record of samples")
