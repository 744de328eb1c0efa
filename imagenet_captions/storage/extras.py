"""Check that an optional extra of setup.cfg is installed; used by every module that needs one."""

from __future__ import annotations

from importlib.util import find_spec

from imagenet_captions.errors import InputError

# The modules that show that an extra is installed; setup.cfg names the packages that bring them.
_MODULES = {
    "train": ("torch", "torchvision", "lightning", "open_clip", "timm", "transformers", "tensorboard"),
    "ray": ("ray",),
}


def require(extra: str, what: str, *modules: str) -> None:
    """Raise InputError unless an extra, or these modules of it, are installed; called before anything is read.

    `what` names what the user asked for. The error names the first missing module and how to install it.
    """
    missing = [module for module in modules or _MODULES[extra] if find_spec(module) is None]
    if missing:
        raise InputError(f"{what} needs {missing[0]}, which is not installed; {how_to_install(extra)}")


def how_to_install(extra: str) -> str:
    """Return how to install an extra, from a clone: the project is not on a package index.

    >>> how_to_install("train")
    "for the extra 'train' run pip install '.[train]' in a clone of imagenet-captions (see Install in its README)"
    """
    command = f"pip install '.[{extra}]'"
    return f"for the extra '{extra}' run {command} in a clone of imagenet-captions (see Install in its README)"
