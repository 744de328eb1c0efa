"""Models of open_clip and timm, measured, and their scores beside those libraries' own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import timm
import torch

from imagenet_captions.captions.caption_template import open_clip_templates
from imagenet_captions.evaluation.classifiers import embed_names
from imagenet_captions.evaluation.evaluate import EvaluateSettings, evaluate
from imagenet_captions.evaluation.extract import Reading
from imagenet_captions.evaluation.settings import ClassifierSettings
from imagenet_captions.imagenet import classes
from imagenet_captions.images.pixels import EvalTransform, normalise
from imagenet_captions.models.load import load_model
from tests.evaluation.made_sets import picture, write_files
from tests.models.conftest import TINY_VIT, open_clip_folder

CPU = Reading(4, 1, "cpu")


def test_a_zero_shot_classifier_is_open_clips(tmp_path: Path) -> None:
    theirs = open_clip_folder(tmp_path / "model", TINY_VIT)
    names = [classes.by_wnid(wnid).name for wnid in classes.wnids()[:9]]
    found = embed_names(load_model(str(tmp_path / "model")), names, open_clip_templates())
    tokenizer = open_clip.SimpleTokenizer(context_length=16)
    templates = open_clip.OPENAI_IMAGENET_TEMPLATES
    with torch.no_grad():
        expected = open_clip.build_zero_shot_classifier(theirs, tokenizer, names, templates, device="cpu")
    np.testing.assert_allclose(found.T, expected.numpy(), atol=1e-5)


def test_the_head_of_a_timm_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("test_resnet", num_classes=1000).eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.pt")
    source = f"timm:test_resnet@{tmp_path / 'weights.pt'}"
    model = load_model(source)
    images = [picture(200 - 25 * number, 30 * number, 40, "PNG") for number in range(8)]
    pixels = torch.stack([EvalTransform(model.spec)(image) for image in images])
    with torch.no_grad():
        chosen = theirs(normalise(pixels, model.spec)).argmax(dim=1).tolist()
    # Every other image has the label that timm's model gives it, the rest the one after that.
    labels = [(label + number % 2) % 1000 for number, label in enumerate(chosen)]
    files = {f"{classes.by_index(label).wnid}/{number}.png": images[number] for number, label in enumerate(labels)}
    write_files(tmp_path / "val", files)
    found = evaluate(EvaluateSettings(source, (("imagenet", tmp_path / "val"),), ClassifierSettings("head"), CPU))
    assert found["test_sets"]["imagenet"]["top1"] == 0.5
    assert found["head_classes"] == 1000
