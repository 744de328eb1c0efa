"""ALIGN and CLIP of transformers: their towers, and how they are loaded and written."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AlignConfig,
    AlignModel,
    AutoModel,
    AutoTokenizer,
    CLIPConfig,
    CLIPModel,
    ImageProcessingMixin,
    PretrainedConfig,
)
from transformers.utils import logging as transformers_logging

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.images.image_spec import ImageSpec
from imagenet_captions.models.config import ModelConfig, TowerConfig, side_of, spec_of, three_of
from imagenet_captions.models.load import no_code
from imagenet_captions.models.model import Model, Tower
from imagenet_captions.models.tokenizing import build_tokenizer, tokenizer_of, write_tokenizer
from imagenet_captions.models.weights import put_weights
from imagenet_captions.storage.faults import reaching
from imagenet_captions.storage.files import write_json

KINDS: dict[str, tuple[Any, Any]] = {"align": (AlignConfig, AlignModel), "clip": (CLIPConfig, CLIPModel)}

_PIL_FILTERS = {2: "bilinear", 3: "bicubic"}
_OUTPUTS = {"output_attentions", "output_hidden_states", "return_dict"}  # what a call gives, which is asked for here
# What a saved configuration says of its file of weights: precision and version.
_OF_THE_FILE = ("dtype", "torch_dtype", "transformers_version", "_name_or_path")
_ALIGN_CONTEXT = 64  # what ALIGN's own processor cuts texts to


class PooledText(nn.Module):
    """A text tower and its projection: of BERT's first token in ALIGN, of the end of the text in CLIP."""

    def __init__(self, kind: str, trunk: Any, projection: nn.Module, mask: str, pad_id: int) -> None:
        super().__init__()
        if kind == "align":
            trunk.pooler = None  # ALIGN takes the first token as it is; weights without a gradient would stop DDP
        self.trunk = trunk
        self.projection = projection
        self._kind, self._mask, self._pad_id = kind, mask, pad_id

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the embedded texts, [n, dim]."""
        is_text = tokens != self._pad_id
        if self._mask == "end":  # CLIP fills up with 0, which is also "!", and its end mark is the highest number
            is_text = torch.arange(tokens.shape[1], device=tokens.device) <= tokens.argmax(dim=1, keepdim=True)
        hidden = self.trunk(input_ids=tokens, attention_mask=is_text.long())
        pooled = hidden.last_hidden_state[:, 0, :] if self._kind == "align" else hidden.pooler_output
        out: Tensor = self.projection(pooled)
        return out


def build_both(kind: str, options: Mapping[str, Any]) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Build an image tower, its projection and a text tower with random weights from a configuration."""
    whole = KINDS[kind][1](_config_from(kind, options["config"]))
    return _split(kind, whole, options["mask"], options["pad_id"])


