"""The Parquet files of micro ablations: images with texts made for them, the test images under shifts, and domains.

The natural shifts of the paper (V2, R, Sketch, ObjectNet) are other photos of the same classes, chosen by people. These
shifts (blur, noise, less contrast) are arithmetic on the pixels of the one test set; they say how a model takes such
arithmetic and nothing about natural shifts, which no set of 32 x 32 images offers.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image, ImageFilter

from imagenet_captions.ablations.micro_captions import Pixels, micro_texts
from imagenet_captions.ablations.rows import nested_order
from imagenet_captions.captions.compose import draw
from imagenet_captions.dataset.writing import IMAGE
from imagenet_captions.errors import InputError, quoted, shortened
from imagenet_captions.images.examples import Examples
from imagenet_captions.images.tables import find_image_column, image_file, paths_only
from imagenet_captions.storage.files import digest, replacing, require_file
from imagenet_captions.storage.parquet import (
    ParquetFile,
    open_parquet_writer,
    read_schema,
    read_table,
)

CLEAN, NATURAL = "clean", "natural"  # the test set and the domain without a shift
_ROWS = 1000  # a row group; a set is a few of them
_SIDE = 256  # pixels; larger images are refused, since describing them is slow

# Strengths that cost a micro model a part of its accuracy and not all of it.
BLUR_RADIUS = 1.2  # of the Gaussian, in pixels
NOISE = 24.0  # standard deviation, of 255; independent for each pixel and channel
CONTRAST = 0.4  # of the distance to the image's own mean that is left

LABELLED = (
    IMAGE,
    pa.field("image_id", pa.string()),
    pa.field("label", pa.int64()),
    pa.field("class_name", pa.string()),
)
TEXTS = (
    pa.field("title", pa.string()),
    pa.field("description", pa.string()),
    pa.field("tags", pa.list_(pa.string())),
    pa.field("caption", pa.string()),
)


def blur(pixels: Pixels, image_id: str = "", seed: int = 0) -> Pixels:
    """Return the image through a Gaussian blur, which has no randomness."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(BLUR_RADIUS)))


def noise(pixels: Pixels, image_id: str = "", seed: int = 0) -> Pixels:
    """Return the image with Gaussian noise; the same seed and id give the same noise."""
    generator = np.random.Generator(np.random.PCG64(draw(seed, "micro noise", image_id)))
    return _as_pixels(pixels + generator.normal(0, NOISE, pixels.shape))


def contrast(pixels: Pixels, image_id: str = "", seed: int = 0) -> Pixels:
    """Return the image with its pixels drawn towards their mean, which has no randomness.

    >>> contrast(np.array([[[0, 0, 0], [200, 200, 200]]], np.uint8)).tolist()
    [[[60, 60, 60], [140, 140, 140]]]
    """
    mean = pixels.mean(axis=(0, 1))
    return _as_pixels(mean + CONTRAST * (pixels - mean))


