"""The batches of a whole run, from the step at which it starts or resumes."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch

from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.images.examples import Class, Examples
from imagenet_captions.images.pixels import RandAugment, TrainTransform, TwoViews
from imagenet_captions.models.model import Model
from imagenet_captions.training.data.batches import Batch, Loader, Samples, Transform
from imagenet_captions.training.data.captions import make_sampler, with_captions
from imagenet_captions.training.data.sampler import ShardedSampler, Share
from imagenet_captions.training.prepare import head_labels
from imagenet_captions.training.processes import process_rank
from imagenet_captions.training.recipe import CONTRASTIVE, SIMCLR, Recipe
from imagenet_captions.training.settings import TrainSettings

_SMALLEST_BLURRED = 64  # SimCLR's blur is left out for CIFAR's 32 pixels, appendix B.9 of the paper


class Feed:
    """Yield this process's batches, one for each micro-batch, over all epochs.

    One stream of all epochs, so that workers read ahead over an epoch's end and a run goes on at any step.
    """

    def __init__(self, examples: Examples, head: Sequence[Class], model: Model, settings: TrainSettings) -> None:
        recipe = settings.recipe
        captions = None
        if recipe.objective == CONTRASTIVE:
            wanted = None if recipe.caption is None else CaptionTemplate.parse(recipe.caption)
            captions = make_sampler(examples, wanted, settings.seed)
            examples = with_captions(examples, captions)
        self._micro_batches = recipe.accumulate
        self._labels = None if not head else torch.from_numpy(head_labels(examples, head))
        self._sampler = ShardedSampler(
            len(examples), recipe.batch_size, settings.seed, process_rank(), settings.processes
        )
        tokenize = None if captions is None else model.tokenize
        samples = Samples(examples, _transform(recipe, model), settings.seed, captions, tokenize)
        self._stream = _Stream(self._sampler)
        self._loader = Loader(samples, self._stream, settings.readers, torch.cuda.is_available())
        self.images = len(examples)
        self.steps_per_epoch = len(self._sampler)

    @property
    def start(self) -> int:
        """The step of the run at which the batches begin."""
        return self._stream.start

    @start.setter
    def start(self, step: int) -> None:
        self._stream.start = step

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._loader:
            if self._labels is not None:
                batch = replace(batch, labels=self._labels[batch.labels])
            yield from micro_batches(batch, process_rank(), self._micro_batches)


@dataclass
class _Stream:
    """Yield the shares of one epoch after another, without end."""

    sampler: ShardedSampler
    start: int = 0

    def __iter__(self) -> Iterator[Share]:
        epoch, step = divmod(self.start, len(self.sampler))
        while True:
            self.sampler.start(epoch, step)
            yield from self.sampler
            epoch, step = epoch + 1, 0


def micro_batches(batch: Batch, rank: int, count: int) -> Iterator[Batch]:
    """Split a step's images into `count` parts, with weights that make the parts' mean that of the whole step.

    All processes cut their share at the same fractions, so that part k is over the same images for any loss that
    gathers from all.
    """
    if count == 1:
        yield batch
        return
    cuts = [[share * part // count for part in range(count + 1)] for share in batch.shares]
    for part, (start, end) in enumerate(pairwise(cuts[rank])):
        shares = tuple(cut[part + 1] - cut[part] for cut in cuts)
        weight = shares[rank] * len(shares) * count / sum(batch.shares)
        rows = slice(start, end)
        tensors = batch.each(operator.itemgetter(rows))
        yield replace(tensors, texts=batch.texts[rows], shares=shares, weight=weight)


def _transform(recipe: Recipe, model: Model) -> Transform:
    if recipe.objective == SIMCLR:
        return TwoViews(model.spec, recipe.crop_scale, recipe.colour, blur=model.spec.size >= _SMALLEST_BLURRED)
    augment = None
    if recipe.randaugment:
        operations, strength = recipe.randaugment
        red, green, blue = (round(255 * value) for value in model.spec.mean)
        augment = RandAugment(operations, strength, model.spec.size, (red, green, blue))
    return TrainTransform(model.spec, recipe.crop_scale, recipe.flip, recipe.crop, augment)
