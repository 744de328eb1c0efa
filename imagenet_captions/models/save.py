"""Write a model to a folder in this package's own format, and read it back: model.json, weights and tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imagenet_captions.models.build import build
from imagenet_captions.models.config import config_from_dict
from imagenet_captions.models.model import Model, model_config_of
from imagenet_captions.models.weights import DESCRIPTION, put_weights, read_weights, write_weights
from imagenet_captions.storage.files import read_json, replacing, require_file, write_json, write_text

MODEL_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
TOKENIZER_FILE = "tokenizer.json"


def save_model(model: Model, folder: Path) -> None:
    """Write the model for `load_model`; model.json comes last, so that a folder that has it is whole.

    SimCLR's projector is left out: nothing that comes after SimCLR uses it.
    """
    config = {**model_config_of(model), "projector": None}
    weights = {key: value for key, value in model.state_dict().items() if not key.startswith("projector.")}
    (folder / MODEL_FILE).unlink(missing_ok=True)
    with replacing(folder / WEIGHTS_FILE) as partial:
        write_weights(weights, partial)
    tokenizer = config["tokenizer"]
    if tokenizer is not None and tokenizer["json"]:
        write_text(folder / TOKENIZER_FILE, tokenizer["json"])
        config["tokenizer"] = {**tokenizer, "json": ""}
    write_json(folder / MODEL_FILE, config)


def load_saved(folder: Path) -> Model:
    """Return the model in a folder that `save_model` wrote."""
    values = read_json(folder / MODEL_FILE, dict[str, Any], DESCRIPTION)
    tokenizer = values.get("tokenizer")
    if isinstance(tokenizer, dict) and tokenizer.get("kind") == "json":
        text = require_file(folder / TOKENIZER_FILE, "the model's tokenizer").read_text(encoding="utf-8")
        values["tokenizer"] = {**tokenizer, "json": text}
    model = build(config_from_dict(values))
    put_weights(model, read_weights(folder / WEIGHTS_FILE, "the model's weights"), folder)
    return model
