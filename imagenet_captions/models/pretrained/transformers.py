"""Load transformers' ALIGN and CLIP with weights, from a folder or the hub."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.images.image_spec import ImageSpec
from imagenet_captions.models import preprocess
from imagenet_captions.models.config import ModelConfig, TowerConfig
from imagenet_captions.models.model import Model
from imagenet_captions.models.tokenizing import build_tokenizer, tokenizer_of
from imagenet_captions.models.towers.transformers import KINDS, config_from, split_model
from imagenet_captions.models.weights import DESCRIPTION, UNREADABLE, quiet_torch_load, reason
from imagenet_captions.storage.faults import reaching
from imagenet_captions.storage.files import read_json

CONFIG_FILE = "config.json"
_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
_ALIGN_CONTEXT = 64  # what ALIGN's own processor cuts texts to
_NAMED = 3


def load(name: str, shown: str) -> Model:
    """Load an ALIGN or CLIP of transformers from a folder, or `org/repository` from the hub.

    Raises InputError for another kind of model, weights that do not fit, or a hub that is not reached.
    """
    with reaching(shown, Path(name).is_dir()):
        config = read_json(_file(name, CONFIG_FILE), dict[str, Any], DESCRIPTION)
    kind = str(config.get("model_type"))
    if kind not in KINDS:
        raise InputError(f"{shown} is a model of type {quoted(kind)}; of transformers, align and clip are read")
    whole = _weights(kind, name, shown, config_from(kind, config))
    context = _context(kind, whole.config.text_config)
    tokenizer = tokenizer_of(name, context, {})
    mask = "end" if kind == "clip" else "padding"
    options = {"config": _settings(whole.config.to_dict()), "mask": mask, "pad_id": tokenizer.pad_id}
    described = ModelConfig(
        name=shown,
        spec=_pixels(name, shown, whole.config.vision_config),
        image=TowerConfig(kind, options),
        text=TowerConfig(kind, {}),
        tokenizer=tokenizer,
        dim=int(whole.config.projection_dim),
    )
    scale = -math.log(whole.temperature.item()) if kind == "align" else whole.logit_scale.item()
    model = Model(described, *split_model(kind, whole, mask, tokenizer.pad_id), build_tokenizer(tokenizer))
    assert model.logit_scale is not None
    model.logit_scale.data.fill_(scale)
    return model


def _file(name: str, file: str) -> Path:
    return Path(name) / file if Path(name).is_dir() else Path(hf_hub_download(name, file))


def _weights(kind: str, name: str, shown: str, config: Any) -> Any:
    """Load the whole model, and refuse missing weights, of which transformers itself only warns."""
    model_class = KINDS[kind][1]
    with reaching(shown, Path(name).is_dir()):
        try:
            with quiet_torch_load(), _without_its_report():
                whole, about = model_class.from_pretrained(name, config=config, output_loading_info=True)
        except UNREADABLE as error:
            if not Path(name).is_dir() and isinstance(error, (OSError, RuntimeError, ValueError)):
                raise  # the hub may not have been reached
            raise InputError(
                f"{shown} has no weights that can be read and fit ({reason(error)}); get the model again"
            ) from None
    faults = [str(entry) for entry in [*about["missing_keys"], *about["mismatched_keys"]]]
    if faults:
        some = ", ".join(sorted(faults)[:_NAMED])
        raise InputError(
            f"the weights of {shown} lack or misshape {len(faults)} of the model's ({some}); get them again"
        )
    whole.float()
    # As read, weights lie at odd places of the file's memory, and sums over them differ in the last bit from a copy's.
    for tensor in [*whole.parameters(), *whole.buffers()]:
        tensor.data = tensor.data.clone()
    return whole


@contextmanager
def _without_its_report() -> Iterator[None]:
    """Keep transformers from printing a table of weights that do not fit."""
    logger = logging.getLogger("transformers")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _context(kind: str, text: Any) -> int:
    longest = int(text.max_position_embeddings)
    return min(longest, _ALIGN_CONTEXT) if kind == "align" else longest


def _pixels(name: str, shown: str, vision: Any) -> ImageSpec:
    """Return the pixels of the processor that came with the model."""
    for file in _PROCESSOR_FILES:
        path = _file_if_there(name, file, shown)
        if path is not None:
            values = read_json(path, dict[str, Any], DESCRIPTION)
            return preprocess.from_transformers(values.get("image_processor", values))
    raise InputError(
        f"{shown} does not say how its images of {vision.image_size} pixels are made;"
        f" put its {_PROCESSOR_FILES[0]} there"
    )


def _file_if_there(name: str, file: str, shown: str) -> Path | None:
    with reaching(f"the image processor of {shown}", Path(name).is_dir()):
        try:
            path = _file(name, file)
        except EntryNotFoundError as error:
            if isinstance(error, LocalEntryNotFoundError):
                raise
            return None
    return path if path.is_file() else None


def _settings(values: Any) -> Any:
    """Return a configuration without the values that describe a file of weights: precision and version."""
    if isinstance(values, Mapping):
        left_out = ("dtype", "torch_dtype", "transformers_version", "_name_or_path")
        return {key: _settings(value) for key, value in values.items() if key not in left_out}
    return values
