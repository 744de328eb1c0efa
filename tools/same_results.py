"""Prove that a change of the code changes no result: run the same commands with two checkouts and compare every file.

    python tools/same_results.py HEAD~1                       the package's sample, before and after the last commit
    python tools/same_results.py main --release ic.json       a release of your own as well
    python tools/same_results.py main --train micro.parquet   trainings on images of your own

A checkout is a git revision or a folder. Every command runs in a process of its own, with the checkout first on the
path, in a folder of its own; a stand-in of Flickr answers for both. Prints a line a command and exits with 1 if a file
differs, is missing or is new. Left out are versions, paths, digests (the files themselves are compared), the time of a
crawl, and records: NAME.json beside NAME may be missing or new, and any JSON object is compared without `_RECORD_KEYS`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Files that tell when or with which code something was made, and so differ without a change of results.
_NO_RESULTS = ("*.done.json", "logs/*", "done.json", "*.ckpt", "lock", "*.lock", "*.sqlite-shm", "*.sqlite-wal")
_RECORD_KEYS = ("format", "version", "made_with", "files")
_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")

Command = tuple[str, str]  # what it is called, and the command line; ENDPOINT in it is that of the stand-in


def commands(release: Path | None, train: Path | None) -> Iterator[Command]:
    """Every command whose result may not change, in the order in which they build on one another."""
    yield "build with images", "build --release sample/release.json --images sample/train --out images"
    yield "match", "match --urls sample/urls.txt --ids sample/ids.txt --out matches.parquet"
    yield "crawl", "crawl --matches matches.parquet --store photos.sqlite --endpoint ENDPOINT --rate 50/s --tries 1"
    yield "clean of the crawl", "clean --matches matches.parquet --store photos.sqlite --out captions.parquet"
    yield "package of the crawl", "package --captions captions.parquet --images sample/train --out crawled"
    yield "publish", "publish crawled somebody/captions --with-images --dry-run"
    dataset = "images"
    if release is not None:
        yield "build of the release", f"build --release {release} --out texts"
        dataset = "texts"
    yield "filter to a dataset", f"filter {dataset} --has title --per-class 5 --seed 1 --out filtered"
    yield "filter to ids", f"filter {dataset} --has tags --sample 0.5 --seed 2 --out-ids ids.txt"
    for to, out in (("slim", "slim.csv"), ("release-json", "again.json")):
        yield f"export {to}", f"export {dataset} --to {to} --out {out}"
    yield "export open-clip-csv", "export images --to open-clip-csv --images sample/train --out open_clip.tsv"
    yield "export webdataset", "export images --to webdataset --seed 3 --shard-size 10 --out shards"
    yield "label-by-text", f"label-by-text {dataset} --out labelled.parquet"
    yield "stats", f"stats {dataset} --csv classes.csv --markdown stats.md --counts counts.tsv"
    yield "diff", "diff images filtered --out diff" if release is None else "diff texts filtered --out diff"
    data = "images" if train is None else str(train)
    for objective in ("contrastive", "supervised", "simclr"):
        flags = f"--objective {objective} --preset micro --steps 3 --batch-size 8 --workers 1 --log csv"
        empty = " --empty-classes drop" if objective == "supervised" else ""
        yield f"train {objective}", f"train {data} {flags}{empty} --out run-{objective}"


@contextmanager
def checkout(name: str) -> Iterator[Path]:
    """Give the folder of a revision or a folder that is one already."""
    if Path(name).is_dir():
        yield Path(name).resolve()
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "checkout"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(folder), name], check=True)
        try:
            yield folder
        finally:
            subprocess.run([*git, "remove", "--force", str(folder)], check=True)


@contextmanager
def stand_in() -> Iterator[str]:
    """Serve the sample's photos as Flickr would, and give the endpoint."""
    photos = ROOT / "imagenet_captions" / "demo" / "sample" / "photos.json"
    line = [sys.executable, "-m", "imagenet_captions.demo.flickr_stand_in", "--photos", str(photos)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True) as flickr:
        try:
            assert flickr.stdout is not None
            yield flickr.stdout.readline().strip()
        finally:
            flickr.terminate()


