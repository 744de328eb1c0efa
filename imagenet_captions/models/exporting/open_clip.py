"""Models in open_clip's files: open_clip_config.json, its weights, and a tokenizer where it is not CLIP's own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import open_clip
from torch import Tensor

from imagenet_captions.errors import InputError
from imagenet_captions.images.image_spec import ImageSpec
from imagenet_captions.models.config import TokenizerConfig
from imagenet_captions.models.exporting.byte_pairs import write_tokenizer
from imagenet_captions.models.exporting.export import no_text_tower
from imagenet_captions.models.model import Model
from imagenet_captions.models.pretrained.open_clip import CONFIG_FILE, WEIGHTS_FILES
from imagenet_captions.models.weights import write_weights
from imagenet_captions.storage.files import write_json

# open_clip reads the tokenizer of a local folder whatever this name is; in a repository it has to be the own one.
_NOT_UPLOADED = "this-repository"


def write(model: Model, folder: Path) -> None:
    """Write a model whose towers are open_clip's for `open_clip.create_model_and_transforms("local-dir:FOLDER")`.

    Raises InputError for a model without a text tower, or with towers of other libraries.
    """
    image, text, tokenizer = model.config.image, model.config.text, model.config.tokenizer
    if text is None or tokenizer is None:
        raise no_text_tower(model, "open_clip's models")
    if image.kind != "open_clip" or text.kind != "open_clip":
        raise InputError(f"open_clip has no code for the {image.kind} towers of {model.name}; {_elsewhere(image.kind)}")
    text_cfg = {**text.options["text_cfg"], **_tokenizer_settings(model, tokenizer, folder)}
    config = {**image.options, "text_cfg": text_cfg, "custom_text": True}
    write_json(folder / CONFIG_FILE, {"model_cfg": config, "preprocess_cfg": _preprocess(model)})
    write_weights(_weights(model), folder / WEIGHTS_FILES[0], {"format": "pt"})


def features(folder: Path) -> Callable[[Tensor, list[str]], tuple[Tensor, Tensor]]:
    """Load the folder with open_clip; return what embeds images and texts with it."""
    name = f"local-dir:{folder}"
    with _quiet():
        try:
            whole: Any = open_clip.create_model(name).eval()
        except (RuntimeError, ValueError) as error:
            raise InputError(f"open_clip does not load the exported files: {str(error)[:200]}") from None
        tokenizer = open_clip.get_tokenizer(name)

    def embed(pixels: Tensor, texts: list[str]) -> tuple[Tensor, Tensor]:
        return whole.encode_image(pixels), whole.encode_text(tokenizer(texts))

    return embed


@contextmanager
def _quiet() -> Iterator[None]:
    """Show none of open_clip's steps, which it logs as the root logger, with the private name of the folder."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)


def _elsewhere(kind: str) -> str:
    return {
        "align": "export it to transformers",
        "clip": "export it to transformers",
        "timm": "its image tower can be exported to timm",
    }.get(kind, "no other library has them either")


def _tokenizer_settings(model: Model, tokenizer: TokenizerConfig, folder: Path) -> dict[str, Any]:
    """Write the tokenizer's files where it needs some; return what the configuration says of it."""
    if tokenizer.kind == "clip" and "merges" not in tokenizer.options:
        return {"tokenizer_kwargs": dict(tokenizer.options)} if tokenizer.options else {}
    write_tokenizer(tokenizer, folder)
    clean = "lower" if tokenizer.kind == "clip" else tokenizer.options.get("clean", "whitespace")
    strip = {"strip_sep_token": True} if "stripped_id" in tokenizer.options else {}
    assert model.config.text is not None
    name = model.config.text.options["text_cfg"].get("hf_tokenizer_name") or _NOT_UPLOADED
    return {"hf_tokenizer_name": name, "tokenizer_kwargs": {"clean": clean, **strip}}


def _preprocess(model: Model) -> dict[str, Any]:
    spec: ImageSpec = model.spec
    if spec.crop_fraction != 1:
        raise InputError(f"open_clip cannot say that {model.name} keeps {spec.crop_fraction:g} of an image's side")
    return {
        "size": [spec.size, spec.size],
        "mean": list(spec.mean),
        "std": list(spec.std),
        "interpolation": spec.interpolation,
        "resize_mode": spec.resize_mode,
    }


def _weights(model: Model) -> dict[str, Tensor]:
    """Return the weights under the names of open_clip's CustomTextCLIP."""
    state: Mapping[str, Tensor] = model.state_dict()
    found = {"logit_scale": state["logit_scale"]}
    for key, value in state.items():
        for ours, theirs in (("image.trunk.", "visual."), ("text.trunk.", "text.")):
            if key.startswith(ours):
                found[theirs + key.removeprefix(ours)] = value
    projection = {key: value for key, value in state.items() if key.startswith("image_projection.")}
    if projection and "timm_model_name" in model.config.image.options["vision_cfg"]:
        found = {f"visual.trunk.{key[7:]}" if key.startswith("visual.") else key: value for key, value in found.items()}
        found.update({key.replace("image_projection.", "visual.head."): value for key, value in projection.items()})
    elif projection:
        found["visual.proj"] = projection["image_projection.weight"].T
    return found
