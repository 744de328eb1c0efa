"""Image models in timm's files: config.json and model.safetensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
from torch import Tensor

from imagenet_captions.errors import InputError
from imagenet_captions.models.model import Model
from imagenet_captions.models.pretrained.timm import CONFIG_FILE, WEIGHTS_FILES
from imagenet_captions.models.towers.timm import architecture_arguments
from imagenet_captions.models.weights import put_weights, write_weights
from imagenet_captions.storage.files import write_json


def write(model: Model, folder: Path) -> None:
    """Write a model's image tower, and its head where it has one, for `timm.create_model("local-dir:FOLDER")`.

    Raises InputError for an image tower that is not timm's.
    """
    image = model.config.image
    if image.kind != "timm":
        raise InputError(f"timm has no code for the {image.kind} image tower of {model.name}")
    architecture = image.options["architecture"]
    classes = model.head_classes or ()
    arguments = architecture_arguments(image.options["arguments"])
    trunk: Any = timm.create_model(architecture, pretrained=False, num_classes=len(classes), **arguments)
    _take_weights(trunk, model)
    write_weights(trunk.state_dict(), folder / WEIGHTS_FILES[0], {"format": "pt"})
    about = {
        "architecture": architecture,
        "num_classes": len(classes),
        "num_features": int(trunk.num_features),
        "pretrained_cfg": _preprocess(model, len(classes)),
        "model_args": dict(image.options["arguments"]),
    }
    write_json(folder / CONFIG_FILE, about)


def features(folder: Path) -> Callable[[Tensor, list[str]], tuple[Tensor, None]]:
    """Load the folder with timm; return what computes its outputs: the head's logits, or the features."""
    whole: Any = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    return lambda pixels, _: (whole(pixels), None)


def _take_weights(trunk: Any, model: Model) -> None:
    """Put the image tower's weights and the head into timm's model, every one of them."""
    state = {
        key.removeprefix("image.trunk."): value for key, value in model.state_dict().items() if "image.trunk." in key
    }
    if model.head is not None:
        classifier = trunk.get_classifier()
        name = next(name for name, module in trunk.named_modules() if module is classifier)
        state[f"{name}.weight"], state[f"{name}.bias"] = model.head.weight.detach(), model.head.bias.detach()
    put_weights(trunk, state, model.name)


def _preprocess(model: Model, classes: int) -> dict[str, Any]:
    spec = model.spec
    about = {
        "input_size": [3, spec.size, spec.size],
        "mean": list(spec.mean),
        "std": list(spec.std),
        "interpolation": spec.interpolation,
        "crop_pct": spec.crop_fraction,
        "crop_mode": "squash" if spec.resize_mode == "squash" else "center",
        "num_classes": classes,
    }
    return {**about, "label_names": list(model.head_classes)} if model.head_classes else about
