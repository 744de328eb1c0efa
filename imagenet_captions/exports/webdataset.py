"""The WebDataset export: tars of images, captions, labels and JSON, shuffled by a seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from imagenet_captions.captions.compose import draw
from imagenet_captions.dataset.manifest import shard_files
from imagenet_captions.errors import InputError
from imagenet_captions.exports.clip_benchmark import class_names, write_class_files
from imagenet_captions.exports.rows import Job
from imagenet_captions.exports.settings import SAMPLES_A_SHARD
from imagenet_captions.exports.tars import TarWriter
from imagenet_captions.flickr.licenses import LICENSES
from imagenet_captions.images.files import ByteRange
from imagenet_captions.images.reading import OpenFiles
from imagenet_captions.images.tables import byte_ranges_in_shards
from imagenet_captions.storage.files import replacing, scratch_beside, sha256, write_json
from imagenet_captions.storage.places import Place, is_only_here
from imagenet_captions.storage.progress import progress

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


@dataclass(frozen=True)
class TarJob:
    """The task of a worker: one shard to write."""

    path: Place
    name: str  # of the shard in its folder
    rows: pa.Table
    ranges: Sequence[ByteRange]


@dataclass(frozen=True)
class Written:
    """A written shard; `broken` counts the images that cannot be used and have no sample."""

    name: str
    sha256: str
    samples: int
    broken: int


def write_webdataset(job: Job, folder: Place) -> dict[str, str]:
    """Write the shards and sizes.json, and what CLIP_benchmark needs if asked to; return the SHA-256 of each file.

    The seed and the image ids alone decide the order of the samples.
    """
    with scratch_beside(folder / "samples") as scratch:
        rows = job.read_captioned(_COLUMNS, empty_too=True)
        shards = _write_shards(job, rows, _ranges(job, rows, scratch), folder)
    job.count("broken_image", sum(shard.broken for shard in shards))
    job.count("exported", sum(shard.samples for shard in shards))
    if not job.counts["exported"]:
        raise InputError("none of the images can be used; check them")
    split = job.settings.clip_benchmark
    names = () if split is None else class_names(job.source, job.manifest)
    files = {shard.name: shard.sha256 for shard in shards}
    sizes = "sizes.json" if split is None else f"{split}/sizes.json"
    write_json(folder / sizes, {PurePosixPath(shard.name).name: shard.samples for shard in shards})
    more = {} if split is None else write_class_files(folder, split, len(shards), names)
    return {**files, sizes: sha256(folder / sizes), **more}


def _write_shards(job: Job, rows: pa.Table, ranges: Sequence[ByteRange | None], folder: Place) -> list[Written]:
    order, size = _order(job, rows, ranges), job.settings.shard_size or SAMPLES_A_SHARD
    workers = min(job.settings.workers, -(-len(order) // size))
    jobs = (
        _shard_job(folder, _name(job, number), rows, ranges, order[start : start + size])
        for number, start in enumerate(range(0, len(order), size))
    )
    shards = []
    with progress("export", len(order), "samples") as bar:
        alone = any(is_only_here(path) for path in (job.source, folder, job.settings.images) if path is not None)
        threads = alone or workers <= _MOST_THREADS
        for shard in job.settings.engine.run(write_shard, jobs, workers, threads=threads):
            shards.append(shard)
            bar.update(shard.samples)
    return shards


def _ranges(job: Job, table: pa.Table, scratch: Path) -> Sequence[ByteRange | None]:
    """Return the byte range of each row's image, in the given images or else in the dataset itself."""
    if job.settings.images is not None:
        return job.locate(table, job.settings.images, scratch).ranges
    if not job.manifest.images:
        raise InputError(f"{job.source} has no images; say where they lie with `images`")
    own = byte_ranges_in_shards(shard_files(job.source))
    ranges = [own.get(image_id) for image_id in table["image_id"].to_pylist()]
    job.count("no_image", ranges.count(None))
    if len(ranges) == ranges.count(None):
        raise InputError(f"none of the {len(ranges):,} rows that are left has an image in {job.source}; give `images`")
    return ranges


def _order(job: Job, rows: pa.Table, ranges: Sequence[ByteRange | None]) -> list[int]:
    """Return the rows that have an image, in the order of the seed."""
    seed = job.settings.seed or 0
    numbers = np.array([draw(seed, "order", key) for key in rows["image_id"].to_pylist()], np.uint64)
    return [row for row in np.argsort(numbers, kind="stable").tolist() if ranges[row] is not None]


def _name(job: Job, number: int) -> str:
    split = job.settings.clip_benchmark
    return f"{number:05d}.tar" if split is None else f"{split}/{number}.tar"


def _shard_job(
    folder: Place, name: str, rows: pa.Table, ranges: Sequence[ByteRange | None], chosen: list[int]
) -> TarJob:
    taken = rows.take(pa.array(chosen)).combine_chunks()
    return TarJob(folder / name, name, taken, [part for row in chosen if (part := ranges[row])])


def write_shard(job: TarJob) -> Written:
    """Write one tar; an image that cannot be used has no sample."""
    samples = broken = 0
    with replacing(job.path, alone=False) as path, TarWriter(path) as tar, closing(OpenFiles()) as reader:
        for start in range(0, len(job.ranges), _IMAGES_AT_ONCE):
            images, faults = reader.read_images(job.ranges[start : start + _IMAGES_AT_ONCE])
            rows = job.rows.slice(start, _IMAGES_AT_ONCE).to_pylist()
            views = [memoryview(image.as_buffer()) for image in images]
            for number, (row, image) in enumerate(zip(rows, views, strict=True)):
                ending = ending_of(image)
                if number in faults or ending is None:
                    broken += 1
                    continue
                tar.add(_members(row, image, ending))
                samples += 1
    return Written(job.name, tar.hexdigest(), samples, broken)


def _members(row: dict[str, Any], image: memoryview, ending: str) -> list[tuple[str, bytes | memoryview]]:
    caption = row["caption"]  # a text, or a list of them, one a line
    key = row["image_id"]  # has no dot, because a WebDataset key ends at the first dot
    return [
        (f"{key}.{ending}", image),
        (f"{key}.json", _to_json(facts_of(row)).encode()),
        (f"{key}.cls", str(row["label"]).encode()),
        (f"{key}.txt", (caption if isinstance(caption, str) else "\n".join(caption)).encode()),
    ]


def facts_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a sample's JSON: each text as a field, the tags as a list, and the provenance.

    open_clip's `--json-text-key title;description` reads captions from these fields; docs/how-to/export.md says since
    when it has that flag.
    """
    facts = {**row, "license_name": _LICENSES.get(row["license"])}
    for name in _MOMENTS:
        if facts[name] is not None:
            facts[name] = facts.pop(name).isoformat()
    return facts


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
