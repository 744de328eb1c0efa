"""The WebDataset export: tars of images, captions, labels and JSON, shuffled by a seed.

Seen in clip-benchmark 1.6.2, `datasets/builder.py`: it opens `{0..N-1}.tar` in the folder of a split, N being the
number in `nshards.txt`, and formats every sentence with `c`, the name of a class.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from imagenet_captions.captions.caption_template import open_clip_templates
from imagenet_captions.captions.compose import draw
from imagenet_captions.dataset.writing import label_names
from imagenet_captions.errors import InputError
from imagenet_captions.exports.settings import SAMPLES_A_SHARD
from imagenet_captions.flickr.photos import LICENSES
from imagenet_captions.imagenet import classes
from imagenet_captions.images.files import ByteRange
from imagenet_captions.images.reading import OpenFiles
from imagenet_captions.images.tables import byte_ranges_in_shards
from imagenet_captions.storage.files import replacing, scratch_beside, sha256, write_json, write_text
from imagenet_captions.storage.places import Place, is_only_here
from imagenet_captions.storage.progress import progress

if TYPE_CHECKING:
    from imagenet_captions.exports.export import Job

_COLUMNS = [
    *("image_id", "filename", "wnid", "label", "class_name", "title", "description", "tags", "language"),
    *("photo_id", "owner", "owner_name", "license", "date_taken", "date_posted", "photo_page", "source"),
    "retrieved_at",
]

_IMAGES_AT_ONCE = 64
# A process costs half a second to start. But a third of a sample's time is Python's own: more threads would wait.
_MOST_THREADS = 4
_to_json = json.JSONEncoder(ensure_ascii=False).encode
_MOMENTS = ("date_taken", "date_posted", "retrieved_at")
_LICENSES = {license.id: license.name for license in LICENSES}


TarJob = tuple[Place, pa.Table, Sequence[ByteRange]]  # a shard to write, its rows and their images
Written = tuple[str, int, int]  # the SHA-256 of a shard, its samples, and the images that cannot be used


def write_webdataset(job: Job, folder: Place) -> dict[str, str]:
    """Write the shards and sizes.json, and what CLIP_benchmark needs if asked to; return the SHA-256 of each file.

    The seed and the image ids alone decide the order of the samples.
    """
    split = job.settings.clip_benchmark
    with scratch_beside(folder / "samples") as scratch:
        rows = job.read_captioned(_COLUMNS, empty_too=True)
        shards = _write_shards(job, rows, _ranges(job, rows, scratch), folder)
    job.count("broken_image", sum(broken for _, _, broken in shards.values()))
    job.count("exported", sum(samples for _, samples, _ in shards.values()))
    if not job.counts["exported"]:
        raise InputError("none of the images can be used; check them")
    names = ["sizes.json" if split is None else f"{split}/sizes.json"]
    write_json(folder / names[0], {PurePosixPath(name).name: samples for name, (_, samples, _) in shards.items()})
    if split is not None:
        among = job.shards.manifest.classes
        wnids = label_names(job.shards.schema())["label"]
        texts = {
            f"{split}/nshards.txt": [str(len(shards))],
            "classnames.txt": [classes.by_wnid(wnid, among).name for wnid in wnids],
            "zeroshot_classification_templates.txt": [text.replace("{}", "{c}") for text in open_clip_templates()],
        }
        for name, lines in texts.items():
            write_text(folder / name, "".join(f"{line}\n" for line in lines))
        names += texts
    return {name: digest for name, (digest, _, _) in shards.items()} | {name: sha256(folder / name) for name in names}


def _ranges(job: Job, table: pa.Table, scratch: Path) -> Sequence[ByteRange | None]:
    if job.settings.images is not None:
        return job.locate(table, job.settings.images, scratch).ranges
    dataset = job.shards.dataset
    if not job.shards.manifest.images:
        raise InputError(f"{dataset} has no images; say where they lie with `images`")
    own = byte_ranges_in_shards(job.shards.files())
    ranges = [own.get(image_id) for image_id in table["image_id"].to_pylist()]
    job.count("no_image", ranges.count(None))
    if not any(ranges):
        raise InputError(f"none of the {len(ranges):,} rows that are left has an image in {dataset}; give `images`")
    return ranges


def _write_shards(job: Job, rows: pa.Table, ranges: Sequence[ByteRange | None], folder: Place) -> dict[str, Written]:
    settings, split = job.settings, job.settings.clip_benchmark
    seed, size = settings.seed or 0, settings.shard_size or SAMPLES_A_SHARD
    numbers = np.array([draw(seed, "order", key) for key in rows["image_id"].to_pylist()], np.uint64)
    order = [row for row in np.argsort(numbers, kind="stable").tolist() if ranges[row] is not None]
    starts = range(0, len(order), size)
    names = [f"{at:05d}.tar" if split is None else f"{split}/{at}.tar" for at in range(len(starts))]

    def jobs() -> Iterator[TarJob]:
        for name, start in zip(names, starts, strict=True):
            chosen = order[start : start + size]
            taken = rows.take(pa.array(chosen)).combine_chunks()
            yield folder / name, taken, [part for row in chosen if (part := ranges[row])]

    shards = []
    workers = min(settings.workers, len(names))
    places = (job.shards.dataset, folder, settings.images)
    threads = workers <= _MOST_THREADS or any(is_only_here(path) for path in places if path is not None)
    with progress("export", len(order), "samples") as bar:
        for shard in settings.engine.run(write_shard, jobs(), workers, threads=threads):
            shards.append(shard)
            bar.update(shard[1])
    return dict(zip(names, shards, strict=True))


def write_shard(job: TarJob) -> Written:
    """Write one tar; an image that cannot be used has no sample. It runs in other processes."""
    out, table, ranges = job
    samples = broken = 0
    digest = hashlib.sha256()
    with replacing(out) as path, path.open("wb") as opened, closing(OpenFiles()) as reader:
        for start in range(0, len(ranges), _IMAGES_AT_ONCE):
            images, faults = reader.read_images(ranges[start : start + _IMAGES_AT_ONCE])
            rows = table.slice(start, _IMAGES_AT_ONCE).to_pylist()
            for number, (row, image) in enumerate(zip(rows, images, strict=True)):
                data = memoryview(image.as_buffer())
                ending = ending_of(data)
                if number in faults or ending is None:
                    broken += 1
                    continue
                sample = _sample(row, data, ending)
                digest.update(sample)
                opened.write(sample)
                samples += 1
        end = bytes(2 * _BLOCK)
        digest.update(end)
        opened.write(end)
    return digest.hexdigest(), samples, broken


def _sample(row: dict[str, Any], image: memoryview, ending: str) -> bytes:
    """Return a part of a tar; the JSON has each text as a field, the tags as a list, and the provenance."""
    key, caption = row["image_id"], row["caption"]  # a caption is a text, or a list of them, one a line
    facts = {**row, "license_name": _LICENSES.get(row["license"])}
    for name in _MOMENTS:
        if facts[name] is not None:
            facts[name] = facts.pop(name).isoformat()
    files: dict[str, bytes | memoryview] = {
        ending: image,
        "json": _to_json(facts).encode(),
        "cls": str(row["label"]).encode(),
        "txt": (caption if isinstance(caption, str) else "\n".join(caption)).encode(),
    }
    parts: list[bytes | memoryview] = []
    for suffix, data in files.items():
        parts += [header(f"{key}.{suffix}".encode("ascii"), len(data)), data, bytes(-len(data) % _BLOCK)]
    return b"".join(parts)


def ending_of(image: memoryview) -> str | None:
    """Return the file suffix for an image by its bytes, because ImageNet has a PNG that is called JPEG.

    Returns None for a format that open_clip's loader does not read.
    """
    start = bytes(image[:12])
    if start.startswith(b"\xff\xd8"):
        return "jpg"
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    return "webp" if start.startswith(b"RIFF") and start.endswith(b"WEBP") else None


# Plain ustar, with the same bytes for the same content.

_BLOCK = 512
_AFTER_NAME = b"0000644\0" + b"0000000\0" * 2  # mode, owner, group
_AFTER_SIZE = b"%011o\0" % 0  # the time
_TYPE_AND_MAGIC = b"0" + bytes(100) + b"ustar\x0000"
_REST = bytes(_BLOCK - 265)
_CONSTANT_SUM = sum(_AFTER_NAME + _AFTER_SIZE + b" " * 8 + _TYPE_AND_MAGIC)


def header(name: bytes, size: int) -> bytes:
    """Return the tar header of a file with mode 644, owner 0 and time 0; the name has less than 100 bytes.

    `tarfile` takes ten times as long, and a sample has four headers.
    """
    digits = b"%011o\0" % size
    checksum = b"%06o\0 " % (_CONSTANT_SUM + sum(name) + sum(digits))
    return b"".join((name.ljust(100, b"\0"), _AFTER_NAME, digits, _AFTER_SIZE, checksum, _TYPE_AND_MAGIC, _REST))
