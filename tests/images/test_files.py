"""Which files in a folder are images, and what a folder or file is."""

from __future__ import annotations

import os
from pathlib import Path

from imagenet_captions.evaluation.testsets import open_test_set
from imagenet_captions.images.examples import open_examples
from imagenet_captions.images.files import image_files
from tests.packager.made import image


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(image("x"))
    return folder


def test_images_in_the_order_of_their_names(tmp_path: Path) -> None:
    write(tmp_path, "b/1.PNG", "a/2.jpg", "a/b/c/3.webp", "a.gif", "n01440764_1", "README.md", "a/x.jpg.txt", "jpg")
    write(tmp_path, "a/._2.jpg", ".hidden.jpg", "__MACOSX/a/2.jpg", "a/__MACOSX/2.jpg")
    (tmp_path / "a/gone.jpg").symlink_to("nowhere")
    os.mkfifo(tmp_path / "a/pipe.jpg")
    (tmp_path / "linked").symlink_to(tmp_path / "b")
    names = ["a.gif", "a/2.jpg", "a/b/c/3.webp", "b/1.PNG", "linked/1.PNG", "n01440764_1"]
    assert [file.name for file in image_files(tmp_path)] == sorted(names, key=lambda name: name.split("/"))
    assert all(Path(file.path).read_bytes() == image("x") for file in image_files(tmp_path))


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    write(tmp_path / "n01440764", os.fsdecode(b"caf\xe9.jpg"))
    (file,) = image_files(tmp_path)
    assert file.name == "n01440764/caf?.jpg"
    examples = open_examples(tmp_path)
    assert (examples.image_id(0), examples.image(0)) == ("n01440764/caf?", image("x"))
    assert open_test_set("imagenet", tmp_path, tmp_path).images.image(0) == image("x")
