"""Match ImageNet's ids with Flickr photos: read URL lists, write matches.parquet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from imagenet_captions import schema as records
from imagenet_captions.crawler.matching.candidates import (
    NONE_SETTLED,
    Settled,
    candidate_spool,
    joined_columns,
    settle,
    shown,
    shown_column,
)
from imagenet_captions.crawler.matching.gather import Gathered, WantedKeys, contains, gather
from imagenet_captions.crawler.matching.id_keys import Keys, digest, image_ids, wnid_numbers, wnids
from imagenet_captions.crawler.matching.wanted_ids import read_ids
from imagenet_captions.engines.local import LOCAL, Engine
from imagenet_captions.errors import InputError
from imagenet_captions.flickr.addresses import RANKED
from imagenet_captions.flickr.denylist import NOTHING_DENIED, Denylist
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.class_sets import ClassSet
from imagenet_captions.outcomes import OUTCOMES, Outcome, bad_records, outcome_rows, outcomes_path
from imagenet_captions.storage.files import require_file, scratch_folder, sha256
from imagenet_captions.storage.outputs import producing
from imagenet_captions.storage.parquet import MATCHES_ROWS, open_parquet_writer
from imagenet_captions.storage.places import Place, PlaceField
from imagenet_captions.storage.spool import Spool


@dataclass(frozen=True)
class MatchSettings:
    """The wanted images: those of `ids` (any form of an ImageNet training set), or all in the lists.

    Only images of `classes` are matched; those on the denylist are dropped.
    """

    ids: PlaceField = PlaceField()
    deny: Denylist = NOTHING_DENIED
    classes: ClassSet = ClassSet.ILSVRC2012
    engine: Engine = LOCAL

    def recorded(self) -> dict[str, str | None]:
        """Return the settings to record, without the ids, which are an input."""
        return {"classes": self.classes.value, **self.deny.settings()}


def match(
    urls: Sequence[Place], out: Place, settings: MatchSettings | None = None, overwrite: bool = False
) -> dict[Outcome, int]:
    """Write `out` (MATCHES), with the ids that have no photo beside it (OUTCOMES); return the number of ids by outcome.

    The inputs are the ids of `settings.ids`, or without it all ids of the lists. Ids of other classes are counted, in
    one row a class. Of several addresses for an id, the first that shows a Flickr photo wins, in the order of the
    lists. `overwrite` replaces a file that another program wrote.

    Raises InputError for lists or ids that cannot be used and for a refused output; nothing is written then.
    """
    settings = settings or MatchSettings()
    if not urls:
        raise InputError("no URL list was given; give one such as ImageNet's fall11_urls.txt")
    for path in urls:
        require_file(path, "the URL list")
    inputs = [*urls, settings.ids, settings.deny.file]
    known = np.array([int(wnid[1:]) for wnid in classes.wnids(settings.classes)], np.int64)
    with (
        producing([outcomes_path(out), out], inputs, overwrite) as new,
        scratch_folder(out.with_name(f".{out.name}.spool")) as folder,
        candidate_spool(folder, known) as spool,
    ):
        return _match(urls, new, settings, known, spool)


def _match(
    urls: Sequence[Place], new: Sequence[Path], settings: MatchSettings, known: Keys, spool: Spool
) -> dict[Outcome, int]:
    wanted = None if settings.ids is None else read_ids(settings.ids)
    ids = None if wanted is None else wanted.keys
    inside = None if ids is None else ids[contains(known, wnid_numbers(ids))]
    with ThreadPoolExecutor(1) as pool:
        digests = pool.map(sha256, urls)  # at the same time as the reading, which leaves the file in the page cache
        gathered = gather(urls, WantedKeys(known, inside), settings.engine, spool)
        inputs = {f"urls_{number}" if number > 1 else "urls": found for number, found in enumerate(digests, 1)}
    if wanted is not None and ids is not None:
        inputs["ids"] = digest(ids)
        gathered.unreadable += wanted.unreadable
        gathered.listed += [f"ids: {shown(entry)}" for entry in wanted.listed]
        gathered.outside.add(ids[~contains(known, wnid_numbers(ids))])
    provenance = {"inputs": inputs, "settings": settings.recorded()}
    pieces = _pieces(gathered, np.empty(0, np.int64) if inside is None else inside)
    return _write(new, provenance, (_permitted(piece, settings.deny) for piece in pieces))


def _pieces(gathered: Gathered, inside: Keys) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Yield rows of both files, a slice of the sorted ids at a time; each input id is in one of them."""
    past = 0
    for settled in settle(gathered.candidates):
        until = int(np.searchsorted(inside, settled.keys[-1], side="right"))
        yield _settled(settled, inside[past:until])
        past = until
    yield _settled(NONE_SETTLED, inside[past:])
    numbers, counts = gathered.outside.by_class()
    others = outcome_rows(Outcome.UNKNOWN_CLASS, len(numbers), wnid=wnids(numbers), count=counts)
    unreadable = bad_records(gathered.listed, gathered.unreadable, "more lines without an image id")
    yield records.MATCHES.empty_table(), others
    yield records.MATCHES.empty_table(), unreadable


