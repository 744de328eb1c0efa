"""Exports: a published-size TSV that pandas reads back, and a WebDataset beside webdataset's own writer.

The peer reads the same files in the same shuffled order and writes the same members, and hashes nothing.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from common import race
from package import repeat_images, write_captions

from imagenet_captions.packager.package import PackageSettings, package
from imagenet_captions.pipeline.build import BuildSettings, build

_ROUNDS = 3

# Worker processes are spawned and import the main module again, so what it runs stands behind the usual guard.
_EXPORT = """
import shutil, sys
from pathlib import Path
from imagenet_captions.exports import ExportSettings, export
if __name__ == "__main__":
    dataset, out, to, images = sys.argv[1:5]
    for path in Path(out).parent.glob(Path(out).name + "*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    export(Path(dataset), Path(out), ExportSettings(to, Path(images) if images else None))
"""
_SHARD_WRITER = """
import random, shutil, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import webdataset
images, out = (Path(name) for name in sys.argv[1:3])
shutil.rmtree(out, ignore_errors=True)
out.mkdir()
files = [file for folder in images.iterdir() for file in folder.iterdir()]
random.Random(0).shuffle(files)
with webdataset.ShardWriter(f"{out}/%05d.tar", maxcount=1000, maxsize=10e9, verbose=0) as writer:
    for file in files:
        facts = {"title": f"Photo {file.stem}", "description": "with a few words", "tags": "one two", "label": 0}
        members = {"jpg": file.read_bytes(), "json": facts, "txt": f"Photo {file.stem}", "cls": 0}
        writer.write({"__key__": file.stem, **members})
"""


def main(release: Path, images: Path, scratch: Path) -> list[dict[str, Any]]:
    """`release` is a file of the published form; `images` a train folder, repeated up to 10,000 files."""
    folder = scratch / "export"
    shutil.rmtree(folder, ignore_errors=True)
    return [_tsv(release, folder), *_shards(images, folder)]


def _tsv(release: Path, folder: Path) -> dict[str, Any]:
    dataset = folder / "texts"
    build(dataset, BuildSettings(release=release))
    seen = race({"ours": ["-c", _EXPORT, str(dataset), str(folder / "t.tsv"), "open-clip-csv", ""]}, _ROUNDS)["ours"]
    return {
        "what": "open_clip TSV of all rows, read back by pandas",
        "ours_s": round(seen.seconds, 2),
        "bar": "<= 8 s",
        "peak_mb": round(seen.peak_mb),
    }


def _shards(images: Path, folder: Path) -> list[dict[str, Any]]:
    train = folder / "train"
    ids = repeat_images(images, train)
    captions = write_captions(folder / "captions.parquet", ids)
    for name, source in (("texts", None), ("own", train)):
        package(captions, folder / f"dataset-{name}", PackageSettings(source))
    ours = ["-c", _EXPORT]
    seen = race(
        {
            "folder": [*ours, str(folder / "dataset-texts"), str(folder / "a"), "webdataset", str(train)],
            "webdataset": ["-c", _SHARD_WRITER, str(train), str(folder / "b")],
            "own": [*ours, str(folder / "dataset-own"), str(folder / "c"), "webdataset", ""],
        },
        _ROUNDS,
    )
    peer = seen["webdataset"]
    return [
        {
            "what": f"WebDataset of {len(ids):,} images {where}, with hashes",
            "ours_s": round(seen[name].seconds, 2),
            "peer": "webdataset's ShardWriter",
            "peer_s": round(peer.seconds, 2),
            "ratio": round(peer.seconds / seen[name].seconds, 2),
            "bar": bar,
            "peak_mb": round(seen[name].peak_mb),
        }
        for name, where, bar in (("folder", "from a folder", ">= 1 times as fast"), ("own", "out of the dataset", ""))
    ]
