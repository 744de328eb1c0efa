"""Commands on the bundled sample, killed at random moments and then run to the end."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from functools import lru_cache
from pathlib import Path

from imagenet_captions.demo.flickr_stand_in import FlickrStandIn, StandInSettings
from imagenet_captions.demo.run import SAMPLE

_KILLS = 5  # a chunk, of one command
_HANGS_AFTER = 900.0
_PROGRAM = [sys.executable, "-m", "imagenet_captions"]
_PACKAGE = f"package --captions {{made}}/captions.parquet --images {SAMPLE}/train --missing skip --out {{out}}"
_COMMANDS = {
    "build": f"build --release {SAMPLE}/release.json --images {SAMPLE}/train --missing skip --out {{out}} --workers 2",
    "package": _PACKAGE,
    "filter": "filter {made}/dataset --has title --out {out} --workers 2",
    "export": "export {made}/dataset --to webdataset --shard-size 5 --out {out}",
    "ray": _PACKAGE + " --engine ray --workers 2",
    "train": "train {made}/dataset --recipe micro-contrastive --model vit-micro --out {out} --epochs 2 --batch-size 8 "
    "--warmup 1 --save-every 2",
}
_SHARES = {"build": 4, "package": 3, "filter": 3, "export": 3, "crawl": 4, "train": 1, "ray": 1}
_ENDED = {"ok": "ok", "code1": "not_found", "code2": "private"}  # an answer of the stand-in, and the state after it


def chunk(rng: random.Random, scratch: Path) -> tuple[int, list[str]]:
    """Kill one command a few times, let it end, and compare what it leaves."""
    (name,) = rng.choices(list(_SHARES), list(_SHARES.values()))
    kills, losses = _crawl(rng, scratch) if name == "crawl" else _command(name, rng, scratch)
    shutil.rmtree(scratch)
    return kills, [f"{name}: {loss}" for loss in losses]


def _command(name: str, rng: random.Random, scratch: Path) -> tuple[int, list[str]]:
    whole, seconds = _reference(name, scratch.parent)
    words = _words(name, scratch)
    kills = sum(_killed(words, rng.uniform(0, seconds)) for _ in range(_KILLS))
    ended = subprocess.run(words, capture_output=True, text=True, timeout=_HANGS_AFTER, check=False)
    if ended.returncode:
        return kills, [f"ended with {ended.returncode}: {ended.stderr[-300:]}"]
    found = _files(scratch, name)
    differs = sorted(file for file in whole.keys() | found.keys() if whole.get(file) != found.get(file))
    return kills, [f"{file} differs, is left over or is not there" for file in differs]


@lru_cache
def _reference(name: str, folder: Path) -> tuple[dict[str, str], float]:
    """Return what a command leaves when nobody kills it, and how long it takes."""
    scratch = folder / f"whole-{name}-{os.getpid()}"
    scratch.mkdir()
    words, began = _words(name, scratch), time.monotonic()
    subprocess.run(words, capture_output=True, timeout=_HANGS_AFTER, check=True)
    return _files(scratch, name), time.monotonic() - began


def _words(name: str, scratch: Path) -> list[str]:
    return [*_PROGRAM, *_COMMANDS[name].format(made=_made(scratch.parent), out=scratch / "out").split()]


@lru_cache
def _made(folder: Path) -> Path:
    """Return a folder with a dataset, and the captions that it was packaged from."""
    made = folder / f"made-{os.getpid()}"
    words = _COMMANDS["build"].format(out=made / "dataset").split()
    subprocess.run([*_PROGRAM, *words], capture_output=True, check=True)
    for file in (made / "dataset.work").glob("captions*"):
        os.link(file, made / file.name)
    return made


def _files(folder: Path, name: str) -> dict[str, str]:
    """Return the digest of every file; of a training the names, but for its logs, and the digest of the weights."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    if name != "train":
        return {file: hashlib.sha256(path.read_bytes()).hexdigest() for file, path in files.items()}
    from safetensors.torch import load_file  # the file's header holds the order in which a dict was filled

    weights = load_file(str(folder / "out" / "model" / "weights.safetensors"))
    digest = hashlib.sha256(b"".join(weights[key].numpy().tobytes() for key in sorted(weights)))
    return {file: "" for file in files if "/logs/" not in file} | {"weights": digest.hexdigest()}


def _crawl(rng: random.Random, scratch: Path) -> tuple[int, list[str]]:
    """Kill a crawl that meets faults; in the end each photo has its state, and kills explain what was asked again."""
    faults = ("429", "500", "reset", "html", "code105")
    photos = json.loads((SAMPLE / "photos.json").read_text(encoding="utf-8"))
    photos = {photo_id: answer for photo_id, answer in photos.items() if answer.get("code") != 105}
    os.environ["FLICKR_API_KEY"] = "soak"
    with FlickrStandIn(photos, StandInSettings(faults=faults, fault_rate=0.3, seed=rng.randrange(10**6))) as flickr:
        match = f"match --urls {SAMPLE}/urls.txt --ids {SAMPLE}/ids.txt --out {scratch}/matches.parquet"
        subprocess.run([*_PROGRAM, *match.split()], capture_output=True, check=True)
        crawl = f"crawl --matches {scratch}/matches.parquet --store {scratch}/store.sqlite --rate 20/s --tries 2"
        words = [*_PROGRAM, *crawl.split(), "--endpoint", flickr.endpoint]
        kills = sum(_killed(words, rng.uniform(0, 6)) for _ in range(_KILLS))
        for _ in range(20):  # faults may end one early
            ended = subprocess.run(words, capture_output=True, text=True, timeout=_HANGS_AFTER, check=False)
            if " 0 left" in ended.stderr or "nothing to ask" in ended.stderr:
                break
        else:
            return kills, [f"not at the end: {ended.returncode}, {ended.stderr[-300:]}"]
        final_answers = [request for request in flickr.requests if request.outcome in _ENDED]
    asked = Counter(request.photo_id for request in final_answers)
    final = {request.photo_id: _ENDED[request.outcome] for request in final_answers}
    with closing(sqlite3.connect(scratch / "store.sqlite")) as store:
        states = dict(store.execute("SELECT photo_id, state FROM photos WHERE state NOT IN ('waiting', 'unreachable')"))
    losses = [
        f"{photo_id} is {states.get(photo_id)}, not {final.get(photo_id)}"
        for photo_id in sorted(final.keys() | states.keys())
        if states.get(photo_id) != final.get(photo_id)
    ]
    if sum(asked.values()) - len(asked) > kills:  # each may lose the answer of the call under way
        losses.append(f"asked again: {asked.most_common(3)} after {kills} kills")
    return kills, losses


def _killed(words: list[str], seconds: float) -> bool:
    """Start a command and kill it and its workers after some seconds; return whether it was still alive."""
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as run:
        try:
            run.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            return run.wait() == -signal.SIGKILL
    return False
