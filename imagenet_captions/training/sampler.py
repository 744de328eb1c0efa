"""Which process gets which image, with any number of processes and workers.

Lightning's own DistributedSampler repeats images, so it is switched off for this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from imagenet_captions.errors import InputError

Rows = npt.NDArray[np.int64]


def step_size(images: int, batch_size: int, parts: int = 1) -> int:
    """Return the number of images of a step: a batch, or all of a smaller set, in `parts` equal parts.

    >>> step_size(100, 8), step_size(7, 8), step_size(7, 8, parts=2)
    (8, 7, 6)
    """
    if batch_size < 1 or batch_size % parts:
        raise InputError(
            f"a batch of {batch_size} images cannot be shared out evenly to {parts} processes; "
            f"give a `batch_size` that {parts} divides"
        )
    if images < parts:
        raise InputError(f"{images} images are too few for {parts} processes; use fewer processes")
    return min(batch_size, images - images % parts)


@dataclass(frozen=True)
class Share:
    """The rows of one process in a step."""

    epoch: int
    step: int
    rows: Rows


class ShardedSampler:
    """The batches of an epoch, each cut to the share of one of `world_size` processes.

    The order follows from seed and epoch. `batch_size` counts the images of all processes together, and step b's are
    the same ones for any number of processes, cut among them in order: run with two, a batch is that of one process,
    its first half here and its second half there.

    An epoch has an image at most once. The images left at its end, fewer than a batch, are not in it; since every epoch
    has another order, they are others each time. A set smaller than a batch is one batch.
    """

    def __init__(self, count: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self._count, self._seed = count, seed
        self.size = step_size(count, batch_size, world_size)
        share = self.size // world_size
        self._mine = slice(rank * share, (rank + 1) * share)
        self.epoch, self.first_step = 0, 0

    def __len__(self) -> int:
        """Return the number of steps in a whole epoch."""
        return self._count // self.size

    def start(self, epoch: int, step: int = 0) -> None:
        """Continue at this step of this epoch, as a resumed run does."""
        self.epoch, self.first_step = epoch, step

    def __iter__(self) -> Iterator[Share]:
        epoch, order = self.epoch, epoch_order(self._count, self._seed, self.epoch)
        for step in range(self.first_step, len(self)):
            batch = order[step * self.size : (step + 1) * self.size]
            yield Share(epoch, step, batch[self._mine])


def epoch_order(count: int, seed: int, epoch: int) -> Rows:
    """Return all rows in the order of an epoch."""
    order: Rows = np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(count)
    return order


_Batch = TypeVar("_Batch")


class EpochRows(list[int]):
    """The rows of a batch, with the epoch that they are for."""

    epoch = 0


class ResumableSampler:
    """Batches of rows in a seeded order, another one in each epoch, that go on in the middle of an epoch.

        loader = DataLoader(data, batch_sampler=sampler, num_workers=8)
        for epoch in range(sampler.epoch, 30):
            for batch in sampler.counted(loader):
                ...
                torch.save({"sampler": sampler.state_dict(), ...}, "last.pt")

    A loader's workers read ahead, so only `counted` knows which batches the loop has had. `batch_size` counts the rows
    of all processes together: each of `world_size` processes gets an equal share of every batch. A run may go on with
    another number of processes. The rows left at an epoch's end, fewer than a batch, are not in that epoch.
    """

    def __init__(self, data: Sized, batch_size: int, *, seed: int = 0, rank: int = 0, world_size: int = 1) -> None:
        if not 0 <= rank < world_size:
            raise InputError(f"`rank` must be at least 0 and below `world_size`, {world_size}, not {rank}")
        self._of = {"rows": len(data), "batch_size": batch_size, "seed": seed}
        self._sampler = ShardedSampler(len(data), batch_size, seed, rank, world_size)
        self._counting = self._ahead = False
        self.epoch, self.step = 0, 0  # of the batch that comes next

    def __len__(self) -> int:
        """Return the number of batches in a whole epoch."""
        return len(self._sampler)

    def __iter__(self) -> Iterator[EpochRows]:
        """Yield the batches of this epoch that are left."""
        self._ahead = not self._counting
        self._sampler.start(self.epoch, self.step)
        for share in self._sampler:
            rows = EpochRows(share.rows.tolist())
            rows.epoch = share.epoch
            yield rows

    def set_epoch(self, epoch: int) -> None:
        """Start an epoch from its first batch."""
        self.epoch, self.step, self._ahead = epoch, 0, False

    def counted(self, loader: Iterable[_Batch]) -> Iterator[_Batch]:
        """Yield the batches of a loader that reads with this sampler, to the end of the epoch, and count them."""
        self._counting = True
        try:
            for batch in loader:
                self.step += 1
                yield batch
        finally:
            self._counting = False
        self.set_epoch(self.epoch + 1)

    def state_dict(self) -> dict[str, int]:
        """Return the place of the next batch; a batch counts as done as soon as the loop has it.

        Raises InputError after a loop over the loader itself.
        """
        if self._ahead:
            raise InputError("the loader was read without `counted`, so its batches were not counted; loop over that")
        done = self.step == len(self)
        return {**self._of, "epoch": self.epoch + done, "step": 0 if done else self.step}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where a state was taken; raises InputError for one of other data, batches or another seed."""
        other = {name: state.get(name) for name, value in self._of.items() if state.get(name) != value}
        if other:
            here = ", ".join(f"{name} {self._of[name]}" for name in other)
            there = ", ".join(f"{name} {value}" for name, value in other.items())
            raise InputError(f"the state is of a sampler with {there}, and this one has {here}; make it alike")
        self.set_epoch(state["epoch"])
        self.step = state["step"]
