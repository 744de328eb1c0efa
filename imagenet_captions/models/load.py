"""Load, save and export models: ours, and those of open_clip, timm and transformers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file
from torch import Tensor

from imagenet_captions.errors import InputError, unknown_name
from imagenet_captions.models.build import build
from imagenet_captions.models.config import LIBRARIES, check_source, config_from_dict, split_library
from imagenet_captions.models.model import Model
from imagenet_captions.models.weights import DESCRIPTION, explaining_faults, put_weights, quiet, write_weights
from imagenet_captions.storage import files
from imagenet_captions.storage.outputs import check_place

MODEL_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
TOKENIZER_FILE = "tokenizer.json"


def load_model(source: str) -> Model:
    """Load a model with its weights, on the CPU and in evaluation mode.

    The source is a folder of a run or a model (ours, open_clip's, timm's or transformers'), a Lightning checkpoint of
    ours, or a library and a name, such as `open_clip:NAME@TAG` or `timm:NAME@FILE`; docs/reference/models.md has them
    all. Raises InputError, in one sentence, for what is missing or does not fit. No code of a checkpoint is run.
    """
    check_source(source)
    library, rest = split_library(source)
    path = Path(source)
    with explaining_faults(source), quiet():
        if library:
            schema, _, place = rest.partition(":")
            if schema == "local-dir" and place:
                rest = str(files.require_there(Path(place), "the model"))
            if Path(rest).is_dir():
                model = _code_for(library).load_folder(Path(rest), source)
            else:
                name, _, weights = (place if schema in ("hf-hub", "hf_hub") else rest).partition("@")
                model = _code_for(library).load(name, weights)
        else:
            model = _load_folder(path) if path.is_dir() else _load_checkpoint(path)
    whole: Model = model.eval()
    return whole


def _code_for(library: str) -> Any:
    return import_module(f"{__package__}.{library}")


def _load_folder(folder: Path) -> Any:
    for ours in (folder, folder / "model"):
        if (ours / MODEL_FILE).is_file():
            values = files.read_json(ours / MODEL_FILE, dict[str, Any], DESCRIPTION)
            tokenizer = values.get("tokenizer")
            if isinstance(tokenizer, dict) and tokenizer.get("kind") == "json":
                path = files.require_file(ours / TOKENIZER_FILE, "the model's tokenizer")
                values["tokenizer"] = {**tokenizer, "json": path.read_text(encoding="utf-8")}
            model = build(config_from_dict(values))
            put_weights(model, load_file(files.require_file(ours / WEIGHTS_FILE, "the model's weights")), ours)
            return model
    if (folder / "open_clip_config.json").is_file():
        return _code_for("open_clip").load_folder(folder, str(folder))
    if (folder / "config.json").is_file():
        known = files.read_json(folder / "config.json", dict[str, Any], DESCRIPTION)
        return _code_for("timm" if "architecture" in known else "transformers").load_folder(folder, str(folder))
    last = folder / "checkpoints" / "last.ckpt"
    if last.is_file():
        raise InputError(f"the run {folder} is not done; finish it, or give its last checkpoint {last}")
    raise InputError(
        f"{folder} holds no model: it has no {MODEL_FILE} (ours), no open_clip_config.json and no config.json"
    )


def _load_checkpoint(path: Path) -> Model:
    """Load the model of a Lightning checkpoint that this package wrote, without SimCLR's projector."""
    loaded = torch.load(files.require_file(path, "the checkpoint"), map_location="cpu", weights_only=True)
    about = loaded.get("hyper_parameters") if isinstance(loaded, Mapping) else None
    if not isinstance(about, Mapping) or "model_config" not in about:
        raise InputError(
            f"{path} is not a checkpoint of this package's training; name its library and model, such as "
            f"open_clip:NAME@{path.name}"
        )
    model = build(config_from_dict(about["model_config"]))
    state = {key.removeprefix("model."): value for key, value in loaded["state_dict"].items()}
    put_weights(model, state, path)
    model.drop_projector()
    return model


def save_model(model: Model, folder: Path) -> None:
    """Write the model for `load_model`; model.json comes last, so that a folder that has it is whole.

    SimCLR's projector is left out: nothing that comes after SimCLR uses it.
    """
    config = {**model.config.to_dict(), "projector": None}
    state = model.state_dict()
    weights = {key: state[key] for key in state if not key.startswith("projector.")}
    (folder / MODEL_FILE).unlink(missing_ok=True)
    with files.replacing(folder / WEIGHTS_FILE) as partial:
        write_weights(weights, partial)
    tokenizer = config["tokenizer"]
    if tokenizer is not None and tokenizer["json"]:
        files.write_text(folder / TOKENIZER_FILE, tokenizer["json"])
        config["tokenizer"] = {**tokenizer, "json": ""}
    files.write_json(folder / MODEL_FILE, config)


_TEXTS = ("a photo of a golden retriever on the beach", "Sunset!! 2009 :) #köln", "")
_TOLERANCE = 1e-5


def export_model(source: str, library: str, out: Path) -> Path:
    """Write the model of `source` as a folder that `library` loads by itself, without this package; return the folder.

    The source is whatever `load_model` reads. The folder appears when it is whole: the library has loaded it, and its
    features of a few images and texts are those of the model within 1e-5.

        export_model("runs/clip", "open_clip", Path("clip-for-open-clip"))
        # open_clip.create_model_and_transforms("local-dir:clip-for-open-clip")

    Raises InputError for a model that the library has no code for, and for a folder that is not empty.
    """
    if library not in LIBRARIES:
        raise unknown_name("library to export to", library, LIBRARIES)
    check_place(out, [Path(source)] if os.path.lexists(source) else [])
    if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"the output {out} exists; give the name of a new folder")
    model = load_model(source)
    here = Path(os.path.realpath(out))
    with files.private_place(here, folder=True) as private:
        with quiet():
            _code_for(library).write(model, private)
            _compare(model, _code_for(library).features(private), library)
        files.write_text(private / "README.md", _model_card(model, library, Path(source)))
        files.publish(private, here)
    return out


