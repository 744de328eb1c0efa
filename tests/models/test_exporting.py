"""Exported models: loaded by the other library alone, with the features that they have here."""

from __future__ import annotations

import copy
import json
import os
import stat
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.evaluate import evaluate
from imagenet_captions.evaluation.results import read_answers
from imagenet_captions.evaluation.settings import ClassifierSettings, EvaluateSettings, Reading
from imagenet_captions.models.build import build, build_model
from imagenet_captions.models.config import config_of
from imagenet_captions.models.load import export_model, load_model, save_model
from imagenet_captions.models.model import Model
from tests.command_line import run_cli
from tests.evaluation.made_sets import write_parquet
from tests.models.conftest import TINY_VIT, open_clip_folder, pixels

TEXTS = ["a photo of a golden retriever", "IMG_1234 — Café del Mar!!", "don't 12 months & counting 🐕", ""]
TINY_RESNET = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8}
TINY_TIMM = {"image_size": 32, "timm_model_name": "resnet18", "timm_pool": "", "timm_proj": "linear"}

# Each program reads FOLDER and the inputs, and writes what the library computes, without this package.
WITHOUT_US = "import sys\nsys.modules['imagenet_captions'] = None\nimport torch\nfolder, given, out = sys.argv[1:]\n"
WITHOUT_US += "given = torch.load(given)\npixels, texts = given['pixels'], given['texts']\n"
LOADERS = {
    "open_clip": """
import open_clip
model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(texts)
with torch.no_grad():
    found = [model.eval().encode_image(pixels), model.encode_text(tokens)]
torch.save(found, out)
""",
    "transformers": """
import transformers
model = transformers.AutoModel.from_pretrained(folder).eval()
tokens = transformers.AutoTokenizer.from_pretrained(folder)(
    texts, padding="max_length", truncation=True, return_tensors="pt")
with torch.no_grad():
    found = model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], pixel_values=pixels)
torch.save([found.image_embeds, found.text_embeds], out)
""",
    "timm": """
import timm
model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
with torch.no_grad():
    found = model(pixels)
torch.save([found], out)
""",
}

# open_clip's own zero-shot evaluation of the images in a folder, in the order of their names.
ZERO_SHOT = """
import pathlib
import open_clip
from PIL import Image
model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
templates = [lambda name: f"a photo of a {name}."]
classifier = open_clip.build_zero_shot_classifier(model.eval(), tokenizer, given["names"], templates)
files = sorted(pathlib.Path(given["images"]).iterdir())
with torch.no_grad():
    features = model.encode_image(torch.stack([preprocess(Image.open(file)) for file in files]), normalize=True)
torch.save((features @ classifier).argmax(dim=1), out)
"""


def features_by(library: str, folder: Path, scratch: Path) -> Any:
    return run_without_us(LOADERS[library], folder, scratch, {"pixels": pixels(), "texts": TEXTS})


def run_without_us(program: str, folder: Path, scratch: Path, given: dict[str, Any]) -> Any:
    given_file, out_file = scratch / "given.pt", scratch / "out.pt"
    torch.save({"pixels": None, "texts": None, **given}, given_file)
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT_US + program, folder, given_file, out_file]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return torch.load(out_file)


def check(model: Model, library: str, folder: Path, scratch: Path) -> None:
    """The library's features of images and texts, or of images alone, are the model's."""
    found = features_by(library, folder, scratch)
    with torch.no_grad():
        if library == "timm":
            ours = [model.class_logits(pixels()) if model.has_head else model.image_features(pixels())]
        else:
            found = [F.normalize(each, dim=-1) for each in found]
            ours = [model.embed_images(pixels()), model.embed_texts(model.tokenize(TEXTS))]
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(found, ours, strict=True))


def saved(model: Model, folder: Path) -> Path:
    folder.mkdir()
    save_model(model, folder)
    return folder


@cache
def after_some_steps(name: str) -> Model:
    """A model whose batch statistics are those of images, so that its features do not vanish."""
    model = build_model(name, seed=1).train()
    with torch.no_grad():
        for _ in range(20):
            model.image_features(torch.randn(16, 3, 32, 32))
    return model.eval()


