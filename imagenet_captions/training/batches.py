"""Batches of a run, made by worker processes from any step on; any number of workers gives the same batches."""

from __future__ import annotations

import hashlib
import operator
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.data import DataLoader, default_convert, get_worker_info

from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.engines.local import count_readers
from imagenet_captions.errors import InputError
from imagenet_captions.images.examples import Class, Examples
from imagenet_captions.images.pixels import (
    BrokenImage,
    RandAugment,
    TrainTransform,
    TwoViews,
    read_batches,
    worker_context,
)
from imagenet_captions.models.model import Model
from imagenet_captions.training.data import CaptionSampler, make_sampler, unusable, with_captions
from imagenet_captions.training.processes import process_rank
from imagenet_captions.training.recipes import Recipe
from imagenet_captions.training.sampler import ShardedSampler, Share, step_size
from imagenet_captions.training.settings import TrainSettings

# A training transform: one image, or two views of it, of a generator that is seeded for the sample.
Transform = Callable[[bytes, torch.Generator], "torch.Tensor | tuple[torch.Tensor, torch.Tensor]"]
Tokenize = Callable[[Sequence[str]], torch.Tensor]

_SMALLEST_BLURRED = 64  # SimCLR's blur is left out for CIFAR's 32 pixels, appendix B.9 of the paper


