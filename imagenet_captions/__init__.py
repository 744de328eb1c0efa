"""ImageNet-Captions: rebuild it, load it, filter it.

    import imagenet_captions as ic

    rows = ic.load("imagenet-captions", ic.in_class("dog") & ic.contains("title", "beach"))

Each name is imported when it is first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagenet_captions.captions.caption_template import CaptionTemplate
    from imagenet_captions.dataset.diff import diff
    from imagenet_captions.dataset.filtering import filter
    from imagenet_captions.dataset.filters import (
        contains,
        has,
        in_class,
        in_list,
        in_split,
        language,
        license_in,
        matches,
        names_class,
    )
    from imagenet_captions.dataset.loading import load
    from imagenet_captions.dataset.settings import FilterSettings
    from imagenet_captions.errors import (
        DiskFullError,
        ImagenetCaptionsError,
        InputError,
        NetworkError,
        NotFoundError,
        StoppedEarly,
    )
    from imagenet_captions.evaluation.compare import compare
    from imagenet_captions.evaluation.score import score
    from imagenet_captions.exports.export import export
    from imagenet_captions.exports.settings import ExportSettings
    from imagenet_captions.imagenet.classes import resolve
    from imagenet_captions.packager.package import verify
    from imagenet_captions.pipeline.build import build
    from imagenet_captions.pipeline.explain import explain
    from imagenet_captions.pipeline.settings import BuildSettings
    from imagenet_captions.publishing.publish import publish
    from imagenet_captions.statistics.collect import stats
    from imagenet_captions.storage.places import place
    from imagenet_captions.training.data import torch_dataset
    from imagenet_captions.training.sampler import ResumableSampler

    __version__: str

__all__ = [
    "BuildSettings",
    "CaptionTemplate",
    "DiskFullError",
    "ExportSettings",
    "FilterSettings",
    "ImagenetCaptionsError",
    "InputError",
    "NetworkError",
    "NotFoundError",
    "ResumableSampler",
    "StoppedEarly",
    "build",
    "compare",
    "contains",
    "diff",
    "explain",
    "export",
    "filter",
    "has",
    "in_class",
    "in_list",
    "in_split",
    "language",
    "license_in",
    "load",
    "matches",
    "names_class",
    "place",
    "publish",
    "resolve",
    "score",
    "stats",
    "torch_dataset",
    "verify",
]

# The names of each module; CaptionRecipe is the earlier name of CaptionTemplate.
_NAMES = {
    "captions.caption_template": "CaptionRecipe CaptionTemplate",
    "dataset.diff": "diff",
    "dataset.filtering": "filter",
    "dataset.filters": "contains has in_class in_list in_split language license_in matches names_class",
    "dataset.loading": "load",
    "dataset.settings": "FilterSettings",
    "errors": "ImagenetCaptionsError DiskFullError InputError NetworkError NotFoundError StoppedEarly",
    "evaluation.compare": "compare",
    "evaluation.score": "score",
    "exports.export": "export",
    "exports.settings": "ExportSettings",
    "imagenet.classes": "resolve",
    "packager.package": "verify",
    "pipeline.build": "BuildSettings build",
    "pipeline.explain": "explain",
    "publishing.publish": "publish",
    "statistics.collect": "stats",
    "storage.places": "place",
    "training.data": "torch_dataset",
    "training.sampler": "ResumableSampler",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("imagenet-captions")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value  # the next use finds it without asking here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
