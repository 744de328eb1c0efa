"""Each classifier against a plain version of itself, or against scikit-learn."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from imagenet_captions.captions.caption_template import open_clip_templates
from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.classifiers import (
    Head,
    Trained,
    ZeroShot,
    choose_rows,
    cosines,
    embed_names,
    find_columns,
    fit_logistic,
    fit_probe,
    fit_prototypes,
    read_names,
    read_prompts,
)
from imagenet_captions.imagenet import classes
from imagenet_captions.images.examples import Class
from imagenet_captions.models.load import load_model
from tests.evaluation.made_model import DIM, MadeModel, text_by_hand, unit_by_hand
from tests.models.conftest import TINY_VIT, open_clip_folder

CLASSES = tuple(Class(wnid, classes.by_wnid(wnid).name) for wnid in classes.wnids()[:7])


def blobs(count: int, classes_: int = 4, width: int = 10, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Features of overlapping classes, on scales that differ by a thousand, with labels and ids."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes_, width))
    labels = random.integers(0, classes_, count)
    features = (centres[labels] + 1.5 * random.normal(size=(count, width))) * 10.0 ** np.linspace(-1, 2, width) + 3
    return features.astype(np.float32), labels, [f"{seed}/{number}" for number in range(count)]


def test_zero_shot_by_hand(tmp_path: Path) -> None:
    prompts, names = tmp_path / "prompts.txt", tmp_path / "names.txt"
    prompts.write_text("a drawing of {}\n\nno {}!\n")
    names.write_text("".join(f"{each.key}\tthing {each.key}\n" for each in CLASSES))
    templates = ["a drawing of {}", "no {}!"]
    model = MadeModel()
    images = unit_by_hand(np.random.default_rng(1).normal(size=(20, DIM)))
    classifier = ZeroShot(model, str(prompts), str(names))
    found = classifier.scores(images.astype(np.float32), CLASSES)
    assert classifier.about["sentences"] == len(templates)
    for column, class_ in enumerate(CLASSES):
        sentences = [text_by_hand(model, template.format(f"thing {class_.key}")) for template in templates]
        direction = unit_by_hand(sum(sentences) / len(sentences))
        assert found[:, column] == pytest.approx(images @ direction, abs=1e-5)


def test_a_zero_shot_classifier_is_open_clips(tmp_path: Path) -> None:
    theirs = open_clip_folder(tmp_path / "model", TINY_VIT)
    names = [classes.by_wnid(wnid).name for wnid in classes.wnids()[:9]]
    found = embed_names(load_model(str(tmp_path / "model")), names, open_clip_templates())
    tokenizer = open_clip.SimpleTokenizer(context_length=16)
    templates = open_clip.OPENAI_IMAGENET_TEMPLATES
    with torch.no_grad():
        expected = open_clip.build_zero_shot_classifier(theirs, tokenizer, names, templates, device="cpu")
    np.testing.assert_allclose(found.T, expected.numpy(), atol=1e-5)


def test_names_of_classes(tmp_path: Path) -> None:
    assert read_names("curated", CLASSES) == CLASSES
    assert [each.name for each in read_names("wordnet", CLASSES)][:3] == ["tench", "goldfish", "great white shark"]
    in_order = tmp_path / "names.txt"
    in_order.write_text("\n".join(f"name {number}" for number in range(1000)))
    assert read_names(str(in_order), CLASSES[2:4])[0] == Class(CLASSES[2].key, "name 2")
    in_order.write_text("one\ntwo\n")
    assert [each.name for each in read_names(str(in_order), CLASSES[:2])] == ["one", "two"]
    with pytest.raises(InputError, match="2 names for 3 classes"):
        read_names(str(in_order), CLASSES[:3])
    in_order.write_text(f"{CLASSES[0].key}\tone\n")
    with pytest.raises(InputError, match=f"no name for 1 classes, such as '{CLASSES[1].key}'"):
        read_names(str(in_order), CLASSES[:2])


def test_prompts_that_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    for text, message in (("", "sentence ''"), ("{}\na photo\n", "sentence 'a photo'"), ("{} {}", "{} once")):
        file.write_text(text)
        with pytest.raises(InputError, match=message):
            read_prompts(str(file))
    with pytest.raises(InputError, match="the file eighty does not exist"):
        read_prompts("eighty")
    with pytest.raises(InputError, match="no text tower"):
        ZeroShot(MadeModel(has_text=False))
    with pytest.raises(InputError, match="`names` FILE"):
        ZeroShot(MadeModel(), "none").prepare([Class("0", "0"), Class("1", "1")])


def sklearn_probe(x: np.ndarray, y: np.ndarray, strength: float):  # type: ignore[no-untyped-def]
    linear_model = pytest.importorskip("sklearn.linear_model", reason="needs scikit-learn, of the extra dev")
    return linear_model.LogisticRegression(C=1 / (strength * len(x)), max_iter=5000, tol=1e-8).fit(x, y)


@pytest.mark.parametrize("strength", [10.0, 1e-3])
def test_the_probe_is_scikit_learns(strength: float) -> None:
    features, labels, _ = blobs(300)
    x = (features - features.mean(axis=0)) / features.std(axis=0)
    start = torch.zeros(4, x.shape[1] + 1)
    weights = fit_logistic(torch.from_numpy(x), torch.from_numpy(labels), start, strength).numpy()
    theirs = sklearn_probe(x.astype(np.float64), labels, strength)
    logits = x @ weights[:, :-1].T + weights[:, -1]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.abs(shares - theirs.predict_proba(x)).max() < 2e-3


def test_the_probes_strength_is_the_best_on_images_held_out(caplog: pytest.LogCaptureFixture) -> None:
    features, labels, ids = blobs(240, width=30)
    with caplog.at_level("INFO"):
        score, about = fit_probe(features, labels, ids, 4, seed=3)
    assert f"strength 10, held-out top-1 {100 * about['held_out_top1']['10']:.2f} %" in caplog.text
    quota = {label: int(0.2 * n) for label, n in enumerate(np.bincount(labels))}
    held = np.isin(np.arange(240), choose_rows(ids, labels, quota, 3))
    assert about["held_out_images"] == held.sum() == sum(quota.values())
    x = ((features - features.mean(axis=0)) / features.std(axis=0)).astype(np.float64)
    best = max(about["held_out_top1"].values())
    found = [float(strength) for strength in about["held_out_top1"]]
    halves = [strength for strength in found if not math.log10(strength).is_integer()]
    top = max(set(found) - set(halves), key=lambda strength: (about["held_out_top1"][f"{strength:.3g}"], strength))
    assert halves == pytest.approx([top / 10**0.5, top * 10**0.5], rel=0.01)
    for strength, top1 in about["held_out_top1"].items():
        theirs = sklearn_probe(x[~held], labels[~held], float(strength))
        assert top1 == pytest.approx(theirs.score(x[held], labels[held]), abs=1.01 / held.sum())
        if top1 == best:
            assert float(strength) <= about["strength"] * 1.01
    whole = sklearn_probe(x, labels, about["strength"])
    test, own, _ = blobs(500, width=30, seed=8)
    theirs = whole.predict((test - features.mean(axis=0)) / features.std(axis=0))
    assert (score(test).argmax(axis=1) == theirs).mean() > 0.99
    assert (theirs == own).mean() > 0.5


def test_a_probe_with_one_image_a_class_and_one_class_without() -> None:
    features = np.array([[1, 0, 5], [0, 1, 5]], np.float32)
    score, about = fit_probe(features, np.array([0, 2]), ["a", "b"], 3)
    assert about == {"strength": 0.5, "held_out_images": 0, "held_out_top1": {}}
    assert score(features).argmax(axis=1).tolist() == [0, 2]
    assert np.isneginf(score(features)[:, 1]).all()


def test_shots_are_seeded_nested_and_of_every_class() -> None:
    ids = [f"image {number}" for number in range(200)]
    labels = np.array([number % 3 for number in range(190)] + [3] * 2 + [-1] * 8)
    quotas = {k: dict.fromkeys(range(4), k) for k in (1, 2, 4, 8)}
    chosen = {k: set(choose_rows(ids, labels, quota, seed=1).tolist()) for k, quota in quotas.items()}
    assert chosen[1] < chosen[2] < chosen[4] < chosen[8]
    for k, rows in chosen.items():
        assert np.bincount(labels[sorted(rows)]).tolist() == [k, k, k, min(k, 2)]
    assert chosen[8] != set(choose_rows(ids, labels, quotas[8], seed=2).tolist())
    turned = choose_rows(ids[::-1], labels[::-1], quotas[8], seed=1)
    assert {199 - row for row in turned.tolist()} == chosen[8]


def test_the_head_is_asked_for_its_own_columns() -> None:
    logits = np.random.default_rng(0).normal(size=(6, 7)).astype(np.float32)
    wanted = (CLASSES[5], CLASSES[0], CLASSES[2])
    found = Head(MadeModel([each.key for each in CLASSES])).scores(logits, wanted)
    assert found.tolist() == [[row[5], row[0], row[2]] for row in logits]
    by_name = Head(MadeModel(["frog", "Great_White Shark", "tench"]))
    assert by_name.scores(logits[:, :3], (CLASSES[0], CLASSES[2])).tolist() == logits[:, [2, 1]].tolist()
    with pytest.raises(InputError, match="no head"):
        Head(MadeModel())
    with pytest.raises(InputError, match=r"2 classes \(tench, frog\), and 1 of the test set's 2 .*\(goldfish\)"):
        Head(MadeModel([CLASSES[0].key, "frog"])).prepare(CLASSES[:2])


def test_a_trained_classifier_never_chooses_classes_it_has_not_seen() -> None:
    features, labels, _ = blobs(60)
    directions = fit_prototypes(features, labels, 4)
    trained = Trained(lambda seen: cosines(seen, directions), CLASSES[:4], {})
    found = trained.scores(features, (CLASSES[6], CLASSES[1]))
    assert np.isneginf(found[:, 0]).all()
    assert np.isfinite(found[:, 1]).all()
    own = [Class("0", "cat"), Class("1", "dog"), Class("2", "dog")]
    assert find_columns(own, [Class("0", "Dog"), Class("5", "cat"), Class("1", "bird")]).tolist() == [-1, 0, -1]
    with pytest.raises(InputError, match="1 of the test set's 1 are not among them"):
        trained.prepare([Class("cat", "cat")])
