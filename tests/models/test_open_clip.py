from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from imagenet_captions.errors import InputError
from imagenet_captions.models.build import build_model
from imagenet_captions.models.load import load_model
from tests.models import conftest
from tests.models.conftest import TINY_RESNET, TINY_TEXT, TINY_TIMM, TINY_VIT, open_clip_folder, pixels, refusal

MODELS = Path(__file__).parents[2] / "docs" / "reference" / "models.md"
TEXTS = ["a photo of a dog", "cat, cat, cat, cat, cat, cat, cat, cat, cat, cat, cat, cat, cat"]


@pytest.mark.parametrize(
    ("vision", "width", "source"),
    [(TINY_VIT, 32, "org/name"), (TINY_RESNET, 24, "local-dir:FOLDER"), (TINY_TIMM, 512, "local-dir:FOLDER")],
    ids=["vit of the hub", "resnet", "timm"],
)
def test_folder_gives_what_open_clip_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vision: dict[str, Any], width: int, source: str
) -> None:
    whole = open_clip_folder(tmp_path, vision)
    hub = {"org/name": tmp_path}  # the folder stands in for what the hub would give
    monkeypatch.setattr("imagenet_captions.models.open_clip.hf_hub_download", lambda name, file: hub[name] / file)
    monkeypatch.setattr("open_clip.pretrained.download_pretrained_from_hf", hub.get)
    model = load_model(f"open_clip:{source.replace('FOLDER', str(tmp_path))}")
    tokens = open_clip.SimpleTokenizer(context_length=16)(TEXTS)
    with torch.no_grad():
        images, texts, scale = whole(pixels(), tokens)
        assert torch.equal(model.tokenize(TEXTS), tokens)
        torch.testing.assert_close(model.embed_images(pixels()), images)
        torch.testing.assert_close(model.embed_texts(tokens), texts)
        assert model.logit_scale.exp() == scale  # type: ignore[union-attr]
        assert model.image_features(pixels()).shape == (4, width)
    assert (model.width, model.spec.size, model.spec.interpolation) == (width, 32, "bilinear")
    assert (model.spec.mean, model.spec.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A configuration of open_clip's, called tiny."""
    config = {"embed_dim": 24, "vision_cfg": TINY_VIT, "text_cfg": TINY_TEXT}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", config)
    return config


@pytest.mark.parametrize("vision", [TINY_VIT, TINY_RESNET], ids=["vit", "resnet"])
def test_a_model_starts_where_open_clip_starts(tiny: dict[str, Any], vision: dict[str, Any]) -> None:
    """The same seed gives open_clip's weights, so that steps can be compared with its own training's."""
    tiny["vision_cfg"] = vision
    torch.manual_seed(11)
    theirs = open_clip.create_model("tiny", pretrained=None).eval()
    ours = build_model("open_clip:tiny", 11).eval()
    tokens = ours.tokenize(TEXTS)
    with torch.no_grad():
        torch.testing.assert_close(ours.embed_images(pixels()), theirs.encode_image(pixels(), normalize=True))
        torch.testing.assert_close(ours.embed_texts(tokens), theirs.encode_text(tokens, normalize=True))
    assert theirs.logit_scale == ours.logit_scale
    count = sum(parameter.numel() for parameter in theirs.parameters())
    assert sum(parameter.numel() for parameter in ours.parameters()) == count


def test_name_with_a_file_of_weights(tmp_path: Path, tiny: dict[str, Any]) -> None:
    """As open_clip's own training writes them: under state_dict, with DDP's prefix."""
    whole = open_clip_folder(tmp_path, tiny["vision_cfg"])
    state = {f"module.{key}": value for key, value in whole.state_dict().items()}
    torch.save({"epoch": 3, "name": "tiny", "state_dict": state}, tmp_path / "epoch_3.pt")
    model = load_model(f"open_clip:tiny@{tmp_path / 'epoch_3.pt'}")
    conftest.assert_images_of(model, whole)
    assert model.spec.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))


