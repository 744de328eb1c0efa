"""Packaging 10,000 images with hashes, beside webdataset's writer and a plain read-and-write, which hash nothing.

All read the same files. Every figure has the start of its program in it; webdataset imports PyTorch where it is.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from common import Measured, race

from imagenet_captions.imagenet import classes
from imagenet_captions.outcomes import OUTCOMES, outcomes_path
from imagenet_captions.schema import CAPTIONS, with_provenance

_FILES = 10_000
_ROUNDS = 5

_WEBDATASET = """
import shutil, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import webdataset
images, _, out = (Path(name) for name in sys.argv[1:4])
shutil.rmtree(out, ignore_errors=True)
out.mkdir()
with webdataset.ShardWriter(f"{out}/%05d.tar", maxsize=500e6, maxcount=100_000, verbose=0) as writer:
    for number, folder in enumerate(sorted(images.iterdir())):
        for file in sorted(folder.iterdir()):
            writer.write({"__key__": file.stem, "jpg": file.read_bytes(), "txt": f"Photo {file.stem}", "cls": number})
"""
_PLAIN = """
import os, sys
images, _, out = sys.argv[1:4]
with open(out, "wb", buffering=0) as written:
    for folder in sorted(os.scandir(images), key=lambda entry: entry.name):
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            with open(entry, "rb", buffering=0) as file:
                written.write(file.read())
"""


def main(images: Path, scratch: Path) -> list[dict[str, object]]:
    """`images` is a train folder, whose files are repeated under new names up to 10,000."""
    folder = scratch / "package"
    shutil.rmtree(folder, ignore_errors=True)
    ids = repeat_images(images, folder / "train")
    captions = write_captions(folder / "captions.parquet", ids)
    given = [str(folder / "train"), str(captions)]
    seen = race(
        {
            "ours": package_command(captions, folder / "ours", folder / "train"),
            "webdataset": ["-c", _WEBDATASET, *given, str(folder / "webdataset")],
            "plain": ["-c", _PLAIN, *given, str(folder / "plain")],
        },
        _ROUNDS,
    )
    what = f"package {len(ids):,} images, with hashes"
    return [
        row(what, seen["ours"], "webdataset's ShardWriter", seen["webdataset"], ">= 2 times as fast, <= 500 MB"),
        row(what, seen["ours"], "reading and writing the same bytes, no hashes", seen["plain"], "no bar"),
    ]


def package_command(captions: Path, out: Path, images: Path | None = None) -> list[str]:
    """Return the command that packages captions, as arguments of the interpreter."""
    given = [] if images is None else ["--images", str(images)]
    return ["-m", "imagenet_captions", "package", "--captions", str(captions), "--out", str(out), *given]


def row(what: str, ours: Measured, peer: str, theirs: Measured, bar: str) -> dict[str, object]:
    """Return a row of the bench: the best times, and the CPU time of the median round."""
    return {
        "what": what,
        "ours_s": round(ours.seconds, 2),
        "peer": peer,
        "peer_s": round(theirs.seconds, 2),
        "ratio": round(theirs.seconds / ours.seconds, 2),
        "bar": bar,
        "cpu_s": f"{ours.cpu:.2f} and {theirs.cpu:.2f}",
        "peak_mb": round(ours.peak_mb),
    }


def repeat_images(images: Path, root: Path) -> list[str]:
    """Link the images under new names up to 10,000, and return the ids."""
    found = sorted(path for path in images.rglob("*") if path.suffix.lower() in (".jpeg", ".jpg"))
    ids = []
    for number in range(_FILES):
        original, copy = found[number % len(found)], number // len(found)
        wnid = original.name[:9] if classes.is_class(original.name[:9]) else classes.wnids()[number % len(found)]
        image_id = f"{wnid}_{number % len(found)}{copy:04}"
        (root / wnid).mkdir(parents=True, exist_ok=True)
        first = root / f"original_{number % len(found)}"  # a copy in scratch, since a hard link may cross no disk
        if not copy:
            shutil.copyfile(original, first)
        os.link(first, root / wnid / f"{image_id}.JPEG")
        ids.append(image_id)
    for first in root.glob("original_*"):
        first.unlink()
    return sorted(ids)


def write_captions(path: Path, ids: list[str]) -> Path:
    """Write a captions file for these ids."""
    rows = [
        {
            "image_id": image_id,
            "filename": f"{image_id}.JPEG",
            "wnid": image_id[:9],
            "label": classes.index_of(image_id[:9]),
            "class_name": classes.by_wnid(image_id[:9]).name,
            **dict.fromkeys(("title", "caption", "raw_title"), f"Photo {image_id}"),
            **dict.fromkeys(("description", "raw_description"), "with a few words, as people write them " * 5),
            "tags": ["one", "two"],
            "raw_tags": ["one", "two"],
            "mentions": "",
            "names_class": False,
            "source": "release",
        }
        for image_id in ids
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=with_provenance(CAPTIONS, {})), path)
    pq.write_table(OUTCOMES.empty_table(), outcomes_path(path))
    return path
