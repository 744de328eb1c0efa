"""Export a model to another library's own files, and load them with that library before they count as written."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from imagenet_captions.errors import InputError, unknown_name
from imagenet_captions.models.load import load_model
from imagenet_captions.models.model import Model
from imagenet_captions.storage.files import private_folder, publish_folder
from imagenet_captions.storage.outputs import check_place

LIBRARIES = ("open_clip", "timm", "transformers")

_TEXTS = ("a photo of a golden retriever on the beach", "Sunset!! 2009 :) #köln", "")
_TOLERANCE = 1e-5


def export_model(source: str, library: str, out: Path) -> Path:
    """Write the model of `source` as a folder that `library` loads by itself, without this package; return the folder.

    The source is whatever `load_model` reads: a run, a model folder, a checkpoint, another library's model. The library
    is one of `LIBRARIES`. The folder appears when it is whole: the library has loaded it, and its features of a few
    images and texts are those of the model within 1e-5.

        export_model("runs/clip", "open_clip", Path("clip-for-open-clip"))
        # open_clip.create_model_and_transforms("local-dir:clip-for-open-clip")

    Raises InputError for a model that the library has no code for, and for a folder that is not empty.
    """
    if library not in LIBRARIES:
        raise unknown_name("library to export to", library, LIBRARIES)
    _check_folder(out, source)
    model = load_model(source)
    writer: Any = import_module(f"{__package__}.{library}")
    here = Path(os.path.realpath(out))
    with private_folder(here, "partial") as private:
        writer.write(model, private)
        _compare(model, writer.features(private), library)
        publish_folder(private, here)
    return out


def _check_folder(out: Path, source: str) -> None:
    check_place(out, [Path(source)] if os.path.lexists(source) else [])
    if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"the output {out} exists; give the name of a new folder")


def _compare(model: Model, theirs: Callable[[Tensor, list[str]], tuple[Tensor, Tensor | None]], library: str) -> None:
    """Refuse files with which the library computes other features than the model itself."""
    pixels = torch.randn(2, 3, model.spec.size, model.spec.size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        images, texts = theirs(pixels, list(_TEXTS))
        if texts is not None:
            images, texts = F.normalize(images, dim=-1), F.normalize(texts, dim=-1)
            pairs = [(images, model.embed_images(pixels)), (texts, model.embed_texts(model.tokenize(_TEXTS)))]
        elif model.has_head:
            pairs = [(images, model.class_logits(pixels))]
        else:
            pairs = [(images, model.image_features(pixels))]
    for found, ours in pairs:
        same_shape = found.shape == ours.shape
        furthest = (found - ours).abs().max() / ours.abs().max().clamp(min=1) if same_shape else torch.inf
        if not furthest <= _TOLERANCE:  # NaN is not
            raise InputError(
                f"{library} computes other features from the exported files of {model.name} (by up to {furthest:.1e}); "
                f"please report this with the versions of {library} and torch"
            )


def no_text_tower(model: Model, whose: str) -> InputError:
    """Build the error for a model without a text tower; only an image tower of timm's has another library."""
    advice = "export it to timm" if model.config.image.kind == "timm" else "timm has no code for its image tower either"
    return InputError(f"{model.name} has no text tower, and {whose} have one; {advice}")
