"""Mentions of all names in a release's texts on one core, column write included, beside one big regular expression."""

from __future__ import annotations

import re
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from ahocorasick_rs import BytesAhoCorasick, Implementation
from common import absent, versions

from imagenet_captions.captions import mentions
from imagenet_captions.captions.mentions import normal_lines, patterns
from imagenet_captions.imagenet.class_names import vocabulary
from imagenet_captions.sources.release import ReleaseSource

_SLOW_EVERY, _SLOW_ROWS = 10, 200  # the regular expression gets a few rows of every tenth batch, between ours


def main(release: Path, scratch: Path) -> list[dict[str, Any]]:
    """Ours is timed from the columns of a batch to a written Parquet column, building the automaton included."""
    pa.set_cpu_count(1)
    start = time.process_time()
    mentions.matcher.cache_clear()
    mentions.matcher()
    ours, peer, rows, peer_rows = time.process_time() - start, 0.0, 0, 0
    regex = _regex()
    schema = pa.schema([pa.field("mentions", pa.string()), pa.field("names_class", pa.bool_())])
    with pq.ParquetWriter(scratch / "mentions.parquet", schema, compression="zstd") as writer:
        for number, batch in enumerate(ReleaseSource(release).batches()):
            own = pa.array([number] * len(batch), pa.int64())
            start = time.process_time()
            found = mentions.matcher().find(mentions.join_fields([batch[name] for name in _FIELDS]))
            columns = [mentions.as_text(found), mentions.contains(found, own)]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
            ours, rows = ours + time.process_time() - start, rows + len(batch)
            if number % _SLOW_EVERY == 0:
                texts = [_text(record) for record in batch.slice(0, _SLOW_ROWS).to_pylist()]
                start = time.process_time()
                for text in texts:
                    set(regex.findall(text))
                peer, peer_rows = peer + time.process_time() - start, peer_rows + len(texts)
    peer_all = peer / peer_rows * rows
    return [
        {
            "what": f"mentions of all names in {rows:,} captions, one core, columns written",
            "ours_s": round(ours, 2),
            "peer": f"one regular expression of all spellings, case-insensitive ({peer_rows:,} captions timed)",
            "peer_s": round(peer_all),
            "ratio": round(peer_all / ours),
            "bar": "<= 4 s, >= 100 x",
        },
        _search(release),
    ]


_FIELDS = ("title", "description", "tags")


def _search(release: Path) -> dict[str, Any]:
    """Search the same lines for the same patterns with the library that is used and with pyahocorasick, in turns."""
    what, version = f"the search alone, 30 batches, {versions('ahocorasick-rs')}", versions("pyahocorasick")
    if version is None:
        return absent(what, "pyahocorasick")
    import ahocorasick

    names = sorted({pattern for spelling in vocabulary().readings for pattern in patterns(spelling, fold=True)})
    ours = BytesAhoCorasick(names, implementation=Implementation.DFA)
    peer = ahocorasick.Automaton()
    for number, name in enumerate(names):
        peer.add_word(name.decode(), number)
    peer.make_automaton()
    seconds = [0.0, 0.0]
    for batch in islice(ReleaseSource(release).batches(), 30):
        lines, _ = normal_lines(mentions.join_fields([batch[name] for name in _FIELDS]), True)
        text = lines.decode()
        start = time.process_time()
        found = len(ours.find_matches_as_indexes(lines, overlapping=True))
        middle = time.process_time()
        same = sum(1 for _ in peer.iter(text))
        seconds = [seconds[0] + middle - start, seconds[1] + time.process_time() - middle]
        if found != same:
            raise SystemExit(f"pyahocorasick finds {same} names, and ahocorasick-rs {found}")
    return {
        "what": what,
        "ours_s": round(seconds[0], 2),
        "peer": version,
        "peer_s": round(seconds[1], 2),
        "ratio": round(seconds[1] / seconds[0], 2),
        "bar": ">= 1",
    }


def _regex() -> re.Pattern[str]:
    """What people write: all spellings, longest first, between word boundaries."""
    spellings = sorted({spelling.casefold() for spelling in vocabulary().readings}, key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, spellings))})\b", re.IGNORECASE)


def _text(record: dict[str, Any]) -> str:
    return " ".join([record["title"], record["description"], *record["tags"]])
