"""Models of open_clip: their towers, and how they are loaded and written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import open_clip
from huggingface_hub import hf_hub_download
from open_clip.convert import convert_state_dict
from open_clip.model import (
    CLIPTextCfg,
    CLIPVisionCfg,
    _build_text_tower,
    _build_vision_tower,
    convert_to_custom_text_state_dict,
    resize_pos_embed,
    resize_text_pos_embed,
)
from open_clip.timm_model import TimmModel
from open_clip.transform import PreprocessCfg
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from transformers import AutoConfig

from imagenet_captions.errors import InputError, quoted, unknown_name
from imagenet_captions.images.image_spec import ImageSpec
from imagenet_captions.models import config as preprocess
from imagenet_captions.models.config import ModelConfig, TokenizerConfig, TowerConfig
from imagenet_captions.models.load import no_text_tower
from imagenet_captions.models.model import Model
from imagenet_captions.models.timm import known_name
from imagenet_captions.models.tokenizing import build_tokenizer, tokenizer_of, write_tokenizer
from imagenet_captions.models.weights import (
    DESCRIPTION,
    find_weights,
    put_weights,
    read_weights,
    state_of,
    write_weights,
)
from imagenet_captions.storage.faults import reaching
from imagenet_captions.storage.files import read_json, write_json

# open_clip builds whole models in public and single towers in these two alone; CLIP and CoCa are made of them.


class FirstOutput(nn.Module):
    """A tower of open_clip of which only the first output is used; some, such as CoCa's, have several."""

    def __init__(self, trunk: nn.Module, width: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.width = width

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the pooled features, or the embedded texts."""
        out = self.trunk(inputs)
        first: Tensor = out[0] if isinstance(out, tuple) else out
        return first


def split_visual(visual: nn.Module, dim: int) -> tuple[nn.Module, nn.Module]:
    """Split open_clip's image tower into the part that gives features and the projection to the shared space.

    A ResNet's attention pool ends with its projection, so its features are the shared space's points, as in what
    open_clip gives out; a Vision Transformer and a timm model are cut before the last layer.
    """
    if isinstance(visual, VisionTransformer) and isinstance(visual.proj, nn.Parameter):
        weight = visual.proj.detach().T.contiguous()
        # On no device at first: random weights for it would shift those that come after from open_clip's own.
        projection = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        projection.weight = nn.Parameter(weight)
        visual.proj = None
        return FirstOutput(visual, weight.shape[1]), projection
    if isinstance(visual, TimmModel) and len(visual.head) and "pool" not in visual.head._modules:
        last = visual.head._modules.get("proj") or visual.head._modules["mlp"].fc1
        return FirstOutput(visual.trunk, last.in_features), visual.head
    return FirstOutput(visual, dim), nn.Identity()


def only_architecture(vision: Mapping[str, Any], text: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of two towers so that building them loads no weights and runs no code.

    Raises InputError for an image tower that is not timm's own, or a text tower whose code is not in transformers.
    """
    if vision.get("timm_model_name"):
        known_name(vision["timm_model_name"])
    if text.get("hf_model_name"):
        # Without this, open_clip lets transformers ask on the terminal whether to run the code of the repository.
        about = AutoConfig.from_pretrained(text["hf_model_name"], trust_remote_code=False)
        # An implementation may be named as a kernel of the hub, which is code too.
        kernels = {value for key, value in vars(about).items() if "_implementation" in key} - {None, "eager", "sdpa"}
        if getattr(about, "auto_map", None) or kernels:
            raise InputError(f"the text tower {quoted(text['hf_model_name'])} has code of its own, which is never run")
    return {**vision, "timm_model_pretrained": False}, {**text, "hf_model_pretrained": False}


def build_image(options: Mapping[str, Any]) -> tuple[nn.Module, nn.Module]:
    """Build an image tower of open_clip with random weights, and its projection."""
    vision, _ = only_architecture(options["vision_cfg"], {})
    dim = options["embed_dim"]
    return split_visual(_build_vision_tower(dim, CLIPVisionCfg(**vision), options["quick_gelu"]), dim)


def build_text(options: Mapping[str, Any], dim: int) -> nn.Module:
    """Build a text tower of open_clip with random weights, its projection included."""
    name = options["text_cfg"].get("hf_model_name")
    with reaching(f"the text tower {name}", not name):
        _, text = only_architecture({}, options["text_cfg"])
        return FirstOutput(_build_text_tower(dim, CLIPTextCfg(**text), options["quick_gelu"]), dim)


def config_named(name: str) -> dict[str, Any]:
    """Return one of open_clip's configurations by name."""
    config: dict[str, Any] | None = open_clip.get_model_config(name) if name in open_clip.list_models() else None
    if config is None:
        raise unknown_name("open_clip model", name, open_clip.list_models())
    return config


def named_config(name: str, shown: str) -> ModelConfig:
    """Return our configuration for one of open_clip's, with the pixels of OpenAI's models."""
    config = config_named(name)
    size = config["vision_cfg"].get("image_size", 224)
    return describe(config, preprocess.from_open_clip({**asdict(PreprocessCfg()), "size": size}), shown)


def describe(config: Mapping[str, Any], spec: ImageSpec, shown: str, tokenizer: str | None = None) -> ModelConfig:
    """Turn a configuration of open_clip into ours; `tokenizer` is the folder that holds one, if there is one."""
    quick = bool(config.get("quick_gelu", False))
    dim = int(config["embed_dim"])
    vision = {**config["vision_cfg"], "timm_model_pretrained": False}
    text = {**config["text_cfg"], "hf_model_pretrained": False}
    return ModelConfig(
        name=shown,
        spec=spec,
        image=TowerConfig("open_clip", {"embed_dim": dim, "vision_cfg": vision, "quick_gelu": quick}),
        text=TowerConfig("open_clip", {"text_cfg": text, "quick_gelu": quick}),
        tokenizer=_tokenizer(config["text_cfg"], tokenizer),
        dim=dim,
    )


def _tokenizer(text: Mapping[str, Any], folder: str | None) -> TokenizerConfig:
    """Return CLIP's byte pairs if the configuration names no other tokenizer."""
    context = int(text.get("context_length", 77))
    options = dict(text.get("tokenizer_kwargs") or {})
    if not text.get("hf_tokenizer_name"):
        return TokenizerConfig("clip", context, options=options)
    if text.get("tokenizer_mode"):
        raise InputError(
            f"the tokenizer's mode {quoted(text['tokenizer_mode'])} is not read here; use open_clip itself"
        )
    options = {"clean": options.get("clean", "whitespace"), "strip_end": bool(options.get("strip_sep_token"))}
    return tokenizer_of(folder or text["hf_tokenizer_name"], context, options)


CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
)
# What OpenAI's weights and older versions of transformers keep among the weights, and the model makes itself.
_NO_WEIGHTS = {
    "attn_mask",
    "input_resolution",
    "context_length",
    "vocab_size",
    "text.transformer.embeddings.position_ids",
}