def _split(kind: str, whole: Any, mask: str, pad_id: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    text = PooledText(kind, whole.text_model, whole.text_projection, mask, pad_id)
    if kind == "clip":
        width = whole.visual_projection.in_features
        return Tower(whole.vision_model, width), whole.visual_projection, text
    # ALIGN's momentum of 0.99 is TensorFlow's share of the old value, torch's is of the new one. Training would forget
    # all but the last batch's statistics.
    for module in whole.vision_model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.momentum is not None and module.momentum > 0.5:
            module.momentum = 1 - module.momentum
    return Tower(whole.vision_model, whole.text_projection.out_features), nn.Identity(), text


def _config_from(kind: str, values: Mapping[str, Any]) -> Any:
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


def load(name: str, weights: str) -> Model:
    """Load an ALIGN or CLIP of transformers from the hub, by the name `org/repository`."""
    if weights:
        raise InputError(f"transformers:{name} brings its weights; leave @{weights} out")
    return load_folder(name, f"transformers:{name}", local=False)


def load_folder(name: Path | str, shown: str, local: bool = True) -> Model:
    """Load an ALIGN or CLIP of transformers from a folder, or from the hub."""
    name = str(name)
    with reaching(shown, local), _without_bars():
        config, _ = PretrainedConfig.get_config_dict(name)
        kind = str(config.get("model_type"))
        if kind not in KINDS:
            raise InputError(f"{shown} is a model of type {quoted(kind)}; of transformers, align and clip are read")
        whole, about = KINDS[kind][1].from_pretrained(name, config=_config_from(kind, config), output_loading_info=True)
    faults = sorted(str(entry) for entry in [*about["missing_keys"], *about["mismatched_keys"]])
    if faults:  # of which transformers itself only warns
        raise InputError(
            f"the weights of {shown} lack or misshape {len(faults)} of the model's ({', '.join(faults[:3])}); get "
            "them again"
        )
    whole.float()
    # As read, weights lie at odd places of the file's memory, and sums over them differ in the last bit from a copy's.
    for tensor in [*whole.parameters(), *whole.buffers()]:
        tensor.data = tensor.data.clone()
    with reaching(f"the image processor of {shown}", local):
        pixels, _ = ImageProcessingMixin.get_image_processor_dict(name)
    context = int(whole.config.text_config.max_position_embeddings)
    tokenizer = tokenizer_of(name, min(context, _ALIGN_CONTEXT) if kind == "align" else context, {})
    mask = "end" if kind == "clip" else "padding"
    settings = whole.config.to_dict()
    for values in (settings, settings["text_config"], settings["vision_config"]):
        for key in _OF_THE_FILE:
            values.pop(key, None)
    options = {"config": settings, "mask": mask, "pad_id": tokenizer.pad_id}
    described = ModelConfig(
        name=shown,
        spec=spec_from(pixels),
        image=TowerConfig(kind, options),
        text=TowerConfig(kind, {}),
        tokenizer=tokenizer,
        dim=int(whole.config.projection_dim),
    )
    model = Model(described, *_split(kind, whole, mask, tokenizer.pad_id), build_tokenizer(tokenizer))
    assert model.logit_scale is not None
    model.logit_scale.data.fill_(-math.log(whole.temperature.item()) if kind == "align" else whole.logit_scale.item())
    return model


@contextmanager
def _without_bars() -> Iterator[None]:
    logs: Any = transformers_logging  # untyped in some versions
    shown = logs.is_progress_bar_enabled()
    logs.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logs.enable_progress_bar()


def spec_from(values: Mapping[str, Any]) -> ImageSpec:
    """Read the settings of an image processor.

    EfficientNet's scales by 1 / 127.5, takes 1 away, and may not normalize: the same as a mean and deviation of a half.
    """
    scale = float(values.get("rescale_factor", 1 / 255)) * 255 if values.get("do_rescale", True) else 255.0
    offset = 1.0 if values.get("rescale_offset") else 0.0
    mean, std = 0.0, 1.0
    if values.get("do_normalize", True):
        mean, std = values["image_mean"], values["image_std"]
    resized = values.get("size", 224)
    before = side_of(resized)
    size = side_of(values.get("crop_size", resized)) if values.get("do_center_crop", True) else before
    return spec_of(
        size,
        [(offset + value) / scale for value in three_of(mean)],
        [value / scale for value in three_of(std)],
        _PIL_FILTERS.get(values.get("resample", 3), ""),
        crop_fraction=size / before,
        resize_mode="squash" if isinstance(resized, Mapping) and "height" in resized else "shortest",
    )


def write(model: Model, folder: Path) -> None:
    """Write an ALIGN or a CLIP with a Vision Transformer for `transformers.AutoModel.from_pretrained(FOLDER)`."""
    kind, tokenizer = model.config.image.kind, model.config.tokenizer
    if tokenizer is None or kind not in (*KINDS, "open_clip"):
        raise no_code(model, "transformers")
    if kind == "open_clip":
        whole: Any = CLIPModel(_clip_config(model))
        state = _renamed(model, _PARTS | _LAYERS)
        state["text_projection.weight"] = state.pop("text_model.text_projection").T
    else:
        state = _renamed(model, _PARTS)
        whole = KINDS[kind][1](_config_from(kind, model.config.image.options["config"]))
        if kind == "align":
            state["temperature"] = torch.exp(-state.pop("logit_scale"))
            unused = {name: value for name, value in whole.state_dict().items() if "text_model.pooler" in name}
            state |= {name: torch.zeros_like(value) for name, value in unused.items()}
    put_weights(whole, state, model.name)
    with _without_bars():
        whole.save_pretrained(folder)
    shutil.copymode(folder / "config.json", folder / "model.safetensors")  # which only its owner may read otherwise
    write_tokenizer(tokenizer, folder)
    spec = model.spec
    before = round(spec.size / spec.crop_fraction)
    squash = spec.resize_mode == "squash"
    processor = {
        "image_processor_type": "EfficientNetImageProcessor" if kind == "align" else "CLIPImageProcessor",
        "do_resize": True,
        "size": {"height": before, "width": before} if squash else {"shortest_edge": before},
        "resample": 2 if spec.interpolation == "bilinear" else 3,
        "do_center_crop": True,
        "crop_size": {"height": spec.size, "width": spec.size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
    }
    write_json(folder / "preprocessor_config.json", processor)


def features(folder: Path) -> Callable[[Tensor, list[str]], tuple[Tensor, Tensor]]:
    """Load the folder with transformers; return what embeds images and texts with it."""
    with _without_bars():
        whole: Any = AutoModel.from_pretrained(folder).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)

    def embed(pixels: Tensor, texts: list[str]) -> tuple[Tensor, Tensor]:
        tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        words = {key: tokens[key] for key in ("input_ids", "attention_mask")}
        images, told = whole.get_image_features(pixel_values=pixels), whole.get_text_features(**words)
        # transformers 5 wraps the points of the shared space, and 4 gives them as they are.
        return getattr(images, "pooler_output", images), getattr(told, "pooler_output", told)

    return embed


# Parts of the names of weights, in our models and in transformers.
_PARTS = {
    "image.trunk.": "vision_model.",
    "text.trunk.": "text_model.",
    "text.projection.": "text_projection.",
    "image_projection.": "visual_projection.",
}
# The same within open_clip's towers.
_LAYERS = {
    "transformer.resblocks.": "encoder.layers.",
    ".ln_1.": ".layer_norm1.",
    ".ln_2.": ".layer_norm2.",
    ".attn.": ".self_attn.",
    ".mlp.c_fc.": ".mlp.fc1.",
    ".mlp.c_proj.": ".mlp.fc2.",
    ".class_embedding": ".embeddings.class_embedding",
    ".positional_embedding": ".embeddings.position_embedding.weight",
    ".token_embedding.": ".embeddings.token_embedding.",
    ".conv1.": ".embeddings.patch_embedding.",
    ".ln_pre.": ".pre_layrnorm.",
    ".ln_post.": ".post_layernorm.",
    ".ln_final.": ".final_layer_norm.",
}


def _renamed(model: Model, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Return the weights of both towers and the temperature by their names in transformers."""
    state: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        if not name.startswith(("head.", "projector.")):
            for ours, theirs in names.items():
                name = name.replace(ours, theirs)
            if "in_proj_" in name:  # of open_clip: queries, keys and values in one
                thirds = zip("qkv", value.chunk(3), strict=True)
                state |= {name.replace("in_proj_", f"{part}_proj."): third for part, third in thirds}
            else:
                state[name] = value
    return state


def _clip_config(model: Model) -> CLIPConfig:
    """Return transformers' configuration of open_clip's Vision Transformer and text transformer."""
    assert model.config.text is not None
    vision, text = model.config.image.options["vision_cfg"], model.config.text.options["text_cfg"]
    if "patch_size" not in vision or isinstance(vision["layers"], (list, tuple)) or "heads" not in text:
        raise InputError(
            f"transformers' CLIP has a Vision Transformer and a text transformer, and {model.name} has other towers; "
            "export it to open_clip"
        )
    words = int(text.get("vocab_size", 49408))
    towers = [
        {
            "hidden_size": int(tower["width"]),
            "intermediate_size": int(tower["width"] * tower.get("mlp_ratio", 4.0)),
            "num_hidden_layers": tower["layers"],
            "num_attention_heads": heads,
            "hidden_act": "quick_gelu" if model.config.image.options.get("quick_gelu") else "gelu",
            "projection_dim": model.config.dim,
        }
        for tower, heads in ((vision, vision["width"] // vision.get("head_width", 64)), (text, text["heads"]))
    ]
    marks = {"bos_token_id": words - 2, "eos_token_id": words - 1, "pad_token_id": words - 1}
    return CLIPConfig(
        projection_dim=model.config.dim,
        vision_config={**towers[0], "image_size": vision["image_size"], "patch_size": vision["patch_size"]},
        text_config={
            **towers[1],
            **marks,
            "vocab_size": words,
            "max_position_embeddings": text.get("context_length", 77),
        },
    )
