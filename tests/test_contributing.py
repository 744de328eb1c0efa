"""The recipes of CONTRIBUTING.md, applied to a copy of the package to the letter."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TENCH = "n01440764"
RECIPES = re.findall(
    r"^\*\*An? ([a-z ]+)\*\*:.*?^```diff\n(.*?)^```$",
    (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"),
    re.DOTALL | re.MULTILINE,
)

CHOOSE = """
from imagenet_captions.evaluation.known_sets import KNOWN, answers_of
from imagenet_captions.errors import InputError
from imagenet_captions.training.recipes import choose_recipe

print(KNOWN["imagenet-c-fog"].label, len(answers_of(KNOWN["imagenet-c-fog"])))
print(choose_recipe(None, "siglip", "micro", {"lock": "image"}).needs.classifier)
try:
    choose_recipe(None, "siglip", "micro", {"label_smoothing": 0.1})
except InputError as error:
    print(error)
"""

LOSS = """
import torch
from types import SimpleNamespace
from imagenet_captions.training.module import make_objective
from imagenet_captions.training.recipes import find_recipe

model = SimpleNamespace(logit_scale=torch.zeros(()), embed_images=torch.eye, embed_texts=torch.eye)
loss = make_objective(find_recipe("siglip"))(model, SimpleNamespace(images=2, tokens=2))
naive = -(2 * torch.nn.functional.logsigmoid(torch.tensor([-9.0, 10.0]))).sum() / 2
print(bool(torch.isclose(loss, naive)))
"""


def apply(patch: str, folder: Path) -> set[str]:
    """Change the files that a patch names, and return them; what it says of each place must occur once."""
    files = re.split(r"^\+\+\+ (.*)\n", patch, flags=re.MULTILINE)[1:]
    for name, changes in zip(files[::2], files[1::2], strict=True):
        text = (folder / name).read_text(encoding="utf-8")
        for change in changes.split("@@\n"):
            lines = [(line[:1].strip(), line[1:] + "\n") for line in change.splitlines()]
            old = "".join(line for sign, line in lines if sign != "+")
            assert text.count(old) == 1, f"{name} has {old!r} {text.count(old)} times"
            text = text.replace(old, "".join(line for sign, line in lines if sign != "-"))
        (folder / name).write_text(text, encoding="utf-8")
    return set(files[::2])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the changed package, and a dataset that it made."""
    folder = tmp_path_factory.mktemp("contributing")
    shutil.copytree(ROOT / "imagenet_captions", folder / "imagenet_captions", ignore=shutil.ignore_patterns("*.pyc"))
    for _, patch in RECIPES:
        assert len(apply(patch, folder)) <= 3
    texts = {1: ("A TENCH", ["lake", "fish"]), 2: ("Caught", ["lake"]), 3: ("Ab " * 5000, [])}
    entries = [
        {"filename": f"{TENCH}_{number}.JPEG", "wnid": TENCH, "title": title, "tags": tags, "description": ""}
        for number, (title, tags) in texts.items()
    ]
    (folder / "release.json").write_text(json.dumps(entries), encoding="utf-8")
    return folder


def python(folder: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    run = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_each_kind_has_a_recipe() -> None:
    assert [kind for kind, _ in RECIPES] == ["outcome", "caption option", "flag", "test set", "objective"]


def test_an_outcome_a_caption_option_and_a_flag(folder: Path) -> None:
    ours = ("-m", "imagenet_captions")
    told = python(folder, *ours, "build", "--release", "release.json", "--caption", "title lower=yes", "--out", "made")
    assert re.search(r"too_long +1 +33\.3 %", told)
    assert "its caption has more than 10,000 letters" in (folder / "made" / "README.md").read_text(encoding="utf-8")
    python(folder, *ours, "export", "made", "--to", "slim", "--out", "made.csv")
    assert "a tench" in (folder / "made.csv").read_text(encoding="utf-8")
    told = python(folder, *ours, "filter", "--help")
    assert re.search(r"--min-tags N +At least this many tags", told)
    assert "title lower=yes" in python(folder, *ours, "clean", "--help")
    python(folder, *ours, "filter", "made", "--min-tags", "2", "--out-ids", "ids.txt")
    assert (folder / "ids.txt").read_text(encoding="utf-8").split() == [f"{TENCH}_1"]


def test_a_test_set_and_an_objective(folder: Path) -> None:
    assert "siglip" in python(folder, "-m", "imagenet_captions", "train", "--help")
    known, tested, refused = python(folder, "-c", CHOOSE).splitlines()
    assert (known, tested) == ("ImageNet-C (fog, severity 3) 1000", "zero-shot")
    assert refused == "`label_smoothing` has no effect for the objective siglip; leave it out"
    if find_spec("torch"):
        assert python(folder, "-c", LOSS) == "True\n"
