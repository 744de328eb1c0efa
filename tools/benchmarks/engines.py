"""The Ray engine beside the local one on the same inputs, two workers each, taking turns.

tools/bench engines                       at the published size
python tools/benchmarks/engines.py --times 4 --release imagenet_captions.json --urls fall11_urls.txt

A row's seconds are those of the stage; starting Ray and its workers with their imports is told apart (the processes
that the local engine cleans in start within the stage: two seconds). CPU seconds are of all processes, Ray's own
included, and less shaken by what else the machine does. Memory is the peak PSS of the largest process but the one that
commands the others. At n times the published size the release is made up with n times the rows, the URL list is read n
times, and what is packaged is what was cleaned.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import inputs
import psutil

_ROWS = 463_622
_ROUNDS = 3
_PROGRAM = """
import importlib, json, shutil, sys, time
from pathlib import Path
from imagenet_captions.engines.local import EngineSettings, open_engine

MODULES = {"clean": "cleaner.clean", "match": "crawler.match", "package": "packager.package"}

def load(module):
    importlib.import_module("imagenet_captions." + module)
    time.sleep(1)  # so that each worker gets one

def clean(engine, workers, given, out):
    from imagenet_captions.cleaner.clean import CleanSettings, clean
    from imagenet_captions.sources.release import ReleaseSource
    clean(ReleaseSource(given[0]), out / "captions.parquet", CleanSettings(), workers, engine)

def match(engine, workers, given, out):
    from imagenet_captions.crawler.match import MatchSettings, match
    match(given, out / "matches.parquet", MatchSettings(engine=engine))

def package(engine, workers, given, out):
    from imagenet_captions.packager.package import PackageSettings, package
    shutil.rmtree(out / "dataset", ignore_errors=True)
    package(given[0], out / "dataset", PackageSettings(workers=workers, engine=engine))

if __name__ == "__main__":
    name, stage, out, *given = sys.argv[1:]
    begun = time.perf_counter()
    with open_engine(EngineSettings(name, workers=2)) as (engine, workers):
        list(engine.run(load, [MODULES[stage]] * 2, workers, threads=True))
        started = time.perf_counter()
        time.sleep(6)  # until Ray's own helpers have started too
        ready = time.perf_counter()
        print("ready", flush=True)
        globals()[stage](engine, workers, [Path(path) for path in given], Path(out))
        done = time.perf_counter()
    print(json.dumps({"start": started - begun, "seconds": done - ready}))
"""


@dataclass(frozen=True)
class Took:
    """One run of a stage on one engine."""

    seconds: float
    start: float
    cpu: float  # of all processes, without the start
    worker_mb: float


def main(release: Path, urls: Path, scratch: Path, times: int = 1) -> list[dict[str, object]]:
    """Clean, match and package with either engine."""
    folder = scratch / "engines"
    outs = {name: folder / name for name in ("local", "ray")}
    for out in outs.values():
        out.mkdir(parents=True, exist_ok=True)
    given = {"clean": [release], "match": [urls] * times, "package": [outs["local"] / "captions.parquet"]}
    return [_row(stage, times, given[stage], outs) for stage in given]


def _row(stage: str, times: int, given: list[Path], outs: dict[str, Path]) -> dict[str, object]:
    seen: dict[str, list[Took]] = {name: [] for name in outs}
    for _ in range(_ROUNDS):
        for name, out in outs.items():
            seen[name].append(_once([name, stage, str(out), *map(str, given)]))
    local, ray = (min(took.seconds for took in seen[name]) for name in ("local", "ray"))
    return {
        "what": f"{stage}, {times} times the published size, two workers (s)",
        "ray": round(ray, 1),
        "peer": f"the local engine: {round(local, 1)}",
        "speed": round(local / ray, 2),
        "cpu_s": "{:.1f}, local {:.1f}".format(*(min(t.cpu for t in seen[name]) for name in ("ray", "local"))),
        "bar": ">= 0.9, a worker <= 1500 MB",
        "worker_mb": round(max(took.worker_mb for took in seen["ray"])),
        "start_s": round(statistics.median(took.start for took in seen["ray"]), 1),
    }


def _once(arguments: list[str]) -> Took:
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        seen, done = Seen(), threading.Event()
        sampler = threading.Thread(target=seen.watch, args=(process.pid, done))
        sampler.start()
        assert process.stdout is not None
        process.stdout.readline()
        before = seen.cpu
        told, _ = process.communicate()
        done.set()
        sampler.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments[:2])} failed with {process.returncode}")
    found = json.loads(told.splitlines()[-1])
    return Took(found["seconds"], found["start"], seen.cpu - before, seen.peak_mb)


class Seen:
    """What the processes below one were seen to use."""

    def __init__(self) -> None:
        self.peak_mb = 0.0
        self._cpu: dict[int, float] = {}

    @property
    def cpu(self) -> float:
        """CPU seconds of all processes, as far as they were last seen."""
        return sum(self._cpu.values())

    def watch(self, pid: int, done: threading.Event) -> None:
        """Look three times a second; looking takes time too, the more the more processes there are."""
        while not done.wait(0.3):
            try:
                root = psutil.Process(pid)
                tree = [root, *root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            for process in tree:
                try:
                    times = process.cpu_times()
                    self._cpu[process.pid] = times.user + times.system
                    if process is not root:
                        self.peak_mb = max(self.peak_mb, process.memory_full_info().pss / 1e6)
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=4, help="how many times the published size")
    parser.add_argument("--release", type=Path, help="a release of that many rows; default: made up")
    parser.add_argument("--urls", type=Path, help="a URL list of the published size; default: made up")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        given_release = asked.release or inputs.make_release(Path(name) / "release.json", asked.times * _ROWS)
        given_urls = asked.urls or inputs.make_urls(Path(name) / "urls.txt")
        for row in main(given_release, given_urls, Path(name), asked.times):
            print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
