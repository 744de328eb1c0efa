"""Models of open_clip: their towers, and how they are loaded and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip
from huggingface_hub import hf_hub_download

# open_clip builds whole models in public and single towers in these two alone; CLIP and CoCa are made of them.
from open_clip.model import CLIPTextCfg, CLIPVisionCfg, _build_text_tower, _build_vision_tower
from open_clip.timm_model import TimmModel
from open_clip.transform import PreprocessCfg
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from transformers import AutoConfig

from imagenet_captions.errors import InputError, quoted, unknown_name
from imagenet_captions.models.config import ModelConfig, TokenizerConfig, TowerConfig, spec_of
from imagenet_captions.models.load import no_code
from imagenet_captions.models.model import Model, Tower
from imagenet_captions.models.timm import known_name
from imagenet_captions.models.tokenizing import build_tokenizer, tokenizer_of, write_tokenizer
from imagenet_captions.models.weights import DESCRIPTION, write_weights
from imagenet_captions.storage.faults import reaching
from imagenet_captions.storage.files import read_json, write_json


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
        return Tower(visual, weight.shape[1]), projection
    if isinstance(visual, TimmModel) and len(visual.head) and "pool" not in visual.head._modules:
        last = visual.head._modules.get("proj") or visual.head._modules["mlp"].fc1
        return Tower(visual.trunk, last.in_features), visual.head
    return Tower(visual, dim), nn.Identity()


def only_architecture(vision: Mapping[str, Any], text: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of two towers so that building them loads no weights; refuse those that would run code."""
    if vision.get("timm_model_name"):
        known_name(vision["timm_model_name"])
    if text.get("hf_model_name"):
        # Without this, open_clip lets transformers ask on the terminal whether to run the code of the repository.
        about = AutoConfig.from_pretrained(text["hf_model_name"], trust_remote_code=False)
        # An implementation may be named as a kernel of the hub, which is code too.
        kernels = {value for key, value in vars(about).items() if "_implementation" in key}
        if getattr(about, "auto_map", None) or kernels - {None, "eager", "sdpa"}:
            name = quoted(text["hf_model_name"])
            raise InputError(f"the text tower {name} has code of its own, which is never run")
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
        return Tower(_build_text_tower(dim, CLIPTextCfg(**text), options["quick_gelu"]), dim)


def config_named(name: str) -> dict[str, Any]:
    """Return one of open_clip's configurations by name."""
    if name not in open_clip.list_models():
        raise unknown_name("open_clip model", name, open_clip.list_models())
    config: dict[str, Any] = open_clip.get_model_config(name)
    return config


def named_config(name: str, shown: str) -> ModelConfig:
    """Return our configuration for one of open_clip's, with the pixels of OpenAI's models."""
    config = config_named(name)
    size = config["vision_cfg"].get("image_size", 224)
    return _describe(config, {**asdict(PreprocessCfg()), "size": size}, shown)


def _describe(
    config: Mapping[str, Any], pixels: Mapping[str, Any], shown: str, tokenizer: str | None = None
) -> ModelConfig:
    """Turn a configuration of open_clip into ours; `tokenizer` is the folder that holds one, if there is one."""
    quick, dim = bool(config.get("quick_gelu", False)), int(config["embed_dim"])
    vision = {**config["vision_cfg"], "timm_model_pretrained": False}
    text = {**config["text_cfg"], "hf_model_pretrained": False}
    mode = pixels["resize_mode"]
    spec = spec_of(pixels["size"], pixels["mean"], pixels["std"], pixels["interpolation"], resize_mode=mode)
    context, options = int(text.get("context_length", 77)), dict(text.get("tokenizer_kwargs") or {})
    if not text.get("hf_tokenizer_name"):
        tokens = TokenizerConfig("clip", context, options=options)
    elif text.get("tokenizer_mode"):
        mode = quoted(text["tokenizer_mode"])
        raise InputError(f"the tokenizer's mode {mode} is not read here; use open_clip itself")
    else:
        options = {"clean": options.get("clean", "whitespace"), "strip_end": bool(options.get("strip_sep_token"))}
        tokens = tokenizer_of(tokenizer or text["hf_tokenizer_name"], context, options)
    return ModelConfig(
        name=shown,
        spec=spec,
        image=TowerConfig("open_clip", {"embed_dim": dim, "vision_cfg": vision, "quick_gelu": quick}),
        text=TowerConfig("open_clip", {"text_cfg": text, "quick_gelu": quick}),
        tokenizer=tokens,
        dim=dim,
    )


CONFIG_FILE = "open_clip_config.json"


def load(name: str, weights: str) -> Model:
    """Load one of open_clip's models by name with the weights of a tag or a file, or `org/repository` from the hub."""
    shown = f"open_clip:{name}" + (f"@{weights}" if weights else "")
    if "/" in name and not weights:
        with reaching(shown):
            folder = Path(hf_hub_download(name, CONFIG_FILE)).parent
            open_clip.pretrained.download_pretrained_from_hf(name)
        return load_folder(folder, shown, of_hub=True)
    config, tags = config_named(name), open_clip.list_pretrained_tags_by_model(name)
    if weights in tags:  # OpenAI's tags get QuickGELU, where open_clip only warns
        tag: dict[str, Any] = open_clip.get_pretrained_cfg(name, weights)
        config["quick_gelu"] = config.get("quick_gelu") or tag.get("quick_gelu")
    elif not weights:
        some = ", ".join(f"open_clip:{name}@{tag}" for tag in tags[:3])
        raise InputError(f"{shown} names no weights; name some, as in {some or f'open_clip:{name}@FILE'}")
    elif not Path(weights).is_file():
        raise unknown_name(f"weights of open_clip:{name}, and no file,", weights, tags)
    return _load(config, shown, name, pretrained=weights, local=weights not in tags)