def trained(name: str) -> Model:
    """A copy of such a model."""
    return copy.deepcopy(after_some_steps(name))


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("vit-micro", "open_clip"),
        pytest.param("vit-micro", "transformers", marks=pytest.mark.slow),
        pytest.param("align-micro", "transformers", marks=pytest.mark.slow),
    ],
)
def test_images_and_texts_have_their_features_in_the_other_library(name: str, library: str, tmp_path: Path) -> None:
    model = trained(name)
    folder = export_model(str(saved(model, tmp_path / "ours")), library, tmp_path / "theirs")
    check(model, library, folder, tmp_path)


FROM_ANYWHERE = """
import open_clip
model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(given["words"])
torch.save(model.eval().encode_text(tokens), out)
"""


@pytest.mark.parametrize(
    ("name", "library"), [("vit-micro", "open_clip"), ("vit-micro", "transformers"), ("basic-micro", "timm")]
)
def test_two_exports_are_alike_and_name_no_folder(name: str, library: str, tmp_path: Path) -> None:
    ours = str(saved(trained(name), tmp_path / "ours"))
    one, other = (export_model(ours, library, tmp_path / out) for out in ("one", "other"))
    contents = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in (one, other)]
    assert contents[0] == contents[1]
    assert not [file for file, content in contents[0].items() if b"partial" in content or b"/one" in content]


def test_an_export_works_wherever_it_lies(tmp_path: Path) -> None:
    model = trained("vit-micro")
    export_model(str(saved(model, tmp_path / "ours")), "open_clip", tmp_path / "theirs")
    (tmp_path / "elsewhere").mkdir()
    texts = run_without_us(FROM_ANYWHERE, Path("..") / "theirs", tmp_path / "elsewhere", {"words": TEXTS})
    with torch.no_grad():
        assert torch.allclose(F.normalize(texts, dim=-1), model.embed_texts(model.tokenize(TEXTS)), atol=1e-5)


@pytest.mark.slow
def test_open_clip_evaluates_an_exported_model_as_this_package_does(tmp_path: Path) -> None:
    names, images = ["frog", "golden retriever", "sea"], []
    (tmp_path / "images").mkdir()
    for number, values in enumerate(np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), np.uint8)):
        Image.fromarray(values).save(tmp_path / "images" / f"{number:03d}.png")
        images.append((tmp_path / "images" / f"{number:03d}.png").read_bytes())
    data = write_parquet(tmp_path / "test.parquet", [at % 3 for at in range(60)], names, images)
    ours = saved(trained("vit-micro"), tmp_path / "ours")
    settings = EvaluateSettings(str(ours), (("own", data),), ClassifierSettings(prompts="one"), Reading(device="cpu"))
    evaluate(settings, tmp_path / "metrics.json")
    answers = read_answers(tmp_path / "metrics.answers.parquet")["own"]["prediction"].to_pylist()
    folder = export_model(str(ours), "open_clip", tmp_path / "theirs")
    found = run_without_us(ZERO_SHOT, folder, tmp_path, {"names": names, "images": str(tmp_path / "images")})
    assert [names[at] for at in found.tolist()] == answers
    assert len(set(answers)) > 1


@pytest.mark.slow
@pytest.mark.parametrize("vision", [TINY_RESNET, TINY_TIMM], ids=["resnet", "timm"])
def test_what_open_clip_made_goes_back_to_it(vision: dict[str, Any], tmp_path: Path) -> None:
    model = load_model(str(_made(tmp_path / "made", vision)))
    folder = export_model(str(tmp_path / "made"), "open_clip", tmp_path / "theirs")
    check(model, "open_clip", folder, tmp_path)
    assert json.loads((folder / "open_clip_config.json").read_text())["preprocess_cfg"]["interpolation"] == "bilinear"


def _made(folder: Path, vision: dict[str, Any]) -> Path:
    open_clip_folder(folder, vision)
    return folder


