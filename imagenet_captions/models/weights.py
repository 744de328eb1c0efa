"""Weights of a model: find and read their file, and load them into a module that fits them."""

from __future__ import annotations

import hashlib
import pickle
import stat
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import errors
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from imagenet_captions.errors import ImagenetCaptionsError, InputError, shortened
from imagenet_captions.storage.faults import causes_of
from imagenet_captions.storage.files import require_file

DESCRIPTION = "the model's description"  # what an error calls a JSON file that says how a model is built
_NAMED = 3
# Raised by torch and transformers for files without weights. A pickle that would run code is an UnpicklingError.
UNREADABLE: tuple[type[Exception], ...] = (
    *(SafetensorError, pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError, OSError, ValueError),
    *(KeyError, IndexError, TypeError, AttributeError, AssertionError, ImportError),
    getattr(errors, "StrictDataclassError", ValueError),  # of a newer hub's client, for transformers' configurations
)
_FAULTS: tuple[type[Exception], ...] = (*UNREADABLE, ArithmeticError, MemoryError)


def read_weights(path: Path, what: str = "weights") -> Any:
    """Read a weights file: safetensors, or torch's format with nothing but values in it.

    Raises InputError for any other file; no code of a file is ever run.
    """
    require_file(path, what)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with quiet_torch_load():
            return torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise InputError(
            f"{path} has no readable weights ({reason(error)}); give a .safetensors file or one that"
            " torch.load(weights_only=True) reads"
        ) from None


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


@contextmanager
def quiet_torch_load() -> Iterator[None]:
    """Silence torch's warnings about a file's kind; a file that it cannot read, or would run, raises its own error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected pickle protocol|'torch.load' received a zip", UserWarning)
        yield


def state_of(loaded: Any, path: Path) -> dict[str, Tensor]:
    """Return the weights in a file's content, which may also be a training checkpoint around them.

    >>> state_of({"epoch": 3, "state_dict": {"module.fc.bias": torch.zeros(2)}}, Path("epoch_3.pt"))
    {'fc.bias': tensor([0., 0.])}
    """
    for key in ("state_dict", "model_state_dict", "state_dict_ema", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise InputError(f"{path} holds no weights by name; give the file of a model's state_dict")
    state = {str(key): value for key, value in loaded.items()}
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def put_weights(module: nn.Module, state: Mapping[str, Tensor], source: object) -> None:
    """Load weights into a module, and refuse missing and unknown ones.

    Raises InputError that names the first weights which are missing, unknown or of another shape.
    """
    wanted = module.state_dict()
    missing = [key for key in wanted if key not in state]
    unknown = [key for key in state if key not in wanted]
    shapes = [
        f"{key} {tuple(state[key].shape)} for {tuple(wanted[key].shape)}"
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]
    faults = [
        f"{len(keys)} {word} ({', '.join(keys[:_NAMED])}{', …' if len(keys) > _NAMED else ''})"
        for word, keys in (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
        if keys
    ]
    if faults:
        raise InputError(
            f"the weights of {source} do not fit the model: {'; '.join(faults)}; give the model they were made for"
        )
    module.load_state_dict(dict(state))


@contextmanager
def explaining_faults(source: str) -> Iterator[None]:
    """Turn whatever a library raises about a model's files, which may come from strangers, into one sentence."""
    try:
        yield
    except _FAULTS as error:
        if isinstance(error, ImagenetCaptionsError) or getattr(error, "errno", None):
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


def find_weights(folder: Path, names: Sequence[str]) -> Path:
    """Return the folder's weights file: the first of the names that exists, else the only candidate."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    others = sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", ".pt", ".pth"))
    if len(others) == 1:
        return others[0]
    found = f"has {len(others)} files that could be" if others else "has no"
    raise InputError(f"{folder} {found} weights; name them {names[0]}")