@dataclass(frozen=True)
class Batch:
    """The images of a process in one step, as bytes [n, 3, size, size], with their captions or labels.

    `other` is SimCLR's second view; `labels` are -1 where unknown.
    """

    images: torch.Tensor
    other: torch.Tensor | None
    texts: tuple[str, ...]
    tokens: torch.Tensor | None
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: Any, non_blocking: bool = False) -> Batch:
        """Return the batch on a device."""
        return self.each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """Return the batch in memory that a GPU reads directly; torch's loader calls this."""
        return self.each(lambda tensor: tensor.pin_memory())

    def each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        """Return the batch with every tensor changed."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        changed: dict[str, Any] = {name: change(value) for name, value in tensors.items()}
        return replace(self, **changed)


class Loader:
    """The batches of samples, for a loop over them or for Lightning; `shares` says which ones.

    A broken image ends the run with an InputError that names it, at the step that it belongs to.
    """

    def __init__(self, samples: Samples, shares: Iterable[Share], workers: int, pin_memory: bool = False) -> None:
        settings: dict[str, Any] = {}
        if workers:
            context = worker_context(workers)
            settings = {"num_workers": workers, "persistent_workers": True, "multiprocessing_context": context}
        with warnings.catch_warnings():
            # More workers than cores are the user's choice; they may wait for a disk.
            warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
            self._loader: DataLoader[Any] = DataLoader(
                samples,  # type: ignore[arg-type]
                batch_sampler=shares,
                collate_fn=default_convert,
                pin_memory=pin_memory,
                **settings,
            )

    def __iter__(self) -> Iterator[Batch]:
        """Yield a batch for each share."""
        for batch in read_batches(self._loader):
            if isinstance(batch, InputError):
                raise batch
            yield batch

    def close(self) -> None:
        """End the worker processes; the garbage collector would wait five seconds for each."""
        if (iterator := self._loader._iterator) is not None:
            iterator._shutdown_workers()  # type: ignore[attr-defined]
            self._loader._iterator = None


@dataclass(frozen=True)
class Samples:
    """The examples as batches; a sample depends only on seed, epoch and row."""

    examples: Examples
    transform: Transform
    seed: int
    captions: CaptionSampler | None = None
    tokenize: Tokenize | None = None

    def __len__(self) -> int:
        return len(self.examples)

    def __getitems__(self, share: Share) -> Batch | InputError:
        """Return the batch of a share; torch's loader calls this in a worker.

        An error takes the batch's place, since torch would wrap it in a traceback.
        """
        try:
            views = self._views(share)
        except InputError as error:
            return error
        texts: tuple[str, ...] = ()
        tokens: torch.Tensor | None = None
        if self.captions is not None:
            texts = tuple(self.captions.of(self.examples, share, share.epoch))
            tokens = None if self.tokenize is None else self.tokenize(texts)
        return Batch(
            images=views[0],
            other=views[1] if len(views) > 1 else None,
            texts=texts,
            tokens=tokens,
            labels=torch.from_numpy(self.examples.labels[share]),
        )

    def _views(self, share: Share) -> list[torch.Tensor]:
        generator = torch.Generator()
        filled: list[torch.Tensor] = []
        for place, row in enumerate(share):
            generator.manual_seed(sample_seed(self.seed, share.epoch, row))
            try:
                made = self.transform(self.examples.image(row), generator)
            except BrokenImage as error:
                raise unusable(self.examples, row, error, "leave it out with `ids`") from None
            views = made if isinstance(made, tuple) else (made,)
            if not filled:
                filled = [_empty(len(share), view) for view in views]
            for target, view in zip(filled, views, strict=True):
                target[place] = view
        return filled


def sample_seed(seed: int, epoch: int, row: int) -> int:
    """Return the seed of all randomness in one sample."""
    digest = hashlib.blake2b(f"{seed} {epoch} {row}".encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big")


def _empty(count: int, like: torch.Tensor) -> torch.Tensor:
    """Return memory for images, channels last; in a worker it is shared, so that sending a batch copies nothing."""
    channels, height, width = like.shape
    if get_worker_info() is None:
        empty = torch.empty(count * like.numel(), dtype=like.dtype)
    else:
        shared = torch.UntypedStorage._new_shared(count * like.nbytes)  # type: ignore[no-untyped-call]
        empty = torch.empty(0, dtype=like.dtype).set_(shared)
    return empty.view(count, height, width, channels).permute(0, 3, 1, 2)


class Feed(Loader):
    """This process's micro-batches over all epochs, so that workers read ahead over an epoch's end."""

    def __init__(self, examples: Examples, head: Sequence[Class], model: Model, settings: TrainSettings) -> None:
        recipe = settings.recipe
        captions = None
        if recipe.needs.texts:
            wanted = None if recipe.caption is None else CaptionTemplate.parse(recipe.caption)
            captions = make_sampler(examples, wanted, settings.seed)
            examples = with_captions(examples, captions)
        self._micro_batches = recipe.accumulate
        self._labels: torch.Tensor | None = None
        if head:  # the index of each label among the head's classes, or -1 for a class without images
            places = {class_: place for place, class_ in enumerate(head)}
            self._labels = torch.tensor([places.get(class_, -1) for class_ in examples.classes or ()])
        self.images = len(examples)
        size = step_size(self.images, recipe.batch_size, settings.processes * recipe.accumulate)
        self._shares = ShardedSampler(self.images, size, settings.seed, process_rank(), settings.processes, True)
        tokenize = None if captions is None else model.tokenize
        samples = Samples(examples, _transform(recipe, model), settings.seed, captions, tokenize)
        readers = count_readers(settings.workers, settings.devices)
        super().__init__(samples, self._shares, readers, torch.cuda.is_available())
        self.step_size = size
        self.steps_per_epoch = len(self._shares)

    def start_at(self, step: int) -> None:
        """Begin at this step of the run."""
        self._shares.start(*divmod(step, self.steps_per_epoch))

    def __iter__(self) -> Iterator[Batch]:
        """Yield equal parts of each batch."""
        for batch in super().__iter__():
            if self._labels is not None:
                batch = replace(batch, labels=self._labels[batch.labels])
            size = len(batch) // self._micro_batches
            for start in range(0, len(batch), size):
                rows = slice(start, start + size)
                yield replace(batch.each(operator.itemgetter(rows)), texts=batch.texts[rows])


def _transform(recipe: Recipe, model: Model) -> Transform:
    if recipe.needs.views:
        return TwoViews(model.spec, recipe.crop_scale, recipe.colour, blur=model.spec.size >= _SMALLEST_BLURRED)
    augment = None
    if recipe.randaugment:
        operations, strength = recipe.randaugment
        red, green, blue = (round(255 * value) for value in model.spec.mean)
        augment = RandAugment(operations, strength, model.spec.size, (red, green, blue))
    return TrainTransform(model.spec, recipe.crop_scale, recipe.flip, recipe.crop, augment)
