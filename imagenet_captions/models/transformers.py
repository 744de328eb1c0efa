"""ALIGN and CLIP of transformers: their towers, and how they are loaded and written."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from torch import Tensor, nn
from transformers import AlignConfig, AlignModel, AutoModel, AutoTokenizer, CLIPConfig, CLIPModel, PreTrainedModel
from transformers.utils import logging as transformers_logging

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.images.image_spec import ImageSpec
from imagenet_captions.models import config as preprocess
from imagenet_captions.models.config import ModelConfig, TowerConfig
from imagenet_captions.models.load import no_text_tower
from imagenet_captions.models.model import Model
from imagenet_captions.models.tokenizing import build_tokenizer, tokenizer_of, write_tokenizer
from imagenet_captions.models.weights import DESCRIPTION, UNREADABLE, put_weights, quiet_torch_load, reason
from imagenet_captions.storage.faults import reaching
from imagenet_captions.storage.files import read_json, write_json

KINDS: dict[str, tuple[Any, Any]] = {"align": (AlignConfig, AlignModel), "clip": (CLIPConfig, CLIPModel)}


_MOST_OF_THE_NEW = 0.5
_OUTPUTS = {"output_attentions", "output_hidden_states", "return_dict"}  # what a call gives, which is asked for here


class PooledImage(nn.Module):
    """An image tower of which the pooled output is used."""

    def __init__(self, trunk: nn.Module, width: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.width = width

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the pooled features, [n, width]."""
        features: Tensor = self.trunk(pixel_values=pixels).pooler_output
        return features


