"""A model as a folder: what it is made of, and its weights."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file

from imagenet_captions.models.model import Model, model_config_of
from imagenet_captions.storage.files import replacing, write_json, write_text

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
        save_file({key: value.detach().cpu().contiguous().clone() for key, value in weights.items()}, partial)
    tokenizer = config["tokenizer"]
    if tokenizer is not None and tokenizer["json"]:
        write_text(folder / TOKENIZER_FILE, tokenizer["json"])
        config["tokenizer"] = {**tokenizer, "json": ""}
    write_json(folder / MODEL_FILE, config)
