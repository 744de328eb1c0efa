"""Captions for training beside those of exports."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from imagenet_captions.captions.caption_template import CaptionTemplate, open_clip_templates
from imagenet_captions.captions.compose import compose_captions
from imagenet_captions.errors import InputError
from imagenet_captions.images.examples import Class, Examples, Texts, only_ids, open_examples
from imagenet_captions.packager.package import PackageSettings, package
from imagenet_captions.training.data import CaptionSampler, make_sampler, with_captions
from tests.captions.rows import ROWS
from tests.packager.made import IDS, train_folder, write_captions, write_published
from tests.training.made import Pixels, Told, made

TENCH = Class("n01440764", "tench")
TEXTS = Texts("A fish", "caught by me", ("fish", "new york"), "stored")


def sampler(template: str | None, seed: int = 0) -> CaptionSampler:
    return CaptionSampler(None if template is None else CaptionTemplate.parse(template), seed)


def examples_of(texts: Sequence[Texts], classes: tuple[Class, ...] | None = None, ids: Sequence[str] = ()) -> Examples:
    """Examples with these texts, the first class for all of them, and ids."""
    labels = np.full(len(texts), -1 if classes is None else 0, np.int64)
    names = pa.array(list(ids) or ["n01440764_1"] * len(texts))
    return Examples(Path("made"), classes, labels, names, Pixels(24, -1), Listed(tuple(texts)))


@dataclass(frozen=True)
class Listed:
    """Reads texts of a list."""

    texts: tuple[Texts, ...]

    def read(self, row: int) -> Texts:
        return self.texts[row]


def drawn(template: str | None, texts: Texts, class_: Class | None, epochs: int, seed: int = 0) -> list[str]:
    """One image's captions in so many epochs."""
    examples = examples_of([texts], None if class_ is None else (class_,))
    return [sampler(template, seed).of(examples, [0], epoch)[0] for epoch in range(epochs)]


def test_a_batch_has_the_captions_that_an_export_of_that_epoch_would_have() -> None:
    columns = {name: pa.array(values) for name, values in ROWS.items()}
    texts = list(map(Texts, ROWS["title"], ROWS["description"], map(tuple, ROWS["tags"])))
    template = CaptionTemplate.parse("title|description tags template=open_clip-80 names=wordnet")
    for epoch in range(3):
        examples = examples_of(texts, ids=ROWS["image_id"])
        ours = CaptionSampler(template, seed=4).of(examples, range(len(texts)), epoch)
        assert ours == compose_captions(replace(template, seed=4), columns, epoch).to_pylist()


@pytest.mark.parametrize("fields", ["title", "description tags", "tags title", "title|description"])
def test_a_row_with_nothing_but_a_caption_has_it_once(fields: str) -> None:
    texts = Texts(caption="a red door")
    assert drawn(fields, texts, None, 1) == ["a red door"]
    assert drawn(f'{fields} template="a {{}}:"', texts, TENCH, 1) == ["a tench: a red door"]


@pytest.mark.parametrize(
    ("fields", "template", "first"),
    [
        (("caption",), None, "caption 0"),
        (("title", "description", "tags"), None, "title 0 tag0 x about 0"),
        (("title", "caption"), None, "caption 0"),
        (("caption",), "title tags", "caption 0"),
        ((), "class_name", "tree frog"),
    ],
)
def test_what_a_set_has_decides_what_is_taken(fields: tuple[str, ...], template: str | None, first: str) -> None:
    examples = made(4, fields=fields)
    taken = make_sampler(examples, CaptionTemplate.parse(template) if template else None, 0)
    assert taken.of(examples, [0], 0) == [first]


def test_a_set_of_labels_alone_has_its_class_names_in_sentences(caplog: pytest.LogCaptureFixture) -> None:
    examples = made(4, fields=())
    with caplog.at_level(logging.INFO):
        names = make_sampler(examples, CaptionTemplate(), 0)
    assert "made of its class names" in caplog.text
    templates = {template.replace("{}", "tree frog") for template in open_clip_templates()}
    assert {names.of(examples, [0], epoch)[0] for epoch in range(30)} <= templates
    with pytest.raises(InputError, match="neither texts nor labels"):
        make_sampler(made(4, classes=None, fields=()), None, 0)


def test_images_without_a_caption_are_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    class Half(Told):
        def read(self, row: int) -> Texts:
            return super().read(row) if row % 2 else Texts(title="DSC_0139.JPG")

    examples = replace(made(6), stored_texts=Half(("title",)))
    with caplog.at_level(logging.INFO):
        kept = with_captions(examples, sampler("title"))
    assert [kept.image_id(row) for row in range(len(kept))] == ["image-1", "image-3", "image-5"]
    assert "3 of 6 images have no caption" in caplog.text
    whole = made(6)
    assert with_captions(whole, sampler("title")) is whole
    with pytest.raises(InputError, match="no image of made has a text by the caption description"):
        with_captions(examples, sampler("description"))


@pytest.mark.parametrize(("write", "kept"), [(write_captions, 0), (write_published, 12)])
def test_a_camera_name_is_a_caption_where_the_texts_are_as_published(
    tmp_path: Path, write: Callable[..., Path], kept: int
) -> None:
    captions = write(tmp_path / "captions.parquet", title="IMG_1234")
    package(captions, tmp_path / "dataset", PackageSettings(train_folder(tmp_path / "images")))
    examples = open_examples(tmp_path / "dataset")
    made = make_sampler(only_ids(examples, IDS), CaptionTemplate.parse("title"), 0)
    if not kept:
        with pytest.raises(InputError, match="by the caption title;"):
            with_captions(examples, made)
        return
    assert len(with_captions(examples, made)) == kept
    assert made.of(examples, [0], 0) == ["IMG_1234"]
    assert make_sampler(examples, None, 0).of(examples, [0], 0) == [examples.texts(0).caption]


def test_a_list_of_captions_is_gone_through_by_epoch() -> None:
    captions = CaptionSampler(CaptionTemplate.parse("title tags description captions=list"), seed=4)
    examples = examples_of([Texts("a title", "told", ("b", "c")), Texts(description="alone"), Texts()])
    drawn = [captions.of(examples, range(3), epoch) for epoch in range(4)]
    assert [first for first, _, _ in drawn] == ["a title", "b c", "told", "a title"]
    assert {tuple(others) for _, *others in drawn} == {("alone", "")}
