"""Mistakes on the command line of `evaluate`; the tests of the docs run the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagenet_captions.models.build import build_model
from imagenet_captions.models.load import save_model
from tests.command_line import invoke


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A micro model with random weights and a head of two classes."""
    made = build_model("micro", seed=0)
    made.set_head(["cat", "dog"])
    folder = tmp_path_factory.mktemp("model") / "made"
    save_model(made, folder)
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("MODEL --on micro --out m.json", "give NAME=PATH"),
        ("MODEL --on imagenet=nowhere --out m.json", "nowhere does not exist"),
        ("nowhere --on imagenet=val --out m.json", "nowhere"),
        ("MODEL --on imagenet=val --out m.json --results r.csv", "one of imagenet-v2"),
        ("MODEL --on imagenet=val --out m.json --as x", "give --results too"),
        ("MODEL --on imagenet=val --out m.json --classifier k-shot", "give them as --train"),
        ("MODEL --on imagenet=val --out m.json --device abacus", "--device 'abacus'"),
    ],
)
def test_mistakes_are_one_sentence(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("val").mkdir()
    code, output = invoke("evaluate", *arguments.replace("MODEL", str(model)).split())
    assert code == 2
    assert output.count("\n") == 1, output
    assert message in output
    assert not (tmp_path / "m.json").exists()
