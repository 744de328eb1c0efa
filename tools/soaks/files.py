"""Inputs of each format, damaged in ways that disks, networks and people damage them."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import zipfile
from functools import lru_cache
from pathlib import Path

import pyarrow.parquet as pq

import imagenet_captions as ic
from imagenet_captions.demo.flickr_stand_in import FlickrStandIn
from imagenet_captions.demo.run import SAMPLE

_FILES = 4  # a chunk
_HANGS_AFTER = 900.0
_PROGRAM = [sys.executable, "-m", "imagenet_captions"]
_BUILD = f"build --release {SAMPLE}/release.json --missing skip --out {{out}} --images"
# A command for each kind of file. {bad} is the damaged file; it lies where the sound one lay in a copy, {made}.
_READERS = {
    "release.json": "build --release {bad} --out {out}",
    "release.zip": "build --release {bad} --out {out}",
    "urls.tgz": "match --urls {bad} --out {out}",
    "images.tar": _BUILD + " {bad}",
    "train/n01440764/n01440764_915807.JPEG": _BUILD + " {made}/train",
    "captions.parquet": "package --captions {bad} --out {out}",
    "dataset/data/train-00000-of-00001.parquet": "filter {made}/dataset --has title --out {out}",
    "dataset/raw/train-00000-of-00001.parquet": "export {made}/dataset --to release-json --out {out}",
    "dataset/outcomes.parquet": "filter {made}/dataset --has title --out {out}",
    "dataset/manifest.json": "filter {made}/dataset --has title --out {out}",
    "store.sqlite": "clean --matches {made}/matches.parquet --store {bad} --out {out}",
    "run/model/weights.safetensors": "evaluate {made}/run --on val={made}/dataset --prompts one --out {out}",
    "run/checkpoints/last.ckpt": "evaluate {bad} --on val={made}/dataset --prompts one --out {out}",
}


def chunk(rng: random.Random, scratch: Path) -> tuple[int, list[str]]:
    """Damage some files, one at a time, and run what reads them."""
    losses: list[str] = []
    for number in range(_FILES):
        folder, out = scratch / str(number), scratch / f"out-{number}"
        shutil.copytree(_sound(scratch.parent), folder, copy_function=os.link)
        name = rng.choice(list(_READERS))
        damage = _damage(rng, folder / name)
        words = _READERS[name].format(bad=folder / name, made=folder, out=out).split()
        ended = subprocess.run([*_PROGRAM, *words], capture_output=True, text=True, timeout=_HANGS_AFTER, check=False)
        wrong = _wrong(ended, out)
        losses += [f"{name}, {damage}: {wrong}"] if wrong else []
    shutil.rmtree(scratch)
    return _FILES, losses


def _wrong(ended: subprocess.CompletedProcess[str], out: Path) -> str | None:
    """Return what is wrong with an end: either a sentence and no output, or an output that is whole.

    Formats without checksums, such as JSON and tars, do not show that a letter or a pixel is another one.
    """
    told = [line for line in ended.stderr.splitlines() if line.startswith("imagenet-captions: ")]
    left = [path.name for path in out.parent.glob(f"{out.name}*") if path.name != f"{out.name}.work"]
    if "Traceback" in ended.stderr or ended.returncode not in (0, 2) or (ended.returncode and len(told) != 1):
        return f"exit code {ended.returncode}: {ended.stderr[-400:]}"
    if ended.returncode:
        return f"{left} in spite of the error" if left else None
    try:
        if (out / "manifest.json").is_file():
            ic.verify(out)
        elif out.read_bytes().startswith(b"PAR1"):
            for file in (out, out.with_name(f"{out.stem}.outcomes.parquet")):
                pq.read_table(file).validate(full=True)
        else:
            json.loads(out.read_text(encoding="utf-8"))
    except (OSError, ValueError, ic.ImagenetCaptionsError) as error:
        return f"exit code 0, and the output cannot be read: {error}"
    return None


def _damage(rng: random.Random, path: Path) -> str:
    """Replace a file by a damaged copy of it, and say how."""
    data = path.read_bytes()
    at = rng.randrange(len(data))
    damaged = {
        "cut": data[:at],
        "flip": data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :],
        "zeros": data[:at] + bytes(512) + data[at + 512 :],
        "noise": data[:at] + rng.randbytes(64) + data[at + 64 :],
        "empty": b"",
        "doubled": data + data,
        "other": rng.choice([b"{}", b"[]", b"\x1f\x8b", b"PK\x03\x04", b"<html>"]),
    }
    kind = rng.choice(list(damaged))
    path.unlink()  # a link to the sound one
    path.write_bytes(damaged[kind])
    return f"{kind} at {at} of {len(data)}"


@lru_cache
def _sound(folder: Path) -> Path:
    """Return a folder with a sound file of each kind."""
    made = folder / f"sound-{os.getpid()}"
    made.mkdir()
    shutil.copy(SAMPLE / "release.json", made)
    with zipfile.ZipFile(made / "release.zip", "w") as archive:
        archive.write(SAMPLE / "release.json", "imagenet_captions.json")
    with tarfile.open(made / "urls.tgz", "w:gz") as packed:
        packed.add(SAMPLE / "urls.txt", "fall11_urls.txt")
    shutil.copytree(SAMPLE / "train", made / "train")
    with tarfile.open(made / "images.tar", "w") as tar:
        for image in sorted((made / "train").rglob("*.JPEG")):
            tar.add(image, f"{image.parent.name}/{image.name}")
    _run(f"{_BUILD} {made}/train", made / "dataset")
    for file in (made / "dataset.work").glob("captions*.parquet"):
        shutil.copy(file, made)
    shutil.rmtree(made / "dataset.work")
    _run(f"match --urls {SAMPLE}/urls.txt --ids {SAMPLE}/ids.txt --out {{out}}", made / "matches.parquet")
    with FlickrStandIn(json.loads((SAMPLE / "photos.json").read_text(encoding="utf-8"))) as flickr:
        crawl = f"crawl --matches {made}/matches.parquet --store {{out}} --rate unlimited --tries 1 --endpoint"
        _run(f"{crawl} {flickr.endpoint}", made / "store.sqlite")
    train = f"train {made}/dataset --recipe micro-contrastive --model vit-micro --steps 2 --batch-size 8 --warmup 1"
    _run(train + " --save-every 1 --out {out}", made / "run")
    return made


def _run(command: str, out: Path) -> None:
    words = [*_PROGRAM, *command.format(out=out).split()]
    subprocess.run(words, capture_output=True, check=True, env={**os.environ, "FLICKR_API_KEY": "soak"})