@pytest.mark.parametrize("classes", [None, ("n01440764", "n01443537", "n01484850")])
def test_an_image_tower_of_timm_has_its_outputs_there(classes: tuple[str, ...] | None, tmp_path: Path) -> None:
    model = trained("basic-micro")
    if classes:
        model.drop_text()
        model.set_head(classes)
    folder = export_model(str(saved(model, tmp_path / "ours")), "timm", tmp_path / "theirs")
    check(model, "timm", folder, tmp_path)
    about = json.loads((folder / "config.json").read_text())["pretrained_cfg"]
    assert about.get("label_names", []) == list(classes or ())


@pytest.mark.parametrize(
    ("name", "library", "said"),
    [
        ("micro", "open_clip", "open_clip has no code for the micro towers of micro; no other library has them either"),
        ("micro", "timm", "timm has no code for the micro image tower of micro"),
        ("micro", "transformers", "transformers has no code for the micro image tower of micro"),
        (
            "align-micro",
            "open_clip",
            "open_clip has no code for the align towers of align-micro; export it to transformers",
        ),
        ("basic-micro", "transformers", "transformers has no code for the timm image tower of basic-micro"),
        ("vit-micro", "timm", "timm has no code for the open_clip image tower of vit-micro"),
        ("vit-micro", "onnx", "no library to export to is called 'onnx'"),
    ],
)
def test_what_a_library_has_no_code_for_is_refused(name: str, library: str, said: str, tmp_path: Path) -> None:
    ours = saved(trained(name), tmp_path / "ours")
    with pytest.raises(InputError) as error:
        export_model(str(ours), library, tmp_path / "theirs")
    assert str(error.value).startswith(said)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours"]


@pytest.mark.parametrize("library", ["open_clip", "transformers"])
@pytest.mark.parametrize(
    ("name", "advice"),
    [("vit-micro", "timm has no code for its image tower either"), ("basic-micro", "export it to timm")],
)
def test_a_model_without_a_text_tower_goes_to_timm_if_timm_has_it(
    name: str, advice: str, library: str, tmp_path: Path
) -> None:
    images_alone = build(config_of(name).image_only())
    ours = saved(images_alone, tmp_path / "ours")
    with pytest.raises(InputError, match=f"has no text tower, .*; {advice}$"):
        export_model(str(ours), library, tmp_path / "theirs")


def test_the_steps_of_open_clip_are_not_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    export_model(str(saved(trained("vit-micro"), tmp_path / "ours")), "open_clip", tmp_path / "theirs")
    assert ".partial" not in caplog.text


def test_a_resnet_of_clip_is_refused_for_transformers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has a ResNet as its image tower, which transformers' CLIP does not"):
        export_model(str(_made(tmp_path / "made", TINY_RESNET)), "transformers", tmp_path / "theirs")


@pytest.mark.parametrize("other", ["other weights", "another width"])
def test_wrong_weights_are_found_before_the_folder_appears(
    other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = saved(trained("vit-micro"), tmp_path / "ours")
    from imagenet_captions.models import open_clip as writer

    write = writer.write

    def write_other(model: Model, folder: Path) -> None:
        model = build_model("vit-micro", seed=2)
        write(model if other == "other weights" else load_model(str(_made(ours / "tiny", TINY_VIT))), folder)

    monkeypatch.setattr(writer, "write", write_other)
    with pytest.raises(InputError, match="open_clip computes other features from the exported files"):
        export_model(str(ours), "open_clip", tmp_path / "theirs")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours"]


def test_a_folder_that_has_files_is_not_touched(tmp_path: Path) -> None:
    ours = saved(trained("vit-micro"), tmp_path / "ours")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "mine.txt").write_text("mine")
    done = run_cli("export-model", str(ours), "--to", "open_clip", "--out", str(tmp_path / "theirs"))
    assert done.returncode == 2
    assert f"the output {tmp_path / 'theirs'} exists; give the name of a new folder" in done.stderr
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["mine.txt"]


def test_weights_have_the_rights_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    usual = stat.S_IMODE((tmp_path / "new").stat().st_mode)
    ours = saved(trained("vit-micro"), tmp_path / "ours")
    folders = [ours, *(export_model(str(ours), name, tmp_path / name) for name in ("open_clip", "transformers"))]
    files = [file for folder in folders for file in folder.iterdir()]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {usual}
