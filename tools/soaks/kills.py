"""Commands on the bundled sample, killed at random moments and then run to the end."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from counting import Chunk

from imagenet_captions.demo.flickr_stand_in import FlickrStandIn, StandInSettings
from imagenet_captions.demo.run import SAMPLE

_KILLS = 5  # a chunk, of one command
_HANGS_AFTER = 900.0
_ASKED_AGAIN = 1  # calls under way whose answers a kill may lose
_ENDED = {"ok": "ok", "code1": "not_found", "code2": "private"}  # an answer of the stand-in, and the state after it
_OF_A_CRAWL = {"matches.parquet", "matches.outcomes.parquet", "store.sqlite", "store.sqlite.lock"}
_SHARES = {"build": 4, "package": 3, "filter": 3, "export": 3, "crawl": 4, "train": 1, "ray": 1, "store": 3}
_PACKAGE = f"package --captions {{made}}/captions.parquet --images {SAMPLE}/train --missing skip --out {{out}}"
_COMMANDS = {
    "build": f"build --release {SAMPLE}/release.json --images {SAMPLE}/train --missing skip --out {{out}} --workers 2",
    "package": _PACKAGE,
    "filter": "filter {made}/dataset --has title --out {out} --workers 2",
    "export": "export {made}/dataset --to webdataset --shard-size 5 --out {out}",
    "ray": _PACKAGE + " --engine ray --workers 2",
    "store": _PACKAGE,
    "train": "train {made}/dataset --recipe micro-contrastive --model vit-micro --out {out} --epochs 2 --batch-size 8 "
    "--warmup 1 --save-every 2",
}


@dataclass(frozen=True)
class _Reference:
    """What a command leaves when nobody kills it, and how long it takes."""

    files: dict[str, str]
    seconds: float


def chunk(rng: random.Random, scratch: Path) -> Chunk:
    """Kill one command a few times, let it end, and compare what it leaves."""
    (name,) = rng.choices(list(_SHARES), list(_SHARES.values()))
    kills, losses = _crawl(rng, scratch) if name == "crawl" else _command(name, rng, scratch)
    subprocess.run(["rm", "-rf", str(scratch)], check=True)
    return Chunk(kills, [f"{name}: {loss}" for loss in losses], {name: kills})


def _command(name: str, rng: random.Random, scratch: Path) -> tuple[int, list[str]]:
    reference = _reference(name, scratch.parent)
    words, files = _prepared(name, scratch)
    kills = sum(_killed(words, rng.uniform(0, reference.seconds)) for _ in range(_KILLS))
    ended = subprocess.run(words, capture_output=True, text=True, timeout=_HANGS_AFTER, check=False)
    if ended.returncode:
        return kills, [f"ended with {ended.returncode}: {ended.stderr[-300:]}"]
    found = files()
    names = sorted(reference.files.keys() ^ found.keys())
    losses = [f"{file} is {'left over' if file in found else 'not there'}" for file in names]
    both = reference.files.keys() & found.keys()
    return kills, losses + [f"{file} has other bytes" for file in both if found[file] != reference.files[file]]


@lru_cache
def _reference(name: str, folder: Path) -> _Reference:
    scratch = folder / f"whole-{name}-{os.getpid()}"
    words, files = _prepared(name, scratch)
    began = time.monotonic()
    subprocess.run(words, capture_output=True, timeout=_HANGS_AFTER, check=True)
    return _Reference(files(), time.monotonic() - began)


def _prepared(name: str, scratch: Path) -> tuple[list[str], Callable[[], dict[str, str]]]:
    """Return a command that writes below a folder, and a function that says what is there."""
    scratch.mkdir(exist_ok=True)
    if name == "store":
        url, system = _bucket()
        return _words(name, scratch, url), lambda: _objects(system, url)
    out = scratch / "out"
    return _words(name, scratch, str(out)), lambda: _files(scratch, name)


def _words(name: str, scratch: Path, out: str) -> list[str]:
    made = _made(scratch.parent)
    return [sys.executable, "-m", "imagenet_captions", *_COMMANDS[name].format(made=made, out=out).split()]


@lru_cache
def _made(folder: Path) -> Path:
    """Return a folder with a dataset, and the captions that it was packaged from."""
    made = folder / f"made-{os.getpid()}"
    words = _COMMANDS["build"].format(out=made / "dataset").split()
    subprocess.run([sys.executable, "-m", "imagenet_captions", *words], capture_output=True, check=True)
    for file in (made / "dataset.work").glob("captions*"):
        os.link(file, made / file.name)
    return made


def _files(folder: Path, name: str) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    if name == "train":
        from safetensors.torch import load_file  # the file's header holds the order in which a dict was filled

        weights = load_file(str(folder / "out" / "model" / "weights.safetensors"))
        digest = hashlib.sha256(b"".join(weights[key].numpy().tobytes() for key in sorted(weights)))
        # Each part of a run has a log of its own.
        names = (path.relative_to(folder).as_posix() for path in files)
        return {name: "" for name in names if "/logs/" not in name} | {"weights": digest.hexdigest()}
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@lru_cache
def _server() -> Any:
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "soak",
        "AWS_SECRET_ACCESS_KEY": "soak",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return server


def _bucket() -> tuple[str, Any]:
    import fsspec

    _server()
    system = fsspec.filesystem("s3", use_listings_cache=False)
    name = f"soak-{os.getpid()}-{time.monotonic_ns()}"
    system.mkdir(name)
    return f"s3://{name}/out", system


def _objects(system: Any, url: str) -> dict[str, str]:
    bucket = url.removeprefix("s3://").removesuffix("/out")
    return {key.removeprefix(bucket): hashlib.sha256(system.cat_file(key)).hexdigest() for key in system.find(bucket)}


def _crawl(rng: random.Random, scratch: Path) -> tuple[int, list[str]]:
    """Kill a crawl that meets faults; in the end each photo has its state, and kills explain what was asked again."""
    faults = StandInSettings(
        faults=("429", "500", "reset", "html", "code105"), fault_rate=0.3, seed=rng.randrange(10**6)
    )
    photos = json.loads((SAMPLE / "photos.json").read_text(encoding="utf-8"))
    photos = {photo_id: answer for photo_id, answer in photos.items() if answer.get("code") != 105}
    program = [sys.executable, "-m", "imagenet_captions"]
    with FlickrStandIn(photos, faults) as flickr, _key():
        match = f"match --urls {SAMPLE}/urls.txt --ids {SAMPLE}/ids.txt --out {scratch}/matches.parquet"
        subprocess.run([*program, *match.split()], capture_output=True, check=True)
        crawl = f"crawl --matches {scratch}/matches.parquet --store {scratch}/store.sqlite --rate 20/s"
        words = [*program, *crawl.split(), "--endpoint", flickr.endpoint, "--tries", "2"]
        kills = sum(_killed(words, rng.uniform(0, 6)) for _ in range(_KILLS))
        ended = _run_to_the_end(words)
        requests = list(flickr.requests)
    if ended.returncode or not _is_done(ended):
        return kills, [f"not at the end: {ended.returncode}, {ended.stderr[-300:]}"]
    final = {request.photo_id: _ENDED[request.outcome] for request in requests if request.outcome in _ENDED}
    asked = Counter(request.photo_id for request in requests if request.outcome in _ENDED)
    with closing(sqlite3.connect(scratch / "store.sqlite")) as store:
        states = dict(store.execute("SELECT photo_id, state FROM photos WHERE state NOT IN ('waiting', 'unreachable')"))
    wanted = set(pq.read_table(scratch / "matches.parquet", columns=["photo_id"])["photo_id"].to_pylist())
    losses = [
        f"{photo_id} is {states.get(photo_id)}, not {final.get(photo_id)}"
        for photo_id in sorted(wanted | states.keys())
        if states.get(photo_id) != final.get(photo_id) or photo_id not in final
    ]
    if sum(asked.values()) - len(asked) > kills * _ASKED_AGAIN:
        losses.append(f"asked again: {asked.most_common(3)} after {kills} kills")
    left = {path.name for path in scratch.iterdir()} - _OF_A_CRAWL
    return kills, losses + [f"{name} is left over" for name in left]


def _run_to_the_end(words: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a crawl until it has all answers; faults may end one early."""
    for _ in range(20):
        ended = subprocess.run(words, capture_output=True, text=True, timeout=_HANGS_AFTER, check=False)
        if _is_done(ended):
            break
    return ended


def _is_done(ended: subprocess.CompletedProcess[str]) -> bool:
    return " 0 left" in ended.stderr or "nothing to ask" in ended.stderr


@contextmanager
def _key() -> Iterator[None]:
    os.environ["FLICKR_API_KEY"] = "soak"
    yield
    del os.environ["FLICKR_API_KEY"]


def _killed(words: list[str], seconds: float) -> bool:
    """Start a command and kill it and its workers after some seconds; return whether it was still alive."""
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as run:
        try:
            run.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            return run.wait() == -signal.SIGKILL
    return False
