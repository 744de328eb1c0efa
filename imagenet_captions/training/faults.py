"""What goes wrong in training, in words: memory and disks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from imagenet_captions.errors import InputError
from imagenet_captions.training.settings import TrainSettings

_NO_MEMORY = ("allocate memory", "not enough memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
_NO_SPACE = ("PytorchStreamWriter failed", "No space left on device", "unexpected pos")


@contextmanager
def in_words(settings: TrainSettings) -> Iterator[None]:
    """Turn the faults that a user can mend into one sentence; everything else stays as it is."""
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise _out_of_memory(settings) from None
    except RuntimeError as error:
        said = str(error)
        if any(words in said for words in _NO_MEMORY):
            raise _out_of_memory(settings) from None
        if any(words in said for words in _NO_SPACE):
            raise InputError(
                f"{settings.out}: no space is left on the disk; the checkpoint before is whole: free some space and "
                f"run the same command again"
            ) from None
        raise


def _out_of_memory(settings: TrainSettings) -> InputError:
    recipe = settings.recipe
    return InputError(
        f"memory ran out with {settings.micro_batch} images a process at a time (--batch-size {recipe.batch_size}, "
        f"{settings.processes} processes, --accumulate {recipe.accumulate}, {recipe.precision} bits); lower "
        f"--batch-size, raise --accumulate or --devices, or try --precision bf16-mixed or --grad-checkpointing"
    )
