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

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from imagenet_captions.errors import InputError
from imagenet_captions.images.pixels import normalise
from imagenet_captions.models import open_clip as writer
from imagenet_captions.models.build import build_model
from imagenet_captions.models.load import export_model, load_model, save_model
from imagenet_captions.models.model import Model
from imagenet_captions.training.train import train
from tests.command_line import run_cli
from tests.models.conftest import TINY_RESNET, TINY_TIMM, open_clip_folder, pixels
from tests.training.made import settings, write_images

TEXTS = ["a photo of a golden retriever", "IMG_1234 — Café del Mar!!", "don't 12 months & counting 🐕", ""]

# Each program reads FOLDER and the inputs, and writes what the library computes, without this package.
WITHOUT_US = "import sys\nsys.modules['imagenet_captions'] = None\nimport torch\nfolder, given, out = sys.argv[1:]\n"
WITHOUT_US += "given = torch.load(given)\npixels, texts = given['pixels'], given['texts']\n"
LOADERS = {
    "open_clip": """
import open_clip
from PIL import Image
model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(texts)
with torch.no_grad():
    found = [model.eval().encode_image(pixels), model.encode_text(tokens)]
torch.save([*found, preprocess(Image.fromarray(given["picture"].numpy()))], out)
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


def check(model: Model, library: str, folder: Path, scratch: Path) -> None:
    """The library's features of images and texts, or of images alone, are the model's."""
    (scratch / "elsewhere").mkdir()
    given_file, out_file = scratch / "given.pt", scratch / "out.pt"
    picture = (pixels(1)[0].abs() * 60).byte().permute(1, 2, 0)
    torch.save({"pixels": pixels(), "texts": TEXTS, "picture": picture}, given_file)
    told = os.path.relpath(folder, scratch / "elsewhere")
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT_US + LOADERS[library], told, given_file, out_file]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    subprocess.run(command, cwd=scratch / "elsewhere", env=environment, check=True)
    found = torch.load(out_file)
    with torch.no_grad():
        if library == "timm":
            ours = [model.class_logits(pixels()) if model.has_head else model.image_features(pixels())]
        else:
            found[:2] = [F.normalize(each, dim=-1) for each in found[:2]]
            ours = [model.embed_images(pixels()), model.embed_texts(model.tokenize(TEXTS))]
        if library == "open_clip":
            ours.append(normalise(picture.permute(2, 0, 1)[None], model.spec)[0])
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(found, ours, strict=True))


def saved(model: Model, folder: Path) -> str:
    save_model(model, folder / "ours")
    return str(folder / "ours")


@cache
def after_some_steps(name: str) -> Model:
    """A model whose batch statistics are those of images, so that its features do not vanish."""
    model = build_model(name, seed=1).train()
    with torch.no_grad():
        for _ in range(20):
            model.image_features(torch.randn(16, 3, 32, 32))
    return model.eval()


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("vit-micro", "open_clip"),
        pytest.param("vit-micro", "transformers", marks=pytest.mark.slow),
        pytest.param("align-micro", "transformers", marks=pytest.mark.slow),
    ],
)
def test_images_and_texts_have_their_features_in_the_other_library(name: str, library: str, tmp_path: Path) -> None:
    model = after_some_steps(name)
    folder = export_model(saved(model, tmp_path), library, tmp_path / "theirs")
    check(model, library, folder, tmp_path)


@pytest.mark.parametrize(("name", "library"), [("vit-micro", "transformers"), ("basic-micro", "timm")])
def test_two_exports_are_alike_and_neither_they_nor_the_log_name_the_private_folder(
    name: str, library: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    ours = saved(after_some_steps(name), tmp_path)
    one, other = (export_model(ours, library, tmp_path / out) for out in ("one", "other"))
    contents = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in (one, other)]
    assert contents[0] == contents[1]
    assert not [file for file, content in contents[0].items() if b"partial" in content or b"/one" in content]
    assert ".partial" not in caplog.text
    (tmp_path / "new").touch()
    files = [tmp_path / "new", *Path(ours).iterdir(), *one.iterdir()]
    assert len({stat.S_IMODE(file.stat().st_mode) for file in files}) == 1, "the rights of any new file"


@pytest.mark.slow
@pytest.mark.parametrize("vision", [TINY_RESNET, TINY_TIMM], ids=["resnet", "timm"])
def test_what_open_clip_made_goes_back_to_it(vision: dict[str, Any], tmp_path: Path) -> None:
    open_clip_folder(tmp_path / "made", vision)
    folder = export_model(str(tmp_path / "made"), "open_clip", tmp_path / "theirs")
    check(load_model(str(tmp_path / "made")), "open_clip", folder, tmp_path)
    assert json.loads((folder / "open_clip_config.json").read_text())["preprocess_cfg"]["interpolation"] == "bilinear"


@pytest.mark.parametrize(
    "classes", [("n01440764", "n01443537", "n01484850"), pytest.param(None, marks=pytest.mark.slow)]
)
def test_an_image_tower_of_timm_has_its_outputs_there(classes: tuple[str, ...] | None, tmp_path: Path) -> None:
    model = copy.deepcopy(after_some_steps("basic-micro"))
    if classes:
        model.drop_text()
        model.set_head(classes)
    folder = export_model(saved(model, tmp_path), "timm", tmp_path / "theirs")
    check(model, "timm", folder, tmp_path)
    about = json.loads((folder / "config.json").read_text())["pretrained_cfg"]
    assert about.get("label_names", []) == list(classes or ())


@pytest.mark.parametrize(
    ("name", "library", "said"),
    [
        ("micro", "open_clip", "no code for the micro image tower of micro; train the model vit-micro"),
        ("micro images", "timm", "no code for the micro .* without texts; train the model basic-micro"),
        ("align-micro", "open_clip", "open_clip has no code for the align image tower .*; export it to transformers$"),
        ("vit-micro", "timm", "no code for the open_clip image tower of vit-micro; export it to open_clip$"),
        ("vit-micro images", "open_clip", "without texts; no library has such a tower alone$"),
        ("vit-micro", "onnx", "no library to export to is called 'onnx'"),
        ("resnet", "transformers", "has other towers; export it to open_clip$"),
    ],
)
def test_what_a_library_has_no_code_for_is_refused(name: str, library: str, said: str, tmp_path: Path) -> None:
    preset, _, images_alone = name.partition(" ")
    if preset == "resnet":
        open_clip_folder(tmp_path / "ours", TINY_RESNET)
    else:
        model = build_model(preset, seed=0)
        if images_alone:
            model.drop_text()
        saved(model, tmp_path)
    with pytest.raises(InputError, match=said):
        export_model(str(tmp_path / "ours"), library, tmp_path / "theirs")
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]


def test_wrong_weights_are_found_before_the_folder_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, write = saved(after_some_steps("vit-micro"), tmp_path), writer.write
    monkeypatch.setattr(writer, "write", lambda _, folder: write(build_model("vit-micro", seed=2), folder))
    with pytest.raises(InputError, match="open_clip computes other features from the exported files"):
        export_model(ours, "open_clip", tmp_path / "theirs")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours"]


def test_the_card_says_how_a_run_was_trained(tmp_path: Path) -> None:
    run = settings(write_images(tmp_path / "data.parquet"), tmp_path / "run", steps=2)
    train(run)
    for source in (run.out, run.out / "checkpoints" / "last.ckpt"):
        card = (export_model(str(source), "open_clip", tmp_path / f"of {source.name}") / "README.md").read_text()
        assert "contrastive, from random weights, 2 steps of 8 images a step, adamw, learning rate 0.002" in card
        assert "**Dataset**: data.parquet\n" in card
        assert str(tmp_path) not in card


def test_a_folder_that_has_files_is_not_touched(tmp_path: Path) -> None:
    ours = saved(after_some_steps("vit-micro"), tmp_path)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "mine.txt").write_text("mine")
    done = run_cli("export-model", ours, "--to", "open_clip", "--out", tmp_path / "theirs")
    assert done.returncode == 2
    assert f"the output {tmp_path / 'theirs'} exists; give the name of a new folder" in done.stderr
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["mine.txt"]