def load_folder(folder: Path, shown: str, of_hub: bool = False) -> Model:
    """Load a folder in open_clip's format for the hub: open_clip_config.json, weights, and a tokenizer if needed."""
    config = read_json(folder / CONFIG_FILE, dict[str, Any], DESCRIPTION)["model_cfg"]
    return _load(config, shown, f"local-dir:{folder}", tokenizer=None if of_hub else str(folder))


def _load(
    config: dict[str, Any],
    shown: str,
    name: str,
    *,
    pretrained: str | None = None,
    local: bool = True,
    tokenizer: str | None = None,
) -> Model:
    """Let open_clip create a model with its weights, once its description is known to be harmless."""
    with reaching(shown, local and not config["text_cfg"].get("hf_model_name")):
        only_architecture(config["vision_cfg"], config["text_cfg"])
        whole: Any = open_clip.create_model(
            name,
            pretrained,
            force_quick_gelu=bool(config.get("quick_gelu")),
            force_custom_text=True,  # a text tower apart
            require_pretrained=True,
            weights_only=True,
        )
    described = _describe(config, open_clip.get_model_preprocess_cfg(whole), shown, tokenizer)
    assert described.tokenizer is not None
    assert described.dim is not None
    image, projection = split_visual(whole.visual, described.dim)
    text = Tower(whole.text, described.dim)
    model = Model(described, image, projection, text, build_tokenizer(described.tokenizer))
    assert model.logit_scale is not None
    model.logit_scale.data.fill_(whole.logit_scale.item())
    return model


# open_clip reads the tokenizer of a local folder whatever this name is; in a repository it has to be the own one.
_NOT_UPLOADED = "this-repository"


def write(model: Model, folder: Path) -> None:
    """Write a model whose towers are open_clip's for `open_clip.create_model_and_transforms("local-dir:FOLDER")`."""
    image, text, tokenizer = model.config.image, model.config.text, model.config.tokenizer
    if text is None or tokenizer is None or image.kind != "open_clip" or text.kind != "open_clip":
        raise no_code(model, "open_clip")
    spec = model.spec
    if spec.crop_fraction != 1:
        raise InputError(f"open_clip cannot say that {model.name} keeps {spec.crop_fraction:g} of an image's side")
    text_cfg = dict(text.options["text_cfg"])
    if tokenizer.kind != "clip" or "merges" in tokenizer.options:
        write_tokenizer(tokenizer, folder)
        clean = "lower" if tokenizer.kind == "clip" else tokenizer.options.get("clean", "whitespace")
        strip = {"strip_sep_token": True} if "stripped_id" in tokenizer.options else {}
        text_cfg["hf_tokenizer_name"] = text_cfg.get("hf_tokenizer_name") or _NOT_UPLOADED
        text_cfg["tokenizer_kwargs"] = {"clean": clean, **strip}
    elif tokenizer.options:
        text_cfg["tokenizer_kwargs"] = dict(tokenizer.options)
    preprocess = {
        "size": [spec.size, spec.size],
        "mean": list(spec.mean),
        "std": list(spec.std),
        "interpolation": spec.interpolation,
        "resize_mode": spec.resize_mode,
    }
    config = {**image.options, "text_cfg": text_cfg, "custom_text": True}
    write_json(folder / CONFIG_FILE, {"model_cfg": config, "preprocess_cfg": preprocess})
    # The names of open_clip's CustomTextCLIP.
    state = model.state_dict()
    names = {"image.trunk.": "visual.", "text.trunk.": "text.", "logit_scale": "logit_scale"}
    if "timm_model_name" in image.options["vision_cfg"] and any(key.startswith("image_projection.") for key in state):
        names |= {"image.trunk.": "visual.trunk.", "image_projection.": "visual.head."}
    elif "image_projection.weight" in state:
        state["visual.proj"] = state["image_projection.weight"].T
        names["visual.proj"] = "visual.proj"
    weights = {
        theirs + key.removeprefix(ours): value
        for key, value in state.items()
        for ours, theirs in names.items()
        if key.startswith(ours)
    }
    write_weights(weights, folder / "open_clip_model.safetensors", {"format": "pt"})


def features(folder: Path) -> Callable[[Tensor, list[str]], tuple[Tensor, Tensor]]:
    """Load the folder with open_clip; return what embeds images and texts with it."""
    name = f"local-dir:{folder}"
    whole: Any = open_clip.create_model(name).eval()
    tokenizer = open_clip.get_tokenizer(name)
    return lambda pixels, texts: (whole.encode_image(pixels), whole.encode_text(tokenizer(texts)))
