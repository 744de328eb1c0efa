"""Load a model with the weights of any checkpoint: ours, or open_clip's, timm's or transformers'."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagenet_captions.errors import InputError
from imagenet_captions.models.build import build_from_config
from imagenet_captions.models.model import Model
from imagenet_captions.models.save import MODEL_FILE, load_saved
from imagenet_captions.models.source import check_source, split_library
from imagenet_captions.models.weights import DESCRIPTION, explaining_faults, put_weights, read_weights
from imagenet_captions.storage.files import read_json, require_there

HYPERPARAMETER = "model_config"
_LOCAL, _HUB = ("local-dir",), ("hf-hub", "hf_hub")  # the libraries' own spellings of a folder and of the hub
_PREFIX = "model."


def load_model(source: str) -> Model:
    """Load a model with its weights, on the CPU and in evaluation mode.

    The source is a folder of a run or a model (ours, open_clip's, timm's or transformers', recognized by its files), a
    Lightning checkpoint of ours, or a library and a name: `open_clip:NAME@TAG`, `open_clip:NAME@FILE`, `timm:NAME`,
    `timm:NAME@FILE`, `transformers:NAME`. The libraries' own spellings `hf-hub:ORG/NAME` and `local-dir:FOLDER` do as
    names. Weights that a library keeps on a hub are downloaded from it.

    Raises InputError, in one sentence, for what is missing or does not fit. No code of a checkpoint is run.
    """
    check_source(source)
    library, rest = split_library(source)
    path = Path(source)
    with explaining_faults(source):
        if library:
            return _of_library(library, rest, source).eval()
        return (_folder(path) if path.is_dir() else load_checkpoint(path)).eval()


def take_image_tower(model: Model, source: Model) -> None:
    """Load another model's image tower into this one, as BASIC does after its supervised stage.

    The way to the shared space, the text tower and the temperature stay as they are. Raises InputError where the two
    towers are not built alike.
    """
    put_weights(model.image, source.image.state_dict(), f"{source.name}'s image tower")


def load_checkpoint(path: Path) -> Model:
    """Load the model of a Lightning checkpoint that this package wrote, without SimCLR's projector."""
    loaded = read_weights(path, "the checkpoint")
    about = loaded.get("hyper_parameters") if isinstance(loaded, Mapping) else None
    if not isinstance(about, Mapping) or HYPERPARAMETER not in about:
        raise InputError(
            f"{path} is not a checkpoint of this package's training; name its library and model, such as "
            f"open_clip:NAME@{path.name}"
        )
    model = build_from_config(about[HYPERPARAMETER])
    state = {key.removeprefix(_PREFIX): value for key, value in loaded["state_dict"].items() if key.startswith(_PREFIX)}
    put_weights(model, state, path)
    model.drop_projector()
    return model


def _of_library(library: str, rest: str, source: str) -> Model:
    if library == "transformers":
        from imagenet_captions.models.pretrained import transformers as from_transformers

        return from_transformers.load(rest, source)
    schema, _, place = rest.partition(":")
    if place and schema in _LOCAL:
        return _foreign_folder(library, require_there(Path(place), "the model"), source)
    if Path(rest).is_dir():
        return _foreign_folder(library, Path(rest), source)
    if place and schema in _HUB:
        rest = place
    name, _, weights = rest.partition("@")
    if library == "timm":
        from imagenet_captions.models.pretrained import timm as from_timm

        return from_timm.load(name, weights)
    from imagenet_captions.models.pretrained import open_clip as from_open_clip

    return from_open_clip.load(name, weights)


def _folder(folder: Path) -> Model:
    for ours in (folder, folder / "model"):
        if (ours / MODEL_FILE).is_file():
            return load_saved(ours)
    if (folder / "open_clip_config.json").is_file():
        return _foreign_folder("open_clip", folder, str(folder))
    if (folder / "config.json").is_file():
        known = read_json(folder / "config.json", dict[str, Any], DESCRIPTION)
        return _foreign_folder("timm" if "architecture" in known else "transformers", folder, str(folder))
    last = folder / "checkpoints" / "last.ckpt"
    if last.is_file():
        raise InputError(f"the run {folder} is not done; finish it, or give its last checkpoint {last}")
    raise InputError(
        f"{folder} holds no model: it has no {MODEL_FILE} (ours), no open_clip_config.json and no config.json"
    )


def _foreign_folder(library: str, folder: Path, source: str) -> Model:
    if library == "open_clip":
        from imagenet_captions.models.pretrained import open_clip as from_open_clip

        return from_open_clip.load_folder(folder, source)
    if library == "timm":
        from imagenet_captions.models.pretrained import timm as from_timm

        return from_timm.load_folder(folder, source)
    from imagenet_captions.models.pretrained import transformers as from_transformers

    return from_transformers.load(str(folder), source)