class BertText(nn.Module):
    """ALIGN's text tower: BERT's first token and a projection."""

    def __init__(self, trunk: Any, projection: nn.Module, mask: str, pad_id: int) -> None:
        super().__init__()
        trunk.pooler = None  # ALIGN takes the first token as it is; weights without a gradient would stop DDP
        self.trunk = trunk
        self.projection = projection
        self._mask = mask
        self._pad_id = pad_id

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the embedded texts, [n, dim]."""
        hidden = self.trunk(input_ids=tokens, attention_mask=attention_mask(tokens, self._mask, self._pad_id))
        out: Tensor = self.projection(hidden.last_hidden_state[:, 0, :])
        return out


class ClipText(nn.Module):
    """CLIP's text tower, pooled at the end of the text, and a projection."""

    def __init__(self, trunk: nn.Module, projection: nn.Module, mask: str, pad_id: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.projection = projection
        self._mask = mask
        self._pad_id = pad_id

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the embedded texts, [n, dim]."""
        hidden = self.trunk(input_ids=tokens, attention_mask=attention_mask(tokens, self._mask, self._pad_id))
        out: Tensor = self.projection(hidden.pooler_output)
        return out


def attention_mask(tokens: Tensor, mask: str, pad_id: int) -> Tensor:
    """Return which tokens are text: up to the end token, or all but the padding.

    CLIP's byte pairs fill up with 0, which is also the token of "!", but their end mark is the highest number.

    >>> attention_mask(torch.tensor([[9, 0, 10, 0, 0]]), "end", 0).tolist()
    [[1, 1, 1, 0, 0]]
    >>> attention_mask(torch.tensor([[9, 4, 10, 1, 1]]), "padding", 1).tolist()
    [[1, 1, 1, 0, 0]]
    """
    if mask == "padding":
        return (tokens != pad_id).long()
    places = torch.arange(tokens.shape[1], device=tokens.device)
    return (places[None, :] <= tokens.argmax(dim=1)[:, None]).long()


def split_model(kind: str, model: PreTrainedModel, mask: str, pad_id: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Split a whole model into an image tower, its projection, and a text tower."""
    whole: Any = model
    if kind == "align":
        width = whole.text_projection.out_features
        _mend_momentum(whole.vision_model)
        text: nn.Module = BertText(whole.text_model, whole.text_projection, mask, pad_id)
        return PooledImage(whole.vision_model, width), nn.Identity(), text
    width = whole.visual_projection.in_features
    text = ClipText(whole.text_model, whole.text_projection, mask, pad_id)
    return PooledImage(whole.vision_model, width), whole.visual_projection, text


def _mend_momentum(vision: nn.Module) -> None:
    """Convert ALIGN's momentum for torch: 0.99 is TensorFlow's share of the old value, torch's is of the new one.

    Evaluation does not change; training would forget all but the last batch's statistics.
    """
    for module in vision.modules():
        if isinstance(module, nn.BatchNorm2d) and module.momentum is not None and module.momentum > _MOST_OF_THE_NEW:
            module.momentum = 1 - module.momentum


def build_both(kind: str, options: Mapping[str, Any]) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Build both towers and the image projection with random weights from a configuration."""
    return split_model(kind, KINDS[kind][1](config_from(kind, options["config"])), options["mask"], options["pad_id"])


def config_from(kind: str, values: Mapping[str, Any]) -> Any:
    """Return a configuration with the values that its class knows; others may name code to load, such as a kernel."""
    config_class, _ = KINDS[kind]
    plain = config_class()
    known = {key: value for key, value in values.items() if key in plain.to_dict().keys() - _OUTPUTS}
    for tower in ("text_config", "vision_config"):
        names = getattr(plain, tower).to_dict().keys() - _OUTPUTS
        for key in (tower, f"{tower}_dict"):  # CLIP's older files have both
            if values.get(key) is not None:
                known[key] = {name: value for name, value in values[key].items() if name in names}
    return config_class.from_dict(known)


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


_PROCESSOR_FILE = "preprocessor_config.json"
_PIL_FILTERS = {"bilinear": 2, "bicubic": 3}
_IMAGE_MODULES = {"align": ("vision_model", None), "clip": ("vision_model", "visual_projection")}
# The settings of open_clip's towers that transformers' CLIP can say.
_VISION_SETTINGS = {"image_size", "patch_size", "width", "layers", "head_width", "mlp_ratio", "timm_model_pretrained"}
_TEXT_SETTINGS = {
    "context_length",
    "vocab_size",
    "width",
    "heads",
    "layers",
    "mlp_ratio",
    "hf_model_pretrained",
    "tokenizer_kwargs",
}
_VISION_NAMES = {
    "class_embedding": "embeddings.class_embedding",
    "positional_embedding": "embeddings.position_embedding.weight",
    "conv1": "embeddings.patch_embedding",
    "ln_pre": "pre_layrnorm",
    "ln_post": "post_layernorm",
}
_TEXT_NAMES = {
    "token_embedding": "embeddings.token_embedding",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final": "final_layer_norm",
}
_BLOCK_NAMES = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def write(model: Model, folder: Path) -> None:
    """Write an ALIGN or a CLIP with a Vision Transformer for `transformers.AutoModel.from_pretrained(FOLDER)`.

    Raises InputError for any other model: transformers' CLIP has no ResNet tower.
    """
    kind, tokenizer = model.config.image.kind, model.config.tokenizer
    if tokenizer is None:
        raise no_text_tower(model, "transformers' CLIP and ALIGN")
    if kind in KINDS:
        whole = _same_code(model)
    elif kind == "open_clip":
        whole = _from_open_clip(model)
    else:
        raise InputError(f"transformers has no code for the {kind} image tower of {model.name}")
    with _quiet():
        whole.save_pretrained(folder)
    shutil.copymode(folder / CONFIG_FILE, folder / "model.safetensors")  # which only its owner may read otherwise
    write_tokenizer(tokenizer, folder)
    write_json(folder / _PROCESSOR_FILE, _preprocess(model, kind))


def features(folder: Path) -> Callable[[Tensor, list[str]], tuple[Tensor, Tensor]]:
    """Load the folder with transformers; return what embeds images and texts with it."""
    with _quiet():
        whole: Any = AutoModel.from_pretrained(folder).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)

    def embed(pixels: Tensor, texts: list[str]) -> tuple[Tensor, Tensor]:
        tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        words = {key: tokens[key] for key in ("input_ids", "attention_mask")}
        return _points(whole.get_image_features(pixel_values=pixels)), _points(whole.get_text_features(**words))

    return embed


@contextmanager
def _quiet() -> Iterator[None]:
    """Show no bars of transformers' own."""
    logs: Any = transformers_logging  # untyped in some versions
    shown = logs.is_progress_bar_enabled()
    logs.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logs.enable_progress_bar()


def _points(found: Any) -> Tensor:
    """Return the points of the shared space: transformers 5 wraps them, and 4 gives them as they are."""
    points: Tensor = getattr(found, "pooler_output", found)
    return points


def _same_code(model: Model) -> Any:
    """Return transformers' own model with the weights of towers that are its code already."""
    kind = model.config.image.kind
    whole = KINDS[kind][1](config_from(kind, model.config.image.options["config"]))
    image, projection = _IMAGE_MODULES[kind]
    names = {"image.trunk.": f"{image}.", "text.trunk.": "text_model.", "text.projection.": "text_projection."}
    if projection:
        names["image_projection."] = f"{projection}."
    state = {
        theirs + key.removeprefix(ours): value
        for key, value in model.state_dict().items()
        for ours, theirs in names.items()
        if key.startswith(ours)
    }
    assert model.logit_scale is not None
    if kind == "align":
        state["temperature"] = torch.exp(-model.logit_scale.detach())
    else:
        state["logit_scale"] = model.logit_scale.detach()
    unused = {key: torch.zeros_like(value) for key, value in whole.state_dict().items() if ".pooler." in key}
    put_weights(whole, {**unused, **state}, model.name)
    return whole


def _from_open_clip(model: Model) -> Any:
    """Return transformers' CLIP with the weights of open_clip's Vision Transformer and text transformer."""
    assert model.config.text is not None
    vision, text = model.config.image.options["vision_cfg"], model.config.text.options["text_cfg"]
    _check_settings(model, vision, text)
    activation = "quick_gelu" if model.config.image.options.get("quick_gelu") else "gelu"
    width, words = int(vision["width"]), int(text.get("vocab_size", 49408))
    config = CLIPConfig(
        projection_dim=model.config.dim,
        vision_config={
            "hidden_size": width,
            "intermediate_size": int(width * vision.get("mlp_ratio", 4.0)),
            "num_hidden_layers": vision["layers"],
            "num_attention_heads": width // vision.get("head_width", 64),
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            "hidden_act": activation,
            "projection_dim": model.config.dim,
        },
        text_config={
            "vocab_size": words,
            "hidden_size": text["width"],
            "intermediate_size": int(text["width"] * text.get("mlp_ratio", 4.0)),
            "num_hidden_layers": text["layers"],
            "num_attention_heads": text["heads"],
            "max_position_embeddings": text.get("context_length", 77),
            "hidden_act": activation,
            "projection_dim": model.config.dim,
            "bos_token_id": words - 2,
            "eos_token_id": words - 1,
            "pad_token_id": words - 1,
        },
    )
    whole = KINDS["clip"][1](config)
    put_weights(whole, _clip_weights(model), model.name)
    return whole


def _check_settings(model: Model, vision: Mapping[str, Any], text: Mapping[str, Any]) -> None:
    if "patch_size" not in vision or isinstance(vision["layers"], (list, tuple)):
        raise InputError(
            f"{model.name} has a ResNet as its image tower, which transformers' CLIP does not; export it to open_clip"
        )
    unknown = sorted((set(vision) - _VISION_SETTINGS) | (set(text) - _TEXT_SETTINGS))
    if unknown:
        raise InputError(
            f"transformers' CLIP cannot say {', '.join(unknown)[:80]} of {model.name}; export it to open_clip"
        )


def _clip_weights(model: Model) -> dict[str, Tensor]:
    state = model.state_dict()
    found = {
        "logit_scale": state["logit_scale"],
        "visual_projection.weight": state["image_projection.weight"],
        "text_projection.weight": state["text.trunk.text_projection"].T.contiguous(),
    }
    for ours, theirs, names in (
        ("image.trunk.", "vision_model.", _VISION_NAMES),
        ("text.trunk.", "text_model.", _TEXT_NAMES),
    ):
        for key, value in state.items():
            if key.startswith(ours) and not key.endswith(("text_projection", "attn_mask")):
                found.update(_renamed(key.removeprefix(ours), value, theirs, names))
    return found


def _renamed(key: str, value: Tensor, tower: str, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Return one of open_clip's weights under transformers' name, or the three that it is the stack of."""
    if not key.startswith("transformer.resblocks."):
        part = next(part for part in names if key == part or key.startswith(f"{part}."))
        return {f"{tower}{names[part]}{key.removeprefix(part)}": value}
    number, _, rest = key.removeprefix("transformer.resblocks.").partition(".")
    block = f"{tower}encoder.layers.{number}"
    if rest.startswith("attn.in_proj_"):
        kind = rest.removeprefix("attn.in_proj_")
        return {
            f"{block}.self_attn.{name}_proj.{kind}": part.contiguous()
            for name, part in zip("qkv", value.chunk(3), strict=True)
        }
    part = next(part for part in _BLOCK_NAMES if rest.startswith(f"{part}."))
    return {f"{block}.{_BLOCK_NAMES[part]}{rest.removeprefix(part)}": value}


def _preprocess(model: Model, kind: str) -> dict[str, Any]:
    """Return the image processor's settings; `crop_size` of the resized square or shorter side."""
    spec = model.spec
    before = round(spec.size / spec.crop_fraction)
    squash = spec.resize_mode == "squash"
    return {
        "image_processor_type": "EfficientNetImageProcessor" if kind == "align" else "CLIPImageProcessor",
        "do_resize": True,
        "size": {"height": before, "width": before} if squash else {"shortest_edge": before},
        "resample": _PIL_FILTERS[spec.interpolation],
        "do_center_crop": True,
        "crop_size": {"height": spec.size, "width": spec.size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
    }