def run(code: Path, folder: Path, line: str) -> dict[str, str]:
    """Run a command with one checkout; return the SHA-256 of every result that is new or changed since, by name."""
    before = digests(folder)
    start = "imagenet_captions" if (code / "imagenet_captions" / "__main__.py").is_file() else "imagenet_captions.cli"
    done = subprocess.run(
        [sys.executable, "-m", start, *line.split()],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(code), "HF_HUB_OFFLINE": "1", "FLICKR_API_KEY": "of-the-stand-in"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{code}: {line}\nended with exit code {done.returncode}: {done.stderr.strip()[-500:]}")
    if "--dry-run" in line:
        (folder / f"{line.split()[0]}.txt").write_text(done.stdout, encoding="utf-8")
    return {name: digest for name, digest in digests(folder).items() if before.get(name) != digest}


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file that holds a result."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name: hashlib.sha256(result(path, folder)).hexdigest()
        for name, path in files.items()
        if not any(path.match(pattern) for pattern in _NO_RESULTS) and not name.startswith("sample/")
    }


def result(path: Path, folder: Path) -> bytes:
    """What of a file may not differ between two checkouts."""
    content = path.read_bytes()
    if path.suffix == ".sqlite":
        return rows(path)
    if path.suffix == ".json" and content.startswith(b"{"):
        record = json.loads(content)
        content = json.dumps({key: record[key] for key in record if key not in _RECORD_KEYS}).encode()
    if path.suffix in (".json", ".md"):
        content = _DIGEST.sub("DIGEST", content.decode().replace(str(folder), "FOLDER")).encode()
    return content


def rows(store: Path) -> bytes:
    """The answers of a crawl; their time becomes the same in every store, so that it is the same in later files."""
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("UPDATE photos SET retrieved_at = 1700000000 WHERE retrieved_at IS NOT NULL")
        found = connection.execute("SELECT photo_id, state, retrieved_at, answer FROM photos ORDER BY photo_id")
        return repr([(*others, answer and zlib.decompress(answer)) for *others, answer in found]).encode()


def differences(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """The names of the results that differ, are missing or are new."""
    records = {f"{name}.json" for name in old.keys() | new.keys()} & (old.keys() ^ new.keys())
    return sorted(name for name in (old.keys() | new.keys()) - records if old.get(name) != new.get(name))


def main() -> None:
    """Compare, print, and exit with 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", help="a git revision, or the folder of a checkout")
    parser.add_argument("after", nargs="?", default=str(ROOT), help="the same; default: this checkout as it is")
    parser.add_argument("--release", type=Path, help="imagenet_captions.json, for builds and exports of its size")
    parser.add_argument("--train", type=Path, help="labelled images for the trainings; default: the sample")
    given = parser.parse_args()
    inputs = [None if path is None else path.resolve() for path in (given.release, given.train)]
    differing = 0
    with (
        checkout(given.before) as before,
        checkout(given.after) as after,
        stand_in() as endpoint,
        tempfile.TemporaryDirectory() as scratch,
    ):
        folders = [Path(scratch) / name for name in ("before", "after")]
        for folder in folders:
            shutil.copytree(ROOT / "imagenet_captions" / "demo" / "sample", folder / "sample")
        for what, line in commands(*inputs):
            whole = line.replace("ENDPOINT", endpoint)
            old, new = (run(code, folder, whole) for code, folder in zip((before, after), folders, strict=True))
            changed = differences(old, new)
            differing += bool(changed)
            told = f"DIFFERENT: {', '.join(changed[:5])}" if changed else "equal"
            print(f"{what:<22}{len(new):>4} files  {told}", flush=True)
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
