"""A batch sampler for torch's DataLoader whose state says which batches a training loop has had."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import TypeVar

from imagenet_captions.errors import InputError
from imagenet_captions.training.data.sampler import ShardedSampler

_Batch = TypeVar("_Batch")


class Rows(list[int]):
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

    def __iter__(self) -> Iterator[Rows]:
        """Yield the batches of this epoch that are left."""
        self._ahead = not self._counting
        self._sampler.start(self.epoch, self.step)
        for share in self._sampler:
            rows = Rows(share.rows.tolist())
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
