"""Loading: rows of one class and rows with a word, beside pyarrow, load_dataset(filters=), polars, duckdb, json.load.

Every contender is a fresh process that has imported what it needs; the time is from there to Python rows.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import package as packaging
import pyarrow.parquet as pq
from common import absent, run_program, run_words, versions

import imagenet_captions as ic

_ROUNDS = 9
_CLASS, _WORD = "n02099601", "dog"

_IMPORTS = {
    "ours": "import datasets, imagenet_captions as ic; ic.load; ic.in_class",
    "pyarrow": "import pyarrow.compute as pc, pyarrow.dataset as pads",
    "load_dataset(filters=)": "from datasets import load_dataset; import pyarrow.compute as pc",
    "polars": "import polars as pl",
    "duckdb": "import duckdb",
    "json.load": "import json",
}
# Python rows by way of Arrow: duckdb's own fetchall makes tuples.
_DUCKDB = "duckdb.sql(f\"SELECT * FROM '{{dataset}}/data/*.parquet' WHERE {}\").to_arrow_table().to_pylist()"
# The packages whose versions a row names; json is of Python itself.
_PACKAGES = {"pyarrow": "pyarrow", "load_dataset(filters=)": "datasets", "polars": "polars", "duckdb": "duckdb"}
_ONE_CLASS = {
    "ours": f"rows = ic.load(dataset, ic.in_class({_CLASS!r})).to_list()",
    "pyarrow": f"rows = pads.dataset(dataset + '/data').to_table(filter=pc.field('wnid') == {_CLASS!r}).to_pylist()",
    "load_dataset(filters=)": "rows = load_dataset(dataset, split='train', cache_dir=cache,"
    f" filters=pc.field('wnid') == {_CLASS!r}).to_list()",
    "polars": f"rows = pl.scan_parquet(dataset + '/data/*.parquet').filter(pl.col('wnid') == {_CLASS!r})"
    ".collect().to_dicts()",
    "duckdb": f"""rows = {_DUCKDB.format(f"wnid = '{_CLASS}'")}""",
    "json.load": f"rows = [row for row in json.load(open(release, encoding='utf-8')) if row['wnid'] == {_CLASS!r}]",
}
_CONDITION = f"pc.match_substring(pc.field('title'), {_WORD!r}, ignore_case=True)"
_ONE_WORD = {
    "ours": f"rows = ic.load(dataset, ic.contains('title', {_WORD!r})).to_list()",
    "pyarrow": f"rows = pads.dataset(dataset + '/data').to_table(filter={_CONDITION}).to_pylist()",
    "load_dataset(filters=)": "rows = load_dataset(dataset, split='train', cache_dir=cache,"
    f" filters={_CONDITION}).to_list()",
    "polars": "rows = pl.scan_parquet(dataset + '/data/*.parquet')"
    f".filter(pl.col('title').str.contains('(?i){_WORD}')).collect().to_dicts()",
    "duckdb": f"""rows = {_DUCKDB.format(f"title ILIKE '%{_WORD}%'")}""",
    "json.load": "rows = [row for row in json.load(open(release, encoding='utf-8'))"
    f" if {_WORD!r} in row['title'].lower()]",
}
_PROGRAM = """
import sys, time
dataset, release, cache = sys.argv[1:4]
{imports}
start = time.perf_counter()
{work}
print(time.perf_counter() - start, len(rows))
"""
_BYTES = """
import sys
import datasets, imagenet_captions as ic
ic.load, ic.in_class
def read():
    return int(next(line for line in open("/proc/self/io") if line.startswith("rchar")).split()[1])
