from __future__ import annotations

import io
import json
import logging
import math
import pickle
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, CLIPConfig, CLIPImageProcessor, CLIPModel

from imagenet_captions.models.load import load_model, save_model
from imagenet_captions.models.transformers import spec_from
from tests.models import conftest
from tests.models.conftest import align_folder, pixels, refusal

TEXTS = ["a photo of a dog", "cat"]


def test_an_image_processor_without_a_size_has_transformers_own() -> None:
    values = CLIPImageProcessor().to_dict()
    assert spec_from({name: value for name, value in values.items() if "size" not in name}) == spec_from(values)
    assert spec_from({**values, "image_mean": 0.5, "image_std": 0.25}).std == (0.25,) * 3


def test_align_folder_gives_what_transformers_gives(tmp_path: Path) -> None:
    whole = align_folder(tmp_path / "align")
    model = load_model(f"transformers:{tmp_path / 'align'}")
    tokens = AutoTokenizer.from_pretrained(tmp_path / "align")(
        TEXTS, padding="max_length", max_length=12, truncation=True, return_tensors="pt"
    )
    with torch.no_grad():
        theirs = whole(**tokens, pixel_values=pixels())
        ours = model.embed_images(pixels()) @ model.embed_texts(model.tokenize(TEXTS)).T * model.logit_scale.exp()
    torch.testing.assert_close(ours, theirs.logits_per_image, rtol=1e-4, atol=1e-4)
    assert math.isclose(model.logit_scale.item(), -math.log(0.05), rel_tol=1e-5)
    assert (model.spec.size, model.spec.interpolation, model.spec.resize_mode) == (32, "bilinear", "squash")
    assert model.spec.crop_fraction == pytest.approx(32 / 36)
    assert model.spec.mean + model.spec.std == pytest.approx([0.5] * 6)
    conftest.assert_same_when_saved(model, tmp_path / "ours")


def test_clip_folder_gives_what_transformers_gives(tmp_path: Path) -> None:
    torch.manual_seed(5)
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**tower, "vocab_size": 9, "max_position_embeddings": 10, "eos_token_id": 3, "pad_token_id": 0}
    config = CLIPConfig(projection_dim=12, text_config=text, vision_config={**tower, "image_size": 32, "patch_size": 8})
    whole = CLIPModel(config).eval()
    whole.save_pretrained(tmp_path)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    conftest.write_bert_tokenizer(tmp_path)
    model = load_model(str(tmp_path))
    # The end mark is the highest number of CLIP's own vocabulary; here the tokens are made so by hand.
    tokens = torch.tensor([[1, 2, 8, 0, 0, 0, 0, 0, 0, 0]])
    whole.text_model.eos_token_id = 8
    model.text.trunk.eos_token_id = 8  # type: ignore[union-attr]
    with torch.no_grad():
        theirs = whole(input_ids=tokens, attention_mask=(tokens != 0).long(), pixel_values=pixels())
        ours = model.embed_images(pixels()) @ model.embed_texts(tokens).T * model.logit_scale.exp()
    torch.testing.assert_close(ours, theirs.logits_per_image, rtol=1e-4, atol=1e-4)
    assert (model.spec.size, model.spec.resize_mode, model.width) == (32, "shortest", 16)


def test_weights_that_are_missing_are_an_error_and_no_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    align_folder(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    assert "text_projection.weight" in refusal(str(tmp_path))
    logger.removeHandler(caplog.handler)
    assert not caplog.records
    assert "text_projection" not in capfd.readouterr().err


def _saved(value: object) -> bytes:
    written = io.BytesIO()
    torch.save(value, written)
    return written.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        _saved({"x": conftest.Evil()}),
        pickle.dumps(conftest.Evil()),
        b"version https://git-lfs.github.com/spec/v1\n",
        _saved({"text_projection.weight": "text"}),
        _saved({"x": torch.zeros(2)})[:-30],
    ],
    ids=lambda content: repr(content[:12]),
)
def test_no_code_in_weights_is_run_and_their_fault_is_one_sentence(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    align_folder(tmp_path / "align")
    (tmp_path / "align" / "model.safetensors").unlink()
    (tmp_path / "align" / "pytorch_model.bin").write_bytes(content)
    assert "cannot be loaded" in refusal("align")
    (tmp_path / "x.ckpt").write_bytes(content)
    refusal("x.ckpt")
    assert not Path("ran").exists()


def test_no_code_of_a_tokenizer_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers would ask on the terminal whether to run it."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked whether to run code"))
    align_folder(tmp_path)
    about = {"tokenizer_class": "EvilTokenizer", "auto_map": {"AutoTokenizer": ["evil.EvilTokenizer", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(about))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass EvilTokenizer: pass\n")
    assert re.search("cannot be loaded|has no tokenizer", refusal(str(tmp_path)))
    assert not (tmp_path / "ran").exists()


def test_a_description_names_no_code(tmp_path: Path) -> None:
    """transformers would load a kernel or a quantizer that a description names."""
    align_folder(tmp_path)
    whole = json.loads((tmp_path / "config.json").read_text())
    for values in (whole, whole["text_config"], whole["vision_config"]):
        values |= {"attn_implementation": "org/kernel", "quantization_config": {"quant_method": "gptq"}}
        values |= {"auto_map": {"AutoModel": "evil.Evil"}}
    (tmp_path / "config.json").write_text(json.dumps(whole))
    model = load_model(str(tmp_path))
    assert "org/kernel" not in json.dumps(model.config.to_dict())
    save_model(model, tmp_path / "ours")
    keys = ("image", "options", "config", "text_config", "attn_implementation")
    conftest.change_json(tmp_path / "ours" / "model.json", *keys, to="org/kernel")
    with torch.no_grad():
        again = load_model(str(tmp_path / "ours"))
        torch.testing.assert_close(again.embed_images(pixels()), model.embed_images(pixels()))