def _settled(settled: Settled, wanted: Keys) -> tuple[pa.Table, pa.Table]:
    """Return the ids with a photo and those without; `wanted` are the wanted ids of this slice, listed or not."""
    is_photo = settled.ranks == RANKED.index(Outcome.KEPT)
    photos = settled.only(is_photo)
    columns = [*_identity(photos.keys), photos.photo_ids, photos.urls, photos.others]
    missing = wanted[~contains(settled.keys, wanted)]
    return pa.table(columns, schema=records.MATCHES), _without_photo(settled.only(~is_photo), missing)


def _permitted(piece: tuple[pa.Table, pa.Table], deny: Denylist) -> tuple[pa.Table, pa.Table]:
    """Move the denied ids from the matches to the outcomes."""
    matched, denied = deny.drop(piece[0])
    if not len(denied):
        return piece
    outcomes = pa.concat_tables([piece[1], deny.outcomes(denied)])
    return matched, outcomes.sort_by([("image_id", "ascending")])


def _identity(keys: Keys) -> list[pa.StringArray]:
    return [image_ids(keys), wnids(wnid_numbers(keys))]


def _without_photo(settled: Settled, missing: Keys) -> pa.Table:
    """Return a row for each id without a Flickr photo or without any address (`missing`), sorted by id."""
    keys = np.concatenate([settled.keys, missing])
    ranks = np.concatenate([settled.ranks, np.full(len(missing), RANKED.index(Outcome.NO_URL), np.int8)])
    details = joined_columns(shown_column(settled.urls), settled.others)
    details = pa.concat_arrays([details, pa.nulls(len(missing), pa.string())])
    order = np.argsort(keys)
    outcomes = pa.array([outcome.value for outcome in RANKED]).take(pa.array(ranks[order]))
    image_id, wnid = _identity(keys[order])
    return outcome_rows(outcomes, len(order), image_id=image_id, wnid=wnid, detail=details.take(pa.array(order)))


def _write(
    new: Sequence[Path], provenance: Mapping[str, object], pieces: Iterable[tuple[pa.Table, pa.Table]]
) -> dict[Outcome, int]:
    """Write both files and count."""
    counts: Counter[Outcome] = Counter()
    schemas = [records.with_provenance(schema, provenance) for schema in (records.MATCHES, OUTCOMES)]
    beside, product = new
    with (
        open_parquet_writer(product, schemas[0]) as matches,
        open_parquet_writer(beside, schemas[1]) as outcomes,
    ):
        writers = _Groups(matches, schemas[0]), _Groups(outcomes, schemas[1])
        for matched, others in pieces:
            counts[Outcome.KEPT] += matched.num_rows
            for row in others.group_by("outcome").aggregate([("count", "sum")]).to_pylist():
                counts[Outcome(row["outcome"])] += row["count_sum"]
            for writer, rows in zip(writers, (matched, others), strict=True):
                writer.add(rows)
        for writer in writers:
            writer.end()
    return dict(counts)


class _Groups:
    """Writes row groups of equal size."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        self._writer = writer
        self._held = schema.empty_table()

    def add(self, rows: pa.Table) -> None:
        self._held = pa.concat_tables([self._held, rows.cast(self._held.schema)])
        whole = len(self._held) // MATCHES_ROWS * MATCHES_ROWS
        if whole:
            # Pages end where chunks do, and these where the sorting happened to cut.
            self._writer.write_table(self._held.slice(0, whole).combine_chunks(), row_group_size=MATCHES_ROWS)
            self._held = self._held.slice(whole).combine_chunks()

    def end(self) -> None:
        if len(self._held):
            self._writer.write_table(self._held.combine_chunks())