def test_openai_weights_bring_their_activation(
    tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tags that were trained with QuickGELU get it without being asked, where open_clip only warns."""
    whole = open_clip.CLIP(**tiny, quick_gelu=True).eval()
    torch.save(whole.state_dict(), tmp_path / "weights.pt")
    tags = {"openai": {"quick_gelu": True, "mean": (0.5, 0.5, 0.5), "std": 0.25}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny", tags)
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda tag, **_: str(tmp_path / "weights.pt"))
    model = load_model("open_clip:tiny@openai")
    conftest.assert_images_of(model, whole)
    assert (model.spec.mean, model.spec.std) == ((0.5,) * 3, (0.25,) * 3)
    conftest.assert_same_when_saved(model, tmp_path / "ours")


def test_openais_own_archive_is_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenAI published TorchScript archives, all of models with QuickGELU."""
    config = {"embed_dim": 24, "vision_cfg": TINY_VIT, "text_cfg": TINY_TEXT, "quick_gelu": True}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-quickgelu", config)
    monkeypatch.chdir(tmp_path)
    whole = open_clip.CLIP(**config).eval()
    for name in ("input_resolution", "context_length", "vocab_size"):
        vars(whole).pop(name, None)
        whole.register_buffer(name, torch.tensor(16))
    (recipe,) = re.findall(r"```python\n(import torch\n.*?)```", MODELS.read_text(), re.DOTALL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = pixels(1), whole.positional_embedding.new_zeros(1, 16).long()
        torch.jit.save(torch.jit.trace(whole, given, check_trace=False), "ViT-B-32.pt")
        with pytest.raises(InputError, match="a TorchScript archive, whose code is never run"):
            load_model("open_clip:tiny-quickgelu@ViT-B-32.pt")
        exec(recipe)
    conftest.assert_images_of(load_model("open_clip:tiny-quickgelu@ViT-B-32-weights.pt"), whole)


def test_a_text_tower_of_another_tokenizer(tmp_path: Path) -> None:
    """A folder whose configuration names a tokenizer brings it; open_clip cleans its texts first."""
    open_clip_folder(tmp_path, TINY_VIT)
    conftest.write_bert_tokenizer(tmp_path)
    words = {"hf_tokenizer_name": "somebody/words", "tokenizer_kwargs": {"strip_sep_token": True}}
    conftest.change_json(tmp_path / "open_clip_config.json", "model_cfg", "text_cfg", to={**TINY_TEXT, **words})
    tokens = load_model(str(tmp_path)).tokenize(["a   photo&amp;of dog"])
    assert tokens.tolist() == [[2, 4, 5, 1, 6, 7, *[0] * 10]]


@pytest.mark.parametrize(
    ("tower", "change", "said"),
    [
        ("vision_cfg", {"timm_model_name": "local-dir:elsewhere"}, "no timm model is called 'local-dir:elsewhere'"),
        ("vision_cfg", {"checkpoint_path": "evil.pkl"}, "unexpected keyword argument 'checkpoint_path'"),
        ("text_cfg", {"hf_model_name": "tower"}, "cannot be loaded"),
        ("text_cfg", {"hf_model_name": "bert"}, "the text tower 'bert' has code of its own"),
        ("text_cfg", {"hf_model_name": "kernel"}, "the text tower 'kernel' has code of its own"),
        ("text_cfg", {"tokenizer_kwargs": {"bpe_path": "/etc/passwd"}}, "has the option 'bpe_path'"),
    ],
)
def test_a_description_runs_no_code_and_reads_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tower: str, change: dict[str, Any], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked whether to run code"))
    for name, kind in (("tower", "evil"), ("bert", "bert")):
        Path(name).mkdir()
        auto_map = {"AutoConfig": "evil.EvilConfig", "AutoModel": "evil.EvilModel"}
        Path(name, "config.json").write_text(json.dumps({"model_type": kind, "auto_map": auto_map}))
        Path(name, "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass EvilConfig: pass\n")
    Path("kernel").mkdir()
    Path("kernel/config.json").write_text(json.dumps({"model_type": "bert", "attn_implementation": "org/kernel"}))
    open_clip_folder(Path("model"), TINY_VIT)
    before = TINY_VIT if tower == "vision_cfg" else TINY_TEXT
    conftest.change_json(Path("model/open_clip_config.json"), "model_cfg", tower, to={**before, **change})
    assert said in refusal("model")
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("open_clip:RN50@opena", "called 'opena'; did you mean openai"),
        ("open_clip:RN50", "names no weights; name some, as in open_clip:RN50@openai"),
        ("open_clip:RN50@missing/file.pt", "and no file, is called 'missing/file.pt'; known are openai"),
        ("open_clip:local-dir:nowhere", "nowhere does not exist"),
        ("open_clipp:RN50", "no library of models is called 'open_clipp'; did you mean open_clip"),
    ],
)
def test_wrong_names(source: str, said: str) -> None:
    assert said in refusal(source)


def test_coca_is_read_without_its_decoder(tmp_path: Path) -> None:
    """Its towers give several outputs, of which the first is the contrastive one."""
    vision = {**TINY_VIT, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
    text = {**TINY_TEXT, "embed_cls": True, "output_tokens": True}
    decoder = {"context_length": 16, "vocab_size": 49408, "width": 24, "heads": 2, "layers": 1, "attn_pooler_heads": 2}
    config = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text, "multimodal_cfg": decoder}
    torch.manual_seed(6)
    whole = open_clip.CoCa(**config).eval()
    torch.save(whole.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    model = load_model(str(tmp_path))
    tokens = model.tokenize(TEXTS)
    with torch.no_grad():
        torch.testing.assert_close(model.embed_images(pixels()), whole.encode_image(pixels()))
        torch.testing.assert_close(model.embed_texts(tokens), whole.encode_text(tokens))
    conftest.assert_same_when_saved(model, tmp_path / "ours")
