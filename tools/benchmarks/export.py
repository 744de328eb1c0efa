"""Exports: a published-size TSV that pandas reads back, and a WebDataset beside webdataset's own writer.

The peer writes the same members and hashes nothing. It reads the same files in a shuffled order, or the same dataset
in the order of its rows.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from common import race, run_words
from package import package_command, repeat_images, row, write_captions

import imagenet_captions as ic

_ROUNDS = 5

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
_OF_DATASET = """
import shutil, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import pyarrow.parquet as pq, webdataset
dataset, out = (Path(name) for name in sys.argv[1:3])
shutil.rmtree(out, ignore_errors=True)
out.mkdir()
names = ["image_id", "label", "title", "description", "tags", "caption", "image"]
with webdataset.ShardWriter(f"{out}/%05d.tar", maxcount=1000, maxsize=10e9, verbose=0) as writer:
    for shard in sorted((dataset / "data").glob("*.parquet")):
        for batch in pq.ParquetFile(shard).iter_batches(64, columns=names):
            for row in batch.to_pylist():
                facts = {name: row[name] for name in names[:-1]}
                members = {"jpg": row["image"]["bytes"], "json": facts, "txt": row["caption"], "cls": row["label"]}
                writer.write({"__key__": row["image_id"], **members})
"""


def main(release: Path, images: Path, scratch: Path) -> list[dict[str, Any]]:
    """`release` is a file of the published form; `images` a train folder, repeated up to 10,000 files."""
    folder = scratch / "export"
    shutil.rmtree(folder, ignore_errors=True)
    return [_tsv(release, folder), *_shards(images, folder)]


def _tsv(release: Path, folder: Path) -> dict[str, Any]:
    dataset = folder / "texts"
    ic.build(dataset, ic.BuildSettings(release=release))
    command = [*_export(dataset, folder / "t.tsv", "open-clip-csv"), "--overwrite"]
    seen = race({"ours": command}, _ROUNDS)["ours"]
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
        run_words(*package_command(captions, folder / f"dataset-{name}", source))
    seen = race(
        {
            "folder": [*_export(folder / "dataset-texts", folder / "a", "webdataset"), "--images", str(train)],
            "of files": ["-c", _SHARD_WRITER, str(train), str(folder / "b")],
            "own": _export(folder / "dataset-own", folder / "c", "webdataset"),
            "of dataset": ["-c", _OF_DATASET, str(folder / "dataset-own"), str(folder / "d")],
        },
        _ROUNDS,
    )
    peer, what = "webdataset's ShardWriter", f"WebDataset of {len(ids):,} images"
    return [
        row(f"{what} from a folder, with hashes", seen["folder"], peer, seen["of files"], ">= 1 times as fast"),
        row(f"{what} out of the dataset, with hashes", seen["own"], peer, seen["of dataset"], ">= 1.5 times as fast"),
    ]


def _export(dataset: Path, out: Path, to: str) -> list[str]:
    return ["-m", "imagenet_captions", "export", str(dataset), "--to", to, "--out", str(out)]
