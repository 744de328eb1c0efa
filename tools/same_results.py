"""Prove that a change of the code changes no result: run the same commands with two checkouts and compare every file.

    python tools/same_results.py HEAD~1                       the package's sample, before and after the last commit
    python tools/same_results.py main --release ic.json       a release of your own as well
    python tools/same_results.py main --train micro.parquet   trainings on images of your own

A checkout is a git revision or a folder. Every command runs in a process of its own, with the checkout first on the
path, in a folder of its own. Prints a line a command and exits with 1 if a file differs, is missing or is new.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Files that tell when or with which code something was made, and so differ without a change of results.
_NO_RESULTS = ("*.done.json", "logs/*", "done.json", "*.ckpt", "lock", ".lock")

Command = tuple[str, str]  # what it is called, and the command line


def commands(release: Path | None, train: Path | None) -> Iterator[Command]:
    """Every command whose result may not change, in the order in which they build on one another."""
    yield "build with images", "build --release sample/release.json --images sample/train --out images"
    yield "match", "match --urls sample/urls.txt --ids sample/ids.txt --out matches.parquet"
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


def run(code: Path, folder: Path, line: str) -> dict[str, str]:
    """Run a command with one checkout; return the SHA-256 of every file that is new or changed since, by name."""
    before = digests(folder)
    start = "imagenet_captions" if (code / "imagenet_captions" / "__main__.py").is_file() else "imagenet_captions.cli"
    done = subprocess.run(
        [sys.executable, "-m", start, *line.split()],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(code), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{code}: {line}\nended with exit code {done.returncode}: {done.stderr.strip()[-500:]}")
    return {name: digest for name, digest in digests(folder).items() if before.get(name) != digest}


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file that holds a result."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in files.items()
        if not any(path.match(pattern) for pattern in _NO_RESULTS) and not name.startswith("sample/")
    }


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
        tempfile.TemporaryDirectory() as scratch,
    ):
        folders = [Path(scratch) / name for name in ("before", "after")]
        for folder in folders:
            shutil.copytree(ROOT / "imagenet_captions" / "demo" / "sample", folder / "sample")
        for what, line in commands(*inputs):
            old, new = (run(code, folder, line) for code, folder in zip((before, after), folders, strict=True))
            changed = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
            differing += bool(changed)
            told = f"DIFFERENT: {', '.join(changed[:5])}" if changed else "equal"
            print(f"{what:<22}{len(new):>4} files  {told}", flush=True)
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
