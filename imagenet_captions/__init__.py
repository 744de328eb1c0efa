"""ImageNet-Captions: rebuild it, load it, filter it.

    import imagenet_captions as ic

    rows = ic.load("imagenet-captions", ic.in_class("dog") & ic.contains("title", "beach"))

Each name is imported when it is first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imagenet_captions.captions.caption_template import CaptionTemplate as CaptionTemplate
    from imagenet_captions.dataset.diff import diff as diff
    from imagenet_captions.dataset.filtering import filter as filter
    from imagenet_captions.dataset.filters import contains as contains
    from imagenet_captions.dataset.filters import has as has
    from imagenet_captions.dataset.filters import in_class as in_class
    from imagenet_captions.dataset.filters import in_list as in_list
    from imagenet_captions.dataset.filters import in_split as in_split
    from imagenet_captions.dataset.filters import language as language
    from imagenet_captions.dataset.filters import license_in as license_in
    from imagenet_captions.dataset.filters import matches as matches
    from imagenet_captions.dataset.filters import names_class as names_class
    from imagenet_captions.dataset.loading import load as load
    from imagenet_captions.dataset.settings import FilterSettings as FilterSettings
    from imagenet_captions.errors import DiskFullError as DiskFullError
    from imagenet_captions.errors import ImagenetCaptionsError as ImagenetCaptionsError
    from imagenet_captions.errors import InputError as InputError
    from imagenet_captions.errors import NetworkError as NetworkError
    from imagenet_captions.errors import NotFoundError as NotFoundError
    from imagenet_captions.errors import StoppedEarly as StoppedEarly
    from imagenet_captions.evaluation.compare import compare as compare
    from imagenet_captions.evaluation.score import score as score
    from imagenet_captions.exports.export import export as export
    from imagenet_captions.exports.settings import ExportSettings as ExportSettings
    from imagenet_captions.imagenet.classes import resolve as resolve
    from imagenet_captions.packager.package import verify as verify
    from imagenet_captions.pipeline.build import build as build
    from imagenet_captions.pipeline.explain import explain as explain
    from imagenet_captions.pipeline.settings import BuildSettings as BuildSettings
    from imagenet_captions.publishing.publish import publish as publish
    from imagenet_captions.statistics.collect import stats as stats
    from imagenet_captions.storage.places import place as place
    from imagenet_captions.training.data import torch_dataset as torch_dataset
    from imagenet_captions.training.sampler import ResumableSampler as ResumableSampler

    __version__: str

# The names of each module, as above.
_NAMES = {
    "captions.caption_template": "CaptionTemplate",
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
__all__ = sorted(_MODULES)


if not TYPE_CHECKING:  # for a type checker any name would exist otherwise

    def __getattr__(name):
        if name == "__version__":
            return importlib.import_module("importlib.metadata").version("imagenet-captions")
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = value  # the next use finds it without asking here
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