@dataclass(frozen=True)
class _Found:
    """The parts of a model that was found: open_clip's configuration, its pixels, its weights, its tokenizer."""

    shown: str
    config: dict[str, Any]
    pixels: Mapping[str, Any]
    weights: Path
    tokenizer: str | None = None


def load(name: str, weights: str) -> Model:
    """Load one of open_clip's models by name with the weights of a tag or a file, or `org/repository` from the hub.

    Raises InputError for a name, a tag or a file that is not there, or a hub that is not reached.
    """
    shown = f"open_clip:{name}" + (f"@{weights}" if weights else "")
    if "/" in name and not weights:
        return _load(_on_hub(name, shown))
    config = config_named(name)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if Path(weights).is_file():
        return _load(_Found(shown, config, {}, Path(weights)))
    if weights in tags:
        tag: dict[str, Any] = open_clip.get_pretrained_cfg(name, weights)
        with reaching(shown):
            path = Path(open_clip.download_pretrained(tag))
        return _load(_Found(shown, {**config, "quick_gelu": bool(tag.get("quick_gelu"))}, tag, path))
    if not weights:
        some = ", ".join(f"open_clip:{name}@{tag}" for tag in tags[:3])
        raise InputError(f"{shown} names no weights; name some, as in {some or f'open_clip:{name}@FILE'}")
    if "/" in weights or Path(weights).suffix:
        raise InputError(f"the weights {weights} of {shown.split('@', 1)[0]} do not exist; check the path")
    raise unknown_name(f"weights of open_clip:{name}, and no file,", weights, tags)


