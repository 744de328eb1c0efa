"""Which process gets which image, with any number of processes and workers, in place of Lightning's own sampler."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import TypeVar

import numpy as np

from imagenet_captions.errors import InputError

_Batch = TypeVar("_Batch")


def step_size(images: int, batch_size: int, parts: int = 1) -> int:
    """Return the number of images of a step: a batch, or all of a smaller set, in `parts` equal parts."""
    if batch_size < 1 or batch_size % parts:
        raise InputError(
            f"a batch of {batch_size} images cannot be shared out evenly to {parts} processes; "
            f"give a `batch_size` that {parts} divides"
        )
    if images < parts:
        raise InputError(f"{images} images are too few for {parts} processes; use fewer processes")
    return min(batch_size, images - images % parts)


class Share(list[int]):
    """The rows of one process in a step, with the epoch that they are for."""

    epoch = 0


class ShardedSampler:
    """The batches of an epoch, each cut to the share of one of `world_size` processes; `endless` goes on with the next.

    The order follows from seed and epoch. `batch_size` counts the images of all processes together, and a step's are
    the same ones for any number of processes. The images left at an epoch's end, fewer than a batch, are not in it.
    """

    def __init__(
        self, count: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1, endless: bool = False
    ) -> None:
        self._count, self._seed, self._endless = count, seed, endless
        self.size = step_size(count, batch_size, world_size)
        share = self.size // world_size
        self._mine = slice(rank * share, (rank + 1) * share)
        self._place = 0, 0

    def __len__(self) -> int:
        """Return the number of steps in a whole epoch."""
        return self._count // self.size

    def start(self, epoch: int, step: int = 0) -> None:
        """Continue at this step of this epoch, as a resumed run does."""
        self._place = epoch, step

    def __iter__(self) -> Iterator[Share]:
        epoch, first = self._place
        while True:
            order = np.random.Generator(np.random.Philox(key=[self._seed, epoch])).permutation(self._count)
            for step in range(first, len(self)):
                batch = order[step * self.size : (step + 1) * self.size]
                share = Share(batch[self._mine].tolist())
                share.epoch = epoch
                yield share
            if not self._endless:
                return
            epoch, first = epoch + 1, 0


class ResumableSampler:
    """Batches of rows in a seeded order, another one in each epoch, that go on in the middle of an epoch.

        loader = DataLoader(data, batch_sampler=sampler, num_workers=8)
        for epoch in range(sampler.epoch, 30):
            for batch in sampler.counted(loader):
                ...
                torch.save({"sampler": sampler.state_dict(), ...}, "last.pt")

    A loader's workers read ahead, so only `counted` knows which batches the loop has had. `batch_size` counts the rows
    of all processes together, which share each batch equally; a run may go on with another number of them. The rows
    left at an epoch's end, fewer than a batch, are not in that epoch.
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

    def __iter__(self) -> Iterator[Share]:
        """Yield the batches of this epoch that are left."""
        self._ahead = not self._counting
        self._sampler.start(self.epoch, self.step)
        yield from self._sampler

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
