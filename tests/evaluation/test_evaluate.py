"""From files to metrics.json: every number against loops in numpy over the same files."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation import evaluate as evaluation
from imagenet_captions.evaluation.evaluate import EvaluateSettings, evaluate_model, results_of
from imagenet_captions.evaluation.extract import Reading, extract
from imagenet_captions.evaluation.known_sets import objectnet_folders
from imagenet_captions.evaluation.settings import ClassifierSettings
from imagenet_captions.imagenet import classes
from imagenet_captions.images.examples import open_examples
from tests.command_line import invoke
from tests.evaluation.made_model import SIZE, MadeModel, features_by_hand, joint_by_hand, text_by_hand
from tests.evaluation.made_sets import write_files, write_parquet

WNIDS = classes.wnids()
R, A = classes.read_list("imagenet-r"), classes.read_list("imagenet-a")
OBJECTNET = {wnid: folder for folder, wnids in objectnet_folders().items() for wnid in wnids}
CPU = Reading(7, 1, "cpu")
Pixels = np.ndarray


def noise(seed: int, border: int = 0) -> tuple[bytes, Pixels]:
    """A PNG of noise, and its pixels without the border, which is red."""
    inner = np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    whole = np.zeros((SIZE + 2 * border, SIZE + 2 * border, 3), np.uint8)
    whole[..., 0] = 255
    whole[border : border + SIZE, border : border + SIZE] = inner
    buffer = io.BytesIO()
    Image.fromarray(whole).save(buffer, "PNG")
    return buffer.getvalue(), inner


def write_folders(root: Path, folders: list[str], seed: int, border: int = 0) -> tuple[list[str], Pixels]:
    """An image for each folder name; which folder and which pixels it has."""
    made = [noise(seed + number, border) for number in range(len(folders))]
    write_files(root, {f"{folder}/{number}.png": made[number][0] for number, folder in enumerate(folders)})
    return folders, np.stack([pixels for _, pixels in made])


def zero_shot_by_hand(model: MadeModel, pixels: Pixels, wnids: list[str]) -> list[list[float]]:
    directions = [text_by_hand(model, f"a photo of a {classes.by_wnid(wnid).name}.") for wnid in wnids]
    return [[float(image @ direction) for direction in directions] for image in joint_by_hand(model, pixels)]


def naive(scores: list[list[float]], answers: list[str], columns: list[str]) -> dict[str, Any]:
    """Top-1, top-5 and mean over classes of scores whose columns are answers; the best column of an answer counts."""
    top1, top5, per_class = 0, 0, {}
    for row, answer in zip(scores, answers, strict=True):
        best: dict[str, float] = {}
        for column, score in zip(columns, row, strict=True):
            best[column] = max(score, best.get(column, -9e9))
        order = sorted(best, key=lambda key: -best[key])
        top1 += order[0] == answer
        top5 += answer in order[:5]
        seen = per_class.setdefault(answer, [0, 0])
        seen[0] += 1
        seen[1] += order[0] == answer
    mean = sum(right / n for n, right in per_class.values()) / len(per_class)
    return {
        "n": len(answers),
        "top1": top1 / len(answers),
        "top5": top5 / len(answers),
        "mean_per_class": pytest.approx(mean),
        "classes": len(per_class),
        "per_class": {key: {"n": n, "correct": right} for key, (n, right) in per_class.items()},
    }


def part(entry: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in like}


def favoured(answers: dict[str, str], pixels: Pixels, model: MadeModel, k: int) -> list[str]:
    """Labels of which some are right: one of the first k answers in each image's zero-shot order.

    `answers` maps the wnids among which is chosen to what each stands for.
    """
    places = np.random.default_rng(1).integers(0, k, len(pixels))
    labels = []
    for row, place in zip(zero_shot_by_hand(model, pixels, list(answers)), places, strict=True):
        order = [answer for _, answer in sorted(zip(row, answers.values(), strict=True), reverse=True)]
        labels.append(list(dict.fromkeys(order))[place])
    return labels


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, list[str], Pixels]]:
    """ImageNet, R, A and ObjectNet of a few images each, with labels that the model gets right now and then."""
    root, model = tmp_path_factory.mktemp("sets"), MadeModel()
    found = {}
    answers = {"imagenet": sorted({*R, *A, *OBJECTNET}), "imagenet-r": R, "imagenet-a": A, "objectnet": OBJECTNET}
    for seed, (name, own) in enumerate(answers.items()):
        pixels = np.stack([noise(1000 * seed + number)[1] for number in range(30)])
        meaning = own if isinstance(own, dict) else {wnid: wnid for wnid in own}
        labels = favoured(meaning, pixels, model, 9) + ["air_freshener"] * (name == "objectnet")
        border = 2 if name == "objectnet" else 0
        found[name] = (root / name, *write_folders(root / name, labels, 1000 * seed, border))
    return found


def zero_shot(**sets: tuple[Path, list[str], Pixels]) -> EvaluateSettings:
    named = tuple((name, path) for name, (path, _, _) in sets.items())
    return EvaluateSettings("made", named, ClassifierSettings(prompts="one"), CPU)


def test_every_set_by_hand(sets: dict[str, tuple[Path, list[str], Pixels]]) -> None:
    model = MadeModel()
    metrics = evaluate_model(model, zero_shot(**sets))
    assert (metrics["model"], metrics["classifier"], metrics["prompts"]) == ("made", "zero-shot", "one")
    for name, own in (("imagenet", WNIDS), ("imagenet-r", R), ("imagenet-a", A)):
        _, labels, pixels = sets[name]
        expected = naive(zero_shot_by_hand(model, pixels, list(own)), labels, list(own))
        assert part(metrics["test_sets"][name], expected) == expected
        assert name == "imagenet" or 0 < expected["top1"] < 1

    _, folders, pixels = sets["objectnet"]
    scores = zero_shot_by_hand(model, pixels[:30], list(OBJECTNET))
    expected = naive(scores, folders[:30], list(OBJECTNET.values()))
    entry = metrics["test_sets"]["objectnet"]
    assert part(entry, expected) == expected
    assert 0 < expected["top1"] < expected["top5"] < 1
    assert (entry["expected"], entry["missing"]) == (18_574, 18_544)
    assert entry["left_out"] == {"no class of ImageNet's": 1}

    _, labels, pixels = sets["imagenet"]
    parts = {"r": {each: each for each in R}, "a": {each: each for each in A}, "objectnet": OBJECTNET}
    for letter, meaning in parts.items():
        kept = [number for number, label in enumerate(labels) if label in meaning]
        scores = zero_shot_by_hand(model, pixels[kept], list(meaning))
        expected = naive(scores, [meaning[labels[number]] for number in kept], list(meaning.values()))
        assert part(metrics["test_sets"][f"imagenet_on_{letter}_classes"], expected) == expected
    assert set(results_of(metrics)) == {*sets, *(f"imagenet_on_{each}_classes" for each in parts)}


def test_the_head_on_a_part_of_its_classes(sets: dict[str, tuple[Path, list[str], Pixels]]) -> None:
    model = MadeModel(WNIDS)
    path, labels, pixels = sets["imagenet-r"]
    settings = EvaluateSettings("made", (("imagenet-r", path),), ClassifierSettings("head"), CPU)
    metrics = evaluate_model(model, settings)
    logits = features_by_hand(model, pixels) @ model.head.detach().numpy().astype(np.float64)
    expected = naive(logits[:, [WNIDS.index(wnid) for wnid in R]].tolist(), labels, list(R))
    assert part(metrics["test_sets"]["imagenet-r"], expected) == expected
    few = MadeModel(WNIDS[:10])
    with pytest.raises(InputError, match="the classifier has 10 classes"):
        evaluate_model(few, settings)


def test_classifiers_made_of_images(tmp_path: Path) -> None:
    model = MadeModel()
    folders, pixels = write_folders(tmp_path / "train", ["cat"] * 6 + ["dog"] * 6 + ["owl"] * 2, 0)
    names = ["bird", "cat", "dog"]
    test = [noise(seed) for seed in range(50, 62)]
    labels = np.random.default_rng(2).integers(1, 3, 12).tolist()
    path = write_parquet(tmp_path / "test.parquet", labels, names, [data for data, _ in test])
    tests = np.stack([pixels for _, pixels in test])

    settings = EvaluateSettings(
        "made", (("mine", path),), ClassifierSettings("prototypes", train=tmp_path / "train"), CPU
    )
    metrics = evaluate_model(model, settings)
    seen, asked = features_by_hand(model, pixels), features_by_hand(model, tests)
    means = []
    for name in names:
        own = [row / np.linalg.norm(row) for row, folder in zip(seen, folders, strict=True) if folder == name]
        mean = sum(own) if own else None
        means.append(None if mean is None else mean / np.linalg.norm(mean))
    scores = [[-9.0 if mean is None else float(row @ mean / np.linalg.norm(row)) for mean in means] for row in asked]
    expected = naive(scores, [names[label] for label in labels], names)
    # Of a class without training images every image is wrong, among the first five too; here no image is of one.
    assert part(metrics["test_sets"]["mine"], expected) == expected
    assert (metrics["train_images"], metrics["train_classes_without_images"]) == (14, [])

    two = ClassifierSettings("k-shot", train=tmp_path / "train", k=3, seed=4)
    metrics = evaluate_model(model, EvaluateSettings("made", (("mine", path),), two, CPU))
    assert (metrics["k"], metrics["train_images"], metrics["train_classes_short_of_k"]) == (3, 8, ["owl"])
    probe = ClassifierSettings("linear-probe", train=tmp_path / "train")
    metrics = evaluate_model(model, EvaluateSettings("made", (("mine", path),), probe, CPU))
    assert metrics["regularisation"]["held_out_images"] == 2
    assert metrics["test_sets"]["mine"]["n"] == 12


def test_broken_images_are_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = MadeModel()
    labels, pixels = write_folders(tmp_path / "val", list(WNIDS[:5]), 0)
    whole = noise(7)[0]
    write_files(tmp_path / "val", {f"{WNIDS[0]}/half.png": whole[: len(whole) // 2], f"{WNIDS[9]}/not.jpg": b"<html>"})
    with caplog.at_level(logging.WARNING):
        entry = evaluate_model(model, zero_shot(imagenet=(tmp_path / "val", labels, pixels)))["test_sets"]["imagenet"]
    expected = naive(zero_shot_by_hand(model, pixels, list(WNIDS)), labels, list(WNIDS))
    assert part(entry, expected) == expected
    assert (entry["broken"], set(entry["broken_images"])) == (2, {f"{WNIDS[0]}/half.png", f"{WNIDS[9]}/not.jpg"})
    assert "2 images cannot be decoded and do not count" in caplog.text
    assert "imagenet is incomplete: 7 of 50,000 images, 6 of 1000 classes" in caplog.text


def test_what_gives_no_accuracy_is_refused(tmp_path: Path) -> None:
    write_files(tmp_path / "none", {f"{WNIDS[0]}/not.jpg": b"<html>"})
    with pytest.raises(InputError, match=r"none of the 1 images of imagenet can be decoded; .*not.jpg"):
        evaluate_model(MadeModel(), zero_shot(imagenet=(tmp_path / "none", [], np.empty(0))))
    model = MadeModel()
    model.join.data[0, 0] = float("nan")
    labels, pixels = write_folders(tmp_path / "val", list(WNIDS[:2]), 0)
    with pytest.raises(InputError, match="NaN"):
        evaluate_model(model, zero_shot(imagenet=(tmp_path / "val", labels, pixels)))


def test_workers_and_batches_change_nothing(tmp_path: Path) -> None:
    write_folders(tmp_path / "in", ["a", "b"] * 5, 0)
    examples, model = open_examples(tmp_path / "in"), MadeModel()
    alone = extract(model, examples, "features", Reading(3, 1, "cpu"))
    spread = extract(model, examples, "features", Reading(4, 2, "cpu"))
    assert alone.indices.tolist() == spread.indices.tolist() == list(range(10))
    assert alone.values == pytest.approx(spread.values, abs=1e-4)
    (tmp_path / "in" / "b" / "1.png").unlink()
    for workers in (1, 2):
        with pytest.raises(InputError, match=r"1\.png cannot be read") as raised:
            extract(model, examples, "features", Reading(1, workers, "cpu"))
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("val --on micro", "give NAME=PATH"),
        ("val --on imagenet=nowhere", "nowhere does not exist"),
        ("nowhere --on imagenet=val", "nowhere"),
        ("val --on a=val --on a=val", "--on a is given twice"),
        ("val --on imagenet_on_r_classes=val", "rename it"),
        ("val --on imagenet-r=val --labels y", "--labels are those"),
        ("val --on imagenet=val --results r.csv", "one of imagenet-v2"),
        ("val --on imagenet=val --as x", "give --results too"),
        ("val --on imagenet=val --device abacus", "--device 'abacus'"),
        ("val --on imagenet=val --batch-size 0", "--batch-size must be at least 1, not 0"),
        ("val --on imagenet=val --classifier nearest", "--classifier must be one of"),
        ("val --on imagenet=val --classifier linear-probe", "give them as --train"),
        ("val --on imagenet=val --classifier k-shot --train val", "--k N"),
        ("val --on imagenet=val --classifier head --prompts one", "--prompts has no effect"),
        ("val --on imagenet=val --classifier prototypes --train val --k 2", "--k has no effect"),
        ("val --on imagenet=val --train val", "--train has no effect"),
        ("val --on imagenet=val --classifier head --names wordnet", "--names has no effect"),
    ],
)
def test_mistakes_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluation, "load_model", lambda source: MadeModel())
    Path("val").mkdir()
    code, output = invoke("evaluate", *arguments.split(), "--out", "m.json")
    assert (code, output.count("\n")) == (2, 1), output
    assert message in output
    assert not Path("m.json").exists()
