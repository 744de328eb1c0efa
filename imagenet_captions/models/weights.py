"""Weights of a model: write them, load them into a module that fits them, or say in one sentence why not."""

from __future__ import annotations

import hashlib
import logging
import pickle
import stat
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub import errors
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from imagenet_captions.errors import ImagenetCaptionsError, InputError, shortened
from imagenet_captions.storage.faults import causes_of

DESCRIPTION = "the model's description"  # what an error calls a JSON file that says how a model is built
# Raised by torch and the libraries for files that hold no model. A pickle that would run code is an UnpicklingError.
UNREADABLE: tuple[type[Exception], ...] = (
    *(SafetensorError, pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError, OSError, ValueError),
    *(LookupError, TypeError, AttributeError, AssertionError, ImportError, ArithmeticError, MemoryError),
    getattr(errors, "StrictDataclassError", ValueError),  # of a newer hub's client, for transformers' configurations
)


def write_weights(state: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write weights as safetensors, with the rights of any new file; safetensors itself lets only the owner read."""
    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)
    save_file({key: value.detach().cpu().contiguous().clone() for key, value in state.items()}, path, metadata)
    path.chmod(mode)


def weights_digest(module: nn.Module) -> str:
    """Return a SHA-256 over the names, types, shapes and values of all weights, in whichever file they came."""
    found = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        found.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def put_weights(module: nn.Module, state: Mapping[str, Tensor], source: object) -> None:
    """Load weights into a module; raises InputError, with torch's reason, if they are not exactly the module's."""
    try:
        module.load_state_dict(dict(state))
    except RuntimeError as error:
        said = shortened(" ".join(str(error).split()), 300)
        raise InputError(
            f"the weights of {source} do not fit the model ({said}); give the model they were made for"
        ) from None


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what libraries log, and torch's warnings about a file's kind; what cannot be read is an error anyway."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol|'torch.load' received a zip", UserWarning)
            yield
    finally:
        logging.disable(before)


@contextmanager
def explaining_faults(source: str) -> Iterator[None]:
    """Turn whatever a library raises about a model's files, which may come from strangers, into one sentence."""
    try:
        yield
    except UNREADABLE as error:
        # An error of the operating system names its file; torch's, of a checkpoint that is cut off, does not.
        if isinstance(error, ImagenetCaptionsError) or getattr(error, "filename", None):
            raise
        said = f"{type(error).__name__}: {reason(error)}" if isinstance(error, LookupError) else reason(error)
        raise InputError(
            f"{source} cannot be loaded ({said}); get it again, or the version of the library that it was made with"
        ) from error


def reason(error: BaseException) -> str:
    """Return in a few words why weights could not be read."""
    causes = list(causes_of(error))
    if any("TorchScript" in str(cause) for cause in causes):
        return "a TorchScript archive, whose code is never run; docs/reference/models.md shows how to convert one"
    if any(isinstance(cause, pickle.UnpicklingError) for cause in causes):
        return "they are not plain values, or come with code, which is never run"
    return shortened(str(error).strip() or type(error).__name__, 100)