before = read()
rows = ic.load(sys.argv[1], ic.in_class(sys.argv[2]))
print(read() - before, len(rows))
"""


def main(release: Path, images: Path, scratch: Path) -> list[dict[str, Any]]:
    """`release` is a file of published size, `images` a train folder whose files are repeated up to 10,000."""
    dataset = scratch / "load"
    ic.build(dataset, ic.BuildSettings(release=release, work=scratch / "load.work"))
    rows = []
    for what, contenders, bars in (
        ("rows of one class", _ONE_CLASS, {"pyarrow": "<= 1.5", "load_dataset(filters=)": "<= 0.2"}),
        (f"title contains {_WORD!r}", _ONE_WORD, {"pyarrow": "<= 1.1", "polars": "<= 1.1"}),
    ):
        seconds = _race(contenders, dataset, release, scratch / "load.cache")
        rows += _compared(what, seconds, {"json.load": "<= 0.05", **bars})
    return [*rows, _one_class_with_images(images, scratch), _import_time()]


def _race(contenders: dict[str, str], dataset: Path, release: Path, cache: Path) -> dict[str, float]:
    """Best seconds of each contender that is installed.

    All find as many rows, but for json.load, which reads the release.
    """
    found: dict[str, str] = {}
    best = {name: float("inf") for name in contenders if name not in _PACKAGES or versions(_PACKAGES[name])}
    for number in range(_ROUNDS):
        for name in best:
            if name == "json.load" and number > 2:
                continue
            shutil.rmtree(cache, ignore_errors=True)
            program = _PROGRAM.format(imports=_IMPORTS[name], work=contenders[name])
            seconds, found[name] = run_program(program, dataset, release, cache)
            best[name] = min(best[name], float(seconds))
    if len({count for name, count in found.items() if name != "json.load"}) > 1:
        raise SystemExit(f"the contenders found different numbers of rows: {found}")
    return best


def _compared(what: str, seconds: dict[str, float], bars: dict[str, str]) -> list[dict[str, Any]]:
    rows = []
    for peer in (name for name in _IMPORTS if name != "ours"):
        if peer not in seconds:
            rows.append(absent(what, peer))
            continue
        rows.append(
            {
                "what": what,
                "ours_s": round(seconds["ours"], 4),
                "peer": f"{peer} ({versions(_PACKAGES[peer])})" if peer in _PACKAGES else peer,
                "peer_s": round(seconds[peer], 4),
                "ratio": round(seconds["ours"] / seconds[peer], 3),
                "bar": bars.get(peer, ""),
            }
        )
    return rows


def _one_class_with_images(images: Path, scratch: Path) -> dict[str, Any]:
    folder = scratch / "load.images"
    shutil.rmtree(folder, ignore_errors=True)
    ids = packaging.repeat_images(images, folder / "train")
    captions = packaging.write_captions(folder / "captions.parquet", ids)
    run_words(*packaging.package_command(captions, folder / "dataset", folder / "train"))
    wnid = ids[len(ids) // 2][:9]
    read, _ = run_program(_BYTES, folder / "dataset", Path(wnid))
    own = _bytes_of(folder / "dataset", wnid)
    ratio = round(int(read) / own, 3)
    return {"what": f"one class with images, of {len(ids):,}: MB read", "ours_s": round(int(read) / 1e6, 2),
            "peer": "that class's", "peer_s": round(own / 1e6, 2), "ratio": ratio, "bar": "<= 1.2"}  # fmt: skip


def _bytes_of(dataset: Path, wnid: str) -> int:
    """The bytes of the row groups of one class."""
    total = 0
    for shard in (dataset / "data").iterdir():
        metadata = pq.read_metadata(shard)
        for number in range(metadata.num_row_groups):
            columns = list(map(metadata.row_group(number).column, range(metadata.num_columns)))
            statistics = next(column.statistics for column in columns if column.path_in_schema == "wnid")
            if statistics.min == wnid:
                total += sum(column.total_compressed_size for column in columns)
    return total


def _import_time() -> dict[str, Any]:
    program = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"
    ours, peer = (
        min(float(run_program(program.format(name))[0]) for _ in range(5)) for name in ("imagenet_captions", "datasets")
    )
    return {"what": "import", "ours_s": round(ours, 4), "peer": "datasets", "peer_s": round(peer, 2),
            "ratio": round(ours / peer, 4), "bar": "<= 0.1 s"}  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(main(*map(Path, sys.argv[1:4])), indent=1))
