"""Matching a list of ImageNet's size, beside polars reading it with one expression, and beside unpacking it at all."""

from __future__ import annotations

import tarfile
from pathlib import Path

from common import Measured, race

from imagenet_captions.imagenet import classes

_TRAINING_IMAGES = 1_281_167
_ROUNDS = 3

_POLARS = """
import sys
import polars as pl
rows = pl.scan_csv(sys.argv[1], separator="\\t", has_header=False, quote_char=None, encoding="utf8-lossy",
                   new_columns=["image_id", "url"], truncate_ragged_lines=True)
photo = pl.col("url").str.extract(r"flickr\\.com/(?:[^?]*/)?([0-9]+)_", 1).alias("photo_id")
rows.select("image_id", "url", photo).sink_parquet(sys.argv[2])
"""
_TARFILE = """
import sys, tarfile
with tarfile.open(sys.argv[1], "r|gz") as archive:
    for member in archive:
        content = archive.extractfile(member)
        while content.read(1 << 22):
            pass
"""


def main(urls: Path, scratch: Path) -> list[dict[str, object]]:
    """Every form of the list with ids, and the plain one without."""
    folder = scratch / "match"
    folder.mkdir(exist_ok=True)
    ids = _write_ids(urls, folder / "ids.txt")
    packed = _pack(urls, folder / "urls.tgz")
    seen = race(
        {
            "plain": [*_match(urls, folder), "--ids", str(ids)],
            "polars": ["-c", _POLARS, str(urls), str(folder / "polars.parquet")],
            "no ids": _match(urls, folder),
            "tgz": [*_match(packed, folder), "--ids", str(ids)],
            "tarfile": ["-c", _TARFILE, str(packed)],
        },
        _ROUNDS,
    )
    bar = "<= 3, <= 700 MB"
    polars = "polars scan_csv, extract, sink_parquet of the plain list"
    return [
        _row("match the plain list, with ids", seen["plain"], polars, seen["polars"], bar),
        _row("match the plain list, all ids", seen["no ids"], polars, seen["polars"], bar),
        _row("match the .tgz, with ids", seen["tgz"], polars, seen["polars"], bar),
        _row("match the .tgz, with ids", seen["tgz"], "tarfile, reading only", seen["tarfile"], "-"),
    ]


def _match(urls: Path, folder: Path) -> list[str]:
    out = str(folder / "matches.parquet")
    return ["-m", "imagenet_captions", "match", "--urls", str(urls), "--out", out, "--overwrite"]


def _row(what: str, ours: Measured, peer: str, theirs: Measured, bar: str) -> dict[str, object]:
    return {
        "what": what,
        "ours_s": round(ours.seconds, 1),
        "peer": peer,
        "peer_s": round(theirs.seconds, 1),
        "ratio": round(ours.seconds / theirs.seconds, 2),
        "bar": bar,
        "peak_mb": round(ours.peak_mb),
    }


def _write_ids(urls: Path, out: Path) -> Path:
    """As many ids of the 1000 classes as ImageNet has training images, out of the list itself."""
    wanted = {wnid.encode() for wnid in classes.wnids()}
    with urls.open("rb") as lines, out.open("wb") as written:
        found = dict.fromkeys(line.split(maxsplit=1)[0] for line in lines if line[:9] in wanted)
        written.writelines(image_id + b"\n" for image_id in list(found)[:_TRAINING_IMAGES])
    return out


def _pack(urls: Path, out: Path) -> Path:
    if not out.exists():
        with tarfile.open(out, "w:gz", compresslevel=6) as archive:
            archive.add(urls, "fall11_urls.txt")
    return out