def load_folder(folder: Path, shown: str) -> Model:
    """Load a folder in open_clip's format for the hub: open_clip_config.json, weights, and a tokenizer if needed."""
    whole = read_json(folder / CONFIG_FILE, dict[str, Any], DESCRIPTION)
    weights = find_weights(folder, WEIGHTS_FILES)
    return _load(_found(whole, shown, weights, folder / CONFIG_FILE, str(folder)))


def _on_hub(name: str, shown: str) -> _Found:
    with reaching(shown):
        config = Path(hf_hub_download(name, CONFIG_FILE))
        weights = Path(open_clip.pretrained.download_pretrained_from_hf(name))
    return _found(read_json(config, dict[str, Any], DESCRIPTION), shown, weights, config, None)


def _found(whole: Mapping[str, Any], shown: str, weights: Path, file: Path, tokenizer: str | None) -> _Found:
    config = whole.get("model_cfg")
    if not isinstance(config, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= config.keys():
        raise InputError(
            f"{file} describes no model of open_clip (no model_cfg with embed_dim, vision_cfg and text_cfg)"
        )
    return _Found(shown, config, whole.get("preprocess_cfg") or {}, weights, tokenizer)


def _load(found: _Found) -> Model:
    dim = int(found.config["embed_dim"])
    defaults = {key: value for key, value in asdict(PreprocessCfg()).items() if key != "size"}
    pixels = {key: found.pixels[key] for key in defaults if found.pixels.get(key) is not None}
    spec = preprocess.from_open_clip(
        {**defaults, **pixels, "size": found.config["vision_cfg"].get("image_size", found.pixels.get("size", 224))}
    )
    loaded = read_weights(found.weights)
    with reaching(found.shown, not found.config["text_cfg"].get("hf_model_name")):
        whole = _whole(found.config)
    put_weights(whole, _fitting(whole, loaded, found.weights), found.weights)
    config = describe(found.config, spec, found.shown, found.tokenizer)
    assert config.tokenizer is not None
    image, projection = split_visual(whole.visual, dim)
    model = Model(config, image, projection, FirstOutput(whole.text, dim), build_tokenizer(config.tokenizer))
    assert model.logit_scale is not None
    model.logit_scale.data.fill_(whole.logit_scale.item())
    return model


def _whole(config: Mapping[str, Any]) -> Any:
    """Build open_clip's model with random weights; its text tower is always a separate part."""
    kind = open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP
    options = {key: value for key, value in config.items() if key not in ("custom_text", "vision_cfg", "text_cfg")}
    vision, text = only_architecture(config["vision_cfg"], config["text_cfg"])
    return kind(vision_cfg=vision, text_cfg=text, **options)


def _fitting(whole: nn.Module, loaded: Any, path: Path) -> dict[str, Tensor]:
    """Rename and reshape weights for the model, as open_clip's own loader does."""
    state: dict[str, Tensor] = convert_state_dict(whole, state_of(loaded, path))
    if "positional_embedding" in state:
        state = convert_to_custom_text_state_dict(state)
    state = {key: value for key, value in state.items() if key not in _NO_WEIGHTS}
    for key in ("logit_scale", "logit_bias"):
        if key in state and getattr(whole, key, None) is not None:
            state[key] = state[key].reshape(getattr(whole, key).shape)
    if "visual.positional_embedding" in state:
        resize_pos_embed(state, whole)
    if "text.positional_embedding" in state:
        resize_text_pos_embed(state, whole)
    return state


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
