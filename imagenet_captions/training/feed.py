"""The batches of a whole run, from the step at which it starts or goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from imagenet_captions.examples import Class, Examples
from imagenet_captions.models.model import Model
from imagenet_captions.pixels import TrainTransform, TwoViews
from imagenet_captions.training.prepare import head_labels
from imagenet_captions.training.processes import process_rank
from imagenet_captions.training.recipe import CONTRASTIVE, SIMCLR
from imagenet_captions.training.settings import TrainSettings


class Feed:
    """Iterable over the batches of this process."""

    def __init__(
        self, examples: Examples, head: Sequence[Class], model: Model, settings: TrainSettings, start: int
    ) -> None:
        self._examples = examples
        self._labels = head_labels(examples, head)
        self._model = model
        self._settings = settings
        self._start = start
        self.steps_per_epoch = len(examples) // settings.recipe.batch_size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        rank = process_rank()
        recipe, spec = self._settings.recipe, self._model.spec
        one = TrainTransform(spec, recipe.crop_scale, recipe.flip)
        two = TwoViews(spec, recipe.crop_scale, recipe.colour, blur=spec.size > 64)
        step = self._start
        while True:
            epoch, place = divmod(step, self.steps_per_epoch)
            order = torch.randperm(len(self._examples), generator=torch.Generator().manual_seed(epoch)).tolist()
            share = self._settings.micro_batch
            for micro in range(recipe.accumulate):
                at = place * recipe.batch_size + (micro * self._settings.processes + rank) * share
                rows = order[at : at + share]
                generators = [torch.Generator().manual_seed(epoch * 1_000_003 + row) for row in rows]
                images = [self._examples.image(row) for row in rows]
                batch: dict[str, Any] = {}
                if recipe.objective == SIMCLR:
                    views = [two(image, generator) for image, generator in zip(images, generators, strict=True)]
                    batch["pixels"] = torch.stack([view for view, _ in views])
                    batch["other_pixels"] = torch.stack([view for _, view in views])
                else:
                    batch["pixels"] = torch.stack(
                        [one(image, generator) for image, generator in zip(images, generators, strict=True)]
                    )
                    if recipe.objective == CONTRASTIVE:
                        texts = [self._examples.texts(row) for row in rows]
                        batch["tokens"] = self._model.tokenize([text.caption or text.title for text in texts])
                    else:
                        batch["labels"] = torch.tensor(self._labels[self._examples.labels[rows]])
                yield batch
            step += 1
