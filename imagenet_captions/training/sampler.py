"""Which process gets which image: each image once in an epoch, with any number of processes and workers.

Lightning's own DistributedSampler repeats images; it is switched off for this one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from imagenet_captions.errors import InputError

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Share:
    """One process's part of a step: `rows` of the examples, `shares[rank]` of them; the other processes have the
    others.

    With unequal shares, the mean of the processes' mean losses is not that of the whole batch; it is so for losses
    that are multiplied by `weight`.
    """

    epoch: int
    step: int
    rank: int
    rows: Rows
    shares: tuple[int, ...]

    @property
    def weight(self) -> float:
        """This process's number of images, divided by the mean over all processes."""
        return self.shares[self.rank] * len(self.shares) / sum(self.shares)


class ShardedSampler:
    """The batches of an epoch, each cut to the share of one of `world_size` processes.

    The order follows from seed and epoch. `batch_size` counts the images of all processes together, and step b's are
    the same ones for any number of processes, cut among them in order: run with two, a batch is that of one process,
    its first half here and its second half there.

    An epoch has every image once. What is left at its end, fewer images than a batch, shares the last two batches
    evenly with what was there, so that none is tiny and none is larger than the others. There a process may have one
    image more than another (`Share.shares` says so); each has at least one, and all take the same number of steps.
    """

    def __init__(self, count: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        if batch_size < 1 or batch_size % world_size:
            raise InputError(
                f"a batch of {batch_size} images cannot be shared out evenly to {world_size} processes; "
                f"give a `batch_size` that {world_size} divides"
            )
        if count < world_size:
            raise InputError(f"{count} images are too few for {world_size} processes; use fewer processes")
        self._count, self._seed, self._rank, self._world_size = count, seed, rank, world_size
        self._bounds = batch_bounds(count, batch_size, world_size)
        self.epoch, self.first_step = 0, 0

    def __len__(self) -> int:
        """Return the number of steps in a whole epoch."""
        return len(self._bounds)

    def start(self, epoch: int, step: int = 0) -> None:
        """Continue at this step of this epoch, as a resumed run does."""
        self.epoch, self.first_step = epoch, step

    def __iter__(self) -> Iterator[Share]:
        epoch, order = self.epoch, epoch_order(self._count, self._seed, self.epoch)
        for step in range(self.first_step, len(self._bounds)):
            first, last = self._bounds[step]
            cuts = [(last - first) * rank // self._world_size for rank in range(self._world_size + 1)]
            mine = order[first + cuts[self._rank] : first + cuts[self._rank + 1]]
            yield Share(epoch, step, self._rank, mine, tuple(b - a for a, b in pairwise(cuts)))


def epoch_order(count: int, seed: int, epoch: int) -> Rows:
    """Return all rows in the order of an epoch.

    >>> epoch_order(5, seed=0, epoch=1).tolist() == epoch_order(5, seed=0, epoch=1).tolist()
    True
    """
    order: Rows = np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(count)
    return order


def batch_bounds(count: int, batch_size: int, at_least: int = 1) -> list[tuple[int, int]]:
    """Return where each batch of an epoch starts and ends; the last two are evened out if one would be incomplete.

    No batch has fewer than `at_least` images, so that each process has one: then the last batch takes the rest in.

    >>> batch_bounds(20, 8)
    [(0, 8), (8, 14), (14, 20)]
    >>> batch_bounds(9, 4, at_least=4)
    [(0, 4), (4, 9)]
    """
    whole, rest = divmod(count, batch_size)
    ends = [batch_size * number for number in range(whole + 1)]
    if rest and whole:
        ends.pop()
        together = batch_size + rest
        if together // 2 >= at_least:
            ends.append(ends[-1] + (together + 1) // 2)
    if rest:
        ends.append(count)
    return list(pairwise(ends))


def images_seen(steps: int, images: int, batch_size: int, processes: int = 1) -> int:
    """Return how many images a number of steps has seen; repeated images count each time.

    >>> images_seen(3, images=20, batch_size=8), images_seen(4, images=20, batch_size=8)
    (20, 28)
    """
    bounds = batch_bounds(images, batch_size, processes)
    epochs, rest = divmod(steps, len(bounds))
    return epochs * images + (bounds[rest - 1][1] if rest else 0)


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
    of all processes together: each of `world_size` processes gets its share of every batch, and every row is with one
    process once an epoch. A run may go on with another number of processes. The last two batches of an epoch share the
    rows that are left.
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
