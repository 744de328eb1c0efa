"""Small folders of models with random weights, as the libraries themselves write them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from transformers import AlignConfig, AlignModel, BertTokenizerFast

from imagenet_captions.errors import InputError
from imagenet_captions.models.load import load_model, save_model
from imagenet_captions.models.model import Model

TINY_TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
TINY_RESNET = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}
TINY_TIMM = {"image_size": 32, "timm_model_name": "resnet10t", "timm_pool": "", "timm_proj": "linear"}
TINY_VIT = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "photo", "of", "dog", "cat"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The models are too small to share."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pixels(count: int = 4, size: int = 32) -> torch.Tensor:
    """The same random images every time."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(7))


def assert_images_of(model: Model, whole: Any) -> None:
    """Our model embeds images as open_clip's does."""
    with torch.no_grad():
        torch.testing.assert_close(model.embed_images(pixels()), whole.encode_image(pixels(), normalize=True))


def assert_same_when_saved(model: Model, folder: Path) -> None:
    """The model that is loaded from our own files computes the same, to the last bit."""
    save_model(model, folder)
    again, images = load_model(str(folder)), pixels(2, model.spec.size)
    assert (again.has_text, again.has_head) == (model.has_text, model.has_head)
    with torch.no_grad():
        assert torch.equal(again.image_features(images), model.image_features(images))
        if model.has_head:
            assert torch.equal(again.class_logits(images), model.class_logits(images))
        if model.has_text:
            texts = again.tokenize(["a photo of a dog", "cat"])
            assert torch.equal(texts, model.tokenize(["a photo of a dog", "cat"]))
            assert torch.equal(again.embed_images(images), model.embed_images(images))
            assert torch.equal(again.embed_texts(texts), model.embed_texts(texts))


class Evil:
    """A pickle that makes the file `ran` when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("ran"),)


class Overwrites(torch.nn.Module):
    """TorchScript that writes four numbers into the file `ran` when it is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.zeros(1)

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, bool]:
        return self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:
        self.weight = torch.from_file("ran", True, 4).copy_(torch.ones(4))
        self.training = state[1]

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels


def refusal(source: str) -> str:
    """The one sentence with which a model is refused."""
    with pytest.raises(InputError) as caught:
        load_model(source)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 2000
    return str(caught.value)


def change_json(path: Path, *keys: Any, to: Any) -> None:
    """Set what lies below these keys of a JSON file."""
    values = inner = json.loads(path.read_text())
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = to
    path.write_text(json.dumps(values))


def open_clip_folder(folder: Path, vision: dict[str, Any], preprocess: dict[str, Any] | None = None) -> Any:
    """A folder as open_clip's push_to_hub writes it; gives back open_clip's own model."""
    config = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": TINY_TEXT}
    torch.manual_seed(3)
    whole = open_clip.CLIP(**config)
    with torch.no_grad():
        whole.logit_scale.fill_(3.25)
    folder.mkdir(parents=True, exist_ok=True)
    pixels_config = preprocess or {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bilinear"}
    about = {"model_cfg": config, "preprocess_cfg": pixels_config}
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    torch.save(whole.state_dict(), folder / "open_clip_pytorch_model.bin")
    return whole.eval()


def write_bert_tokenizer(folder: Path) -> None:
    """BERT's tokenizer with nine words, as a checkpoint of ALIGN brings it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)


def align_folder(folder: Path) -> Any:
    """A folder of ALIGN as transformers writes it, EfficientNet's image processor included."""
    torch.manual_seed(4)
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    vision = {"image_size": 32, "width_coefficient": 0.25, "depth_coefficient": 0.2}
    text |= {"vocab_size": len(WORDS), "max_position_embeddings": 12}
    config = AlignConfig(projection_dim=80, text_config=text, vision_config=vision)
    whole = AlignModel(config)
    with torch.no_grad():
        whole.temperature.fill_(0.05)
        whole.vision_model(pixels(16))  # batch statistics: without any, the features fade to 0 from block to block
    whole.save_pretrained(folder)
    write_bert_tokenizer(folder)
    pixels_config = {"do_normalize": False, "rescale_factor": 1 / 127.5, "rescale_offset": True, "resample": 2}
    sizes = {"size": {"height": 36, "width": 36}, "crop_size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(json.dumps({**pixels_config, **sizes}))
    return whole.eval()
