"""What is installed only when asked for: the extras of setup.cfg, and one sentence for what is missing."""

from __future__ import annotations

from importlib.util import find_spec

from imagenet_captions.errors import InputError

# The modules by which an extra is known to be there; setup.cfg names the packages that bring them.
_MODULES = {
    "train": ("torch", "torchvision", "lightning", "open_clip", "timm", "transformers", "tensorboard"),
    "ray": ("ray",),
}


def require(extra: str, what: str, *modules: str) -> None:
    """Refuse to go on without an extra, or without some of its modules, before anything is read.

    `what` is what the user asked for. Raises InputError with the first module that is missing, and how to install it.
    """
    missing = [module for module in modules or _MODULES[extra] if find_spec(module) is None]
    if missing:
        raise InputError(f"{what} needs {missing[0]}, which is not installed; {how_to_install(extra)}")


def how_to_install(extra: str) -> str:
    """Return the words that say how to install an extra; the project is on no package index, so from a clone.

    >>> how_to_install("train")
    "for the extra 'train' run pip install '.[train]' in a clone of imagenet-captions (see Install in its README)"
    """
    command = f"pip install '.[{extra}]'"
    return f"for the extra '{extra}' run {command} in a clone of imagenet-captions (see Install in its README)"