def _as_pixels(values: npt.NDArray[np.float64]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


SHIFTS: dict[str, Callable[[Pixels, str, int], Pixels]] = {
    "blur": blur,
    "noise": noise,
    "contrast": contrast,
}


def with_texts(source: Path, made: Path) -> Path:
    """Return a micro data set unchanged if it has texts, else a copy with texts, which is made once."""
    if not source.is_file():
        raise InputError(
            f"`preset='micro'` trains on a Parquet file with image, label and class_name; {source} is none"
        )
    if made.is_file():
        return made
    if {field.name for field in TEXTS} & {*read_schema(source).names}:
        return source
    write_micro_dataset(source, made)
    return made


def with_shifts(clean: Path, folder: Path) -> dict[str, Path]:
    """Return the test sets of a micro ablation: the one given, and one for each shift, which are made once."""
    shifted = folder / f"shifts-{digest(clean)[:10]}"
    shifts = {f"micro-{name}": shifted / f"micro-{name}.parquet" for name in SHIFTS}
    if not all(path.is_file() for path in shifts.values()):
        write_micro_shifts(clean, shifted)
    return {CLEAN: clean, **shifts}


def write_micro_dataset(source: Path, out: Path, seed: int = 0) -> int:
    """Copy the images of a Parquet file (image, label, class_name) with texts made for them; return their number.

    `image_id` is the image's file name without its ending, and decides the texts together with the seed. `caption` is
    the title, the tags and the description, as captions of the dataset are by default.
    """

    def described(row: dict[str, Any]) -> dict[str, Any]:
        pixels = read_pixels(row["image"]["bytes"], row["image_id"])
        texts = micro_texts(pixels, row["class_name"], row["image_id"], seed)
        caption = " ".join(filter(None, [texts.title, *texts.tags, texts.description]))
        row |= {"title": texts.title, "description": texts.description, "tags": list(texts.tags)}
        return {**row, "caption": caption}

    return write_images(out, (*LABELLED, *TEXTS), _class_names(source), map(described, _read_rows(source)))


def write_micro_shifts(source: Path, folder: Path, seed: int = 0) -> dict[str, Path]:
    """Write a test set once for each shift, as FOLDER/micro-SHIFT.parquet; PNG keeps every pixel."""
    written = {f"micro-{name}": folder / f"micro-{name}.parquet" for name in SHIFTS}
    names = _class_names(source)
    for shift, path in zip(SHIFTS, written.values(), strict=True):
        rows = (
            {
                **row,
                "image": {
                    **row["image"],
                    "bytes": _shifted(shift, row["image"]["bytes"], row["image_id"], seed),
                },
            }
            for row in _read_rows(source)
        )
        write_images(path, LABELLED, names, rows)
    return written


def assign_domains(examples: Examples, seed: int = 0) -> list[str]:
    """Return the domain of each image: natural for half of each class, and the shifts in turn for the others."""
    ids = [examples.image_id(row) for row in range(len(examples))]
    order = nested_order(ids, examples.labels, seed)
    names, shifts, turn = [NATURAL] * len(ids), list(SHIFTS), Counter[int]()
    for row in order[(len(order) + 1) // 2 :]:
        label = int(examples.labels[row])
        names[row] = shifts[(turn[label] + label) % len(shifts)]
        turn[label] += 1
    return names


def write_micro_domains(examples: Examples, out: Path, seed: int = 0) -> None:
    """Write the images with their texts and a column `domain`, each under the shift of its domain."""
    if examples.classes is None:
        raise InputError(f"{examples.source} has no labels, and classes are held out by them; give labeled images")
    domains = assign_domains(examples, seed)

    def shifted(row: dict[str, Any], at: int) -> dict[str, Any]:
        if domains[at] != NATURAL:
            row["image"]["bytes"] = _shifted(domains[at], row["image"]["bytes"], row["image_id"], seed)
        texts = examples.texts(at)
        row |= {"title": texts.title, "description": texts.description, "tags": list(texts.tags)}
        return {**row, "caption": texts.caption, "domain": domains[at]}

    rows: list[int] = np.flatnonzero(examples.labels >= 0).tolist()
    columns = (*LABELLED, *TEXTS, pa.field("domain", pa.string()))
    names = [each.name for each in examples.classes]
    labelled = zip(labelled_rows(examples, rows, examples.labels, names), rows, strict=True)
    write_images(out, columns, names, (shifted(row, at) for row, at in labelled))


def labelled_rows(
    examples: Examples, rows: Iterable[int], labels: npt.NDArray[np.int64], names: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yield some images with these labels, and the classes' names, for `write_images`."""
    for row in rows:
        image_id, label = examples.image_id(row), int(labels[row])
        image = {"bytes": examples.image(row), "path": image_id}
        yield {"image": image, "image_id": image_id, "label": label, "class_name": names[label]}


def write_images(path: Path, columns: Sequence[pa.Field], keys: Sequence[str], rows: Iterable[dict[str, Any]]) -> int:
    """Write labeled images as Parquet that `datasets` knows the features of; return their number."""
    kinds: dict[str, Any] = {field.name: {"dtype": "string", "_type": "Value"} for field in columns}
    kinds |= {"image": {"_type": "Image"}, "label": {"names": list(keys), "_type": "ClassLabel"}}
    if "tags" in kinds:
        kinds["tags"] = [{"dtype": "string", "_type": "Value"}]
    schema = pa.schema(columns, metadata={"huggingface": json.dumps({"info": {"features": kinds}})})
    left, count = iter(rows), 0
    with replacing(path) as partial, open_parquet_writer(partial, schema) as writer:
        while batch := list(islice(left, _ROWS)):
            writer.write_table(pa.Table.from_pylist(batch, schema))
            count += len(batch)
    return count


def _class_names(source: Path) -> list[str]:
    """Return the classes' names in the order of their labels, which count from 0."""
    schema = read_schema(require_file(source, "the micro set"))
    missing = {"image", "label", "class_name"} - set(schema.names)
    if not missing and find_image_column(schema) != "image":
        missing = {"image"}
    if missing:
        raise InputError(f"{source} has no column {sorted(missing)[0]}; give a Parquet with image, label, class_name")
    pairs = read_table(source, ["label", "class_name"]).group_by(["label", "class_name"]).aggregate([])
    names = sorted((pair["label"], pair["class_name"]) for pair in pairs.to_pylist() if None not in pair.values())
    if pairs.num_rows == 0 or [label for label, _ in names] != list(range(pairs.num_rows)):
        raise InputError(
            f"the labels of {source} do not count its classes from 0, or a class has two names; correct it"
        )
    return [name for _, name in names]


def _read_rows(source: Path) -> Iterator[dict[str, Any]]:
    """Yield image, image_id, label and class_name of each row; the image has its bytes, also where it was a path."""
    with ParquetFile(source) as opened:
        batches = opened.iter_batches(_ROWS, columns=["image", "label", "class_name"])
        for at, row in enumerate(row for batch in batches for row in batch.to_pylist()):
            image = row["image"] or {}
            path, data = image.get("path"), image.get("bytes")
            if not data and (file := image_file(source, path)) is not None:
                data = file.read_bytes()
            if not data:
                raise (
                    paths_only(source, path) if path else InputError(f"row {at} of {source} has no image; leave it out")
                )
            yield {
                **row,
                "image": {"bytes": data, "path": path},
                "image_id": Path(path or f"{at:06d}").stem,
            }


def read_pixels(data: bytes, image_id: str) -> Pixels:
    """Return the pixels of a small image in RGB; raises InputError for a large one, or for no image."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if max(picture.size) > _SIDE:
                raise InputError(
                    f"the image {quoted(image_id)} has {picture.size}; micro sets have {_SIDE} pixels a side at most"
                )
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"the image {quoted(image_id)} cannot be read ({shortened(error)}); leave it out") from None


def _shifted(shift: str, data: bytes, image_id: str, seed: int) -> bytes:
    """Return an image under a shift as a PNG file, which keeps every pixel."""
    sink = io.BytesIO()
    Image.fromarray(SHIFTS[shift](read_pixels(data, image_id), image_id, seed)).save(sink, "PNG")
    return sink.getvalue()
