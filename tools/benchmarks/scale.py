"""How time and memory grow: every text stage at 1, 4 and 16 times the published size, one after the other.

The larger inputs are the given release, an entry a line, over and over, under new image ids and with the words of its
texts in another order, and a URL list of as many lines. The stages are run as a user runs them: by their commands.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import Measured, race

SIZES = (1, 4, 16)

_COMMAND = ("-m", "imagenet_captions")
# What the interpreter gets for each stage, in the folder of one size; the order is that of the files.
STAGES = {
    "match": [*_COMMAND, "match", "--urls", "urls.txt", "--out", "matches.parquet"],
    "clean": [*_COMMAND, "clean", "--release", "release.json", "--out", "captions.parquet"],
    "package": [*_COMMAND, "package", "--captions", "captions.parquet", "--out", "dataset"],
    "mentions (label-by-text)": [*_COMMAND, "label-by-text", "dataset", "--out", "labelled.parquet"],
    "load one class": ["-c", "import imagenet_captions as ic; assert len(ic.load('dataset', ic.in_class('tench')))"],
    "filter by words": [*_COMMAND, "filter", "dataset", "--contains", "title=river", "--out", "filtered"],
}


def main(release: Path, figure: Path, scratch: Path) -> list[dict[str, Any]]:
    """Time and peak memory of every stage at every size, beside those at the published size; `figure` shows both."""
    seen: dict[tuple[str, int], Measured] = {}
    written: dict[tuple[str, int], int] = {}
    for size in SIZES:
        here = scratch / f"scale_{size}"
        here.mkdir(parents=True)
        _write_inputs(release, here, size)
        for stage, arguments in STAGES.items():
            before = _bytes(here)
            seen[stage, size] = race({stage: arguments}, rounds=1, folder=here)[stage]
            written[stage, size] = _bytes(here) - before
        shutil.rmtree(here)
    rows = [
        {
            "what": f"{stage}, {size} x the published size",
            "ours_s": round(found.seconds, 2),
            "cpu_s": round(found.cpu, 2),
            "written_mb": round(written[stage, size] / 1e6),
            "peak_mb": round(found.peak_mb),
            "time_per_data": round(found.seconds / seen[stage, 1].seconds / size, 2),
            "memory": round(found.peak_mb / seen[stage, 1].peak_mb, 2),
            "bar": "time_per_data <= 1.15, memory <= 1.3",
        }
        for (stage, size), found in seen.items()
    ]
    _plot(rows, figure)
    return rows


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw time and memory over size, a line a stage."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for stage in STAGES:
        found = [row for row in rows if row["what"].startswith(stage + ",")]
        left.plot(SIZES, [row["ours_s"] for row in found], "o-", label=stage)
        right.plot(SIZES, [row["peak_mb"] for row in found], "o-", label=stage)
    left.set(xscale="log", yscale="log", xlabel="times the published size", ylabel="seconds", title="time")
    right.set(xscale="log", ylim=(0, None), xlabel="times the published size", ylabel="MB", title="peak memory")
    for axes in (left, right):
        axes.set_xticks(SIZES, [str(size) for size in SIZES])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    right.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    figure.savefig(path, dpi=110)


def _write_inputs(release: Path, here: Path, size: int) -> None:
    with (here / "release.json").open("w", encoding="utf-8") as entries, (here / "urls.txt").open("w") as urls:
        for number, entry in enumerate(_entries(release, size)):
            entries.write((",\n" if number else "[") + json.dumps(entry))
            photo = 1_000_000 + number
            url = f"http://farm{photo % 8 + 1}.static.flickr.com/{photo % 4200}/{photo}_ab.jpg"
            urls.write(entry["filename"].removesuffix(".JPEG") + f"\t{url}\n")
        entries.write("]\n")


def _entries(release: Path, size: int) -> Iterator[dict[str, Any]]:
    """The entries of the release `size` times over: later copies under other image ids, the words in another order."""
    for copy in range(size):
        shuffle = random.Random(copy).shuffle
        with release.open(encoding="utf-8") as lines:
            for line in lines:
                entry = json.loads(line.strip().lstrip("[").rstrip("],"))
                if copy:
                    wnid, _, number = entry["filename"].removesuffix(".JPEG").partition("_")
                    entry["filename"] = f"{wnid}_{int(number) + copy * 1_000_000}.JPEG"
                    for field in ("title", "description"):
                        words = entry[field].split(" ")
                        shuffle(words)
                        entry[field] = " ".join(words)
                yield entry
