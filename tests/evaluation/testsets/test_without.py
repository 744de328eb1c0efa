"""evaluate --without: test images of a list are left out, and the result with them stands beside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation import evaluate as evaluation
from imagenet_captions.evaluation.evaluate import format_metrics
from imagenet_captions.evaluation.results import read_answers
from imagenet_captions.evaluation.settings import ClassifierSettings, EvaluateSettings, Reading
from imagenet_captions.evaluation.testsets import leave_out, open_test_set
from imagenet_captions.imagenet import classes
from tests.evaluation.made_model import MadeModel
from tests.evaluation.made_sets import flat_val, ground_truth, picture, write_files, write_tar

R = classes.read_list("imagenet-r")[:2]
WNIDS = [R[0], R[1], "n01440764", R[0], R[1], R[0]]
# The form of klarajanouskova/ImageNet's lists, seen in November 2026.
AS_PUBLISHED = (
    "id,category,original_label,proposed_labels,manually_validated,cl_label,mturk\n"
    "ILSVRC2012_val_00000002.JPEG,A,0,0,True,48,\"{'given': 5, 'guessed': 0, 'neither': 0, 'both': 0}\"\n"
    "ILSVRC2012_val_00000003.JPEG,A,0,0,True,389,\"{'given': 5, 'guessed': 0, 'neither': 0, 'both': 0}\"\n"
)


@pytest.fixture
def val(tmp_path: Path) -> Path:
    write_files(tmp_path, {"ILSVRC2012_validation_ground_truth.txt": ground_truth(WNIDS)})
    return write_tar(tmp_path / "val.tar", flat_val(6))


@pytest.mark.parametrize(
    "text",
    [
        AS_PUBLISHED,
        "ILSVRC2012_val_00000002\nILSVRC2012_val_00000003\n",
        f"ILSVRC2012_val_00000002_{R[1]}.JPEG\r\n\r\nILSVRC2012_val_00000003.JPEG\r\nILSVRC2012_val_99999999\r\n",
        "n\tImage\n2\tILSVRC2012_val_00000002.JPEG\n3\tILSVRC2012_val_00000003.JPEG\n",
    ],
    ids=["csv", "ids", "names", "tsv"],
)
def test_forms_of_a_list(val: Path, tmp_path: Path, text: str) -> None:
    path = tmp_path / "list"
    path.write_text(text, newline="")
    (left,) = leave_out([open_test_set("imagenet", val, tmp_path)], path)
    assert left.listed.tolist() == [1, 2]
    assert left.left_out == {"listed in list": 2}


def test_folders_tell_images_of_one_name_apart(tmp_path: Path) -> None:
    files = {f"r/{wnid}/art_{number}.jpg": picture(number) for wnid in R for number in range(2)}
    test_set = open_test_set("imagenet-r", write_files(tmp_path, files) / "r", tmp_path)
    path = tmp_path / "list.txt"
    path.write_text(f"{R[1]}/art_0.jpg\n")
    assert leave_out([test_set], path)[0].listed.tolist() == [2]
    for text, message in (
        ("art_0.jpg\n", "'art_0' means several images of imagenet-r; name its folder too"),
        ("x/art_0\nelse\n", "none of the 2 names in .* is an image of the test sets; .* n.*/art_0.jpg"),
        ("\n", "none of the 0 names"),
        ("\n".join(name[2:] for name in files), "list.txt lists every image of imagenet-r; give fewer"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            leave_out([test_set], path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not a text file"):
        leave_out([test_set], path)


def test_both_results_are_those_of_the_images(val: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "dups.csv"
    path.write_text(AS_PUBLISHED)
    monkeypatch.setattr(evaluation, "load_model", lambda source: MadeModel())
    settings = EvaluateSettings("made", (("imagenet", val),), ClassifierSettings(prompts="none"), Reading(7, 1))
    every = evaluation.evaluate_model(MadeModel(), settings)
    less = evaluation.evaluate(replace(settings, without=path), tmp_path / "m.json")
    assert less["without"] == str(path)
    stored = read_answers(tmp_path / "m.answers.parquet")
    counts = {name: entry["n"] for name, entry in less["test_sets"].items()}
    assert {name: len(rows) for name, rows in stored.items()} == counts
    assert [image_id[-7:-5] for image_id in stored["imagenet"]["image_id"].to_pylist()] == ["01", "04", "05", "06"]
    assert set(stored["imagenet_on_r_classes"]["prediction"].to_pylist()) <= set(classes.read_list("imagenet-r"))
    images = list(flat_val(6).items())
    folder = write_files(tmp_path / "v", {f"{WNIDS[at]}/{images[at][0]}": images[at][1] for at in (0, 3, 4, 5)})
    alone = evaluation.evaluate_model(MadeModel(), replace(settings, test_sets=(("imagenet", folder),)))
    measured = ("n", "top1", "top5", "mean_per_class", "classes", "per_class", "top1_interval", "protocol")
    for name, entry in less["test_sets"].items():
        whole = every["test_sets"][name]
        assert entry["all_images"] == {key: whole[key] for key in entry["all_images"]}
        for key in measured:
            assert entry.get(key) == alone["test_sets"][name].get(key), "as if the test set did not have them"
        assert {"n", "top1", "top5", "mean_per_class"} <= entry["all_images"].keys()
    assert less["test_sets"]["imagenet"]["n"] == 4
    assert less["test_sets"]["imagenet_on_r_classes"]["n"] == 4
    assert every["test_sets"]["imagenet_on_r_classes"]["n"] == 5
    assert "without the 2 listed ones" in format_metrics(less)
    assert "listed" not in format_metrics(every)
