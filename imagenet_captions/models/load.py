"""A model with the weights of a checkpoint, wherever that came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagenet_captions.errors import InputError
from imagenet_captions.files import require_file
from imagenet_captions.models.build import build, build_from_config
from imagenet_captions.models.config import config_from_dict
from imagenet_captions.models.model import Model
from imagenet_captions.models.save import MODEL_FILE, TOKENIZER_FILE, WEIGHTS_FILE
from imagenet_captions.models.weights import put_weights, read_weights

HYPERPARAMETER = "model_config"


def load_model(source: str) -> Model:
    """A model with its weights, on the CPU, in evaluation mode."""
    path = Path(source)
    if path.is_dir():
        return _folder(path).eval()
    if path.suffix == ".ckpt" or path.is_file():
        return load_checkpoint(path).eval()
    raise InputError(f"{source[:100]!r} is no model; give a folder")


def _folder(folder: Path) -> Model:
    if (folder / MODEL_FILE).is_file():
        return load_ours(folder)
    if (folder / "model" / MODEL_FILE).is_file():
        return load_ours(folder / "model")
    raise InputError(f"{folder} holds no model; give a folder that has {MODEL_FILE}")


def load_ours(folder: Path) -> Model:
    """What `save_model` wrote."""
    values = _json(folder / MODEL_FILE)
    if values.get("tokenizer") and values["tokenizer"]["kind"] == "json":
        text = require_file(folder / TOKENIZER_FILE, "the model's tokenizer").read_text(encoding="utf-8")
        values["tokenizer"] = {**values["tokenizer"], "json": text}
    model = build(config_from_dict(values))
    put_weights(model, read_weights(folder / WEIGHTS_FILE, "the model's weights"), folder)
    return model


def load_checkpoint(path: Path) -> Model:
    """A Lightning checkpoint of this package's training, its projector left out."""
    loaded = read_weights(path, "the checkpoint")
    values = loaded.get("hyper_parameters", {}).get(HYPERPARAMETER) if isinstance(loaded, Mapping) else None
    if values is None:
        raise InputError(
            f"{path} is no checkpoint of this package's training; name its library, as in timm:NAME@{path}"
        )
    model = build_from_config(values)
    state = loaded["state_dict"]
    put_weights(model, {key[6:]: value for key, value in state.items() if key.startswith("model.")}, path)
    model.drop_projector()
    return model


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(require_file(path, "the model's description").read_bytes())
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({str(error)[:80]}); write the model again") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no description of a model; write the model again")
    return values
