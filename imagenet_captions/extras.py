"""What is installed only when asked for: the extras of setup.cfg, and one sentence for the one that is missing."""

from __future__ import annotations

from importlib.util import find_spec

from imagenet_captions.errors import InputError

# The modules by which an extra is known to be there; setup.cfg names the packages that bring them.
_MODULES = {
    "train": ("torch", "torchvision", "lightning", "open_clip", "timm", "transformers", "sklearn"),
}


def require(extra: str, what: str) -> None:
    """Refuse to go on without an extra, before anything is read: `what` is what the user asked for.

    Raises InputError with the first module that is missing and the command that installs it.
    """
    missing = [module for module in _MODULES[extra] if find_spec(module) is None]
    if missing:
        raise InputError(f"{what} needs {missing[0]}; install it with: pip install 'imagenet-captions[{extra}]'")