def _model_card(model: Model, library: str, source: Path) -> str:
    """Return the README of an exported model, with how it was trained if its source is one of our runs."""
    name, training, data = Path(model.name).name, "not known here", "not known here"
    for run in (source, source.parent, source.parent.parent):
        if (run / "settings.json").is_file() and (run / "checkpoints").is_dir():
            told = files.read_json(run / "settings.json", dict[str, Any], "the run's settings")
            recipe = told["recipe"]
            length = f"{told['steps']} steps" if told["steps"] else f"{recipe['epochs']} epochs"
            start = Path(told["init"]).name if told["init"] else "random weights"
            training = (
                f"{recipe['objective']}, from {start}, {length} of {recipe['batch_size']} images a step, "
                f"{recipe['optimiser']}, learning rate {recipe['lr']:g}, seed {told['seed']}"
            )
            data = Path(told["data"]).name + (", a list of its images" if told["ids"] else "")
            break
    return f"""---
library_name: {library}
license: other
tags: [imagenet-captions]
---
# {name}

- **Model**: {name}; images of {model.spec.size} x {model.spec.size} pixels{" and texts" if model.has_text else ""}
- **Training**: {training}
- **Dataset**: {data}
- **License**: none is given; check the terms of the dataset and its images, and name one before you publish this
"""


def _compare(model: Model, theirs: Callable[..., tuple[Tensor, Tensor | None]], library: str) -> None:
    """Refuse files with which the library computes other features than the model itself."""
    shape = (2, 3, model.spec.size, model.spec.size)
    pixels = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        images, texts = theirs(pixels, list(_TEXTS))
        pairs = [(images, model.class_logits(pixels) if model.has_head else model.image_features(pixels))]
        if texts is not None:
            points = [F.normalize(each, dim=-1) for each in (images, texts)]
            ours = [model.embed_images(pixels), model.embed_texts(model.tokenize(_TEXTS))]
            pairs = list(zip(points, ours, strict=True))
    for found, wanted in pairs:
        tolerance = _TOLERANCE * max(1.0, float(wanted.abs().max()))
        if found.shape != wanted.shape or not torch.allclose(found, wanted, rtol=0, atol=tolerance):
            raise InputError(
                f"{library} computes other features from the exported files of {model.name}: it lacks a setting of the "
                "model, or please report this"
            )


def no_code(model: Model, library: str) -> InputError:
    """Build the error for a model that a library has no code for, with what can be done."""
    kind, has_text = model.config.image.kind, model.has_text
    advice = {
        "timm": "export it to timm",
        "open_clip": "export it to open_clip" if has_text else "no library has such a tower alone",
        "micro": f"train the model {'vit-micro' if has_text else 'basic-micro'}, which can be exported",
    }.get(kind, "export it to transformers")
    alone = "" if has_text else " without texts"
    return InputError(f"{library} has no code for the {kind} image tower of {model.name}{alone}; {advice}")
