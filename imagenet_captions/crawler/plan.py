"""Choose the photos that a run asks for, and their order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions import schema as records
from imagenet_captions.crawler.limits import ANSWERS_AT_ONCE
from imagenet_captions.crawler.photo_status import read_states, read_status, warn_of_damage
from imagenet_captions.crawler.policy import FINAL_STATES, State
from imagenet_captions.crawler.store import Store, StoreReader
from imagenet_captions.errors import InputError
from imagenet_captions.flickr.denylist import NOTHING_DENIED, Denylist
from imagenet_captions.storage.files import require_file
from imagenet_captions.storage.parquet import ParquetFile, parquet_file
from imagenet_captions.storage.places import Place


def open_matches(path: Place) -> ParquetFile:
    """Open the matches file; raises InputError if it is not one."""
    require_file(path, "the matches file")
    opened = parquet_file(path)
    schema = opened.schema_arrow
    for wanted in records.MATCHES:
        if wanted.name not in schema.names or not schema.field(wanted.name).type.equals(wanted.type):
            opened.close()
            raise InputError(f"{path} has no text column {wanted.name}; give the matches.parquet that matching wrote")
    return opened


def wanted_photos(matches: Place, deny: Denylist = NOTHING_DENIED) -> pa.Array:
    """Return the distinct photo ids of the matches that are not denied, in order of appearance.

    A photo that belongs to several images is asked for once.
    """
    with open_matches(matches) as opened:
        wanted, _ = deny.drop(opened.read(columns=["image_id", "photo_id", "url"] if deny else ["photo_id"]))
        return pc.unique(wanted["photo_id"])


def photos_to_ask(
    wanted: pa.Array, store: Store, older_than: float | None, elsewhere: pa.Array | None = None
) -> pa.ChunkedArray:
    """Return the photos to ask for: new ones, then those with an old answer, then failures of earlier runs.

    `older_than` is a Unix time. Failures come last so that they do not delay the rest. Photos in `elsewhere` are left
    out, unless the store has an old answer about them: readers prefer the store to other sources. A damaged answer
    counts as none.
    """
    damaged = _damaged(store.path)
    final = _ids(store.ids(FINAL_STATES))
    final, failed = final.filter(pc.invert(pc.is_in(final, damaged))), _ids(store.ids([State.UNREACHABLE]))
    missing = wanted if elsewhere is None else wanted.filter(pc.invert(pc.is_in(wanted, elsewhere)))
    fresh = missing.filter(pc.invert(pc.or_(pc.is_in(missing, final), pc.is_in(missing, failed))))
    again = missing.filter(pc.is_in(missing, failed))
    warn_of_damage(fresh.filter(pc.is_in(fresh, damaged)).to_pylist(), "asked for again")
    old = _ids(store.ids([State.OK], older_than) if older_than is not None else iter(()))
    old = old.filter(pc.is_in(old, final))
    return pa.chunked_array([fresh, wanted.filter(pc.is_in(wanted, old)), again], pa.string())


def _damaged(store: Path) -> pa.Array:
    with closing(StoreReader(store)) as reader:
        return _ids(photo_id for photo_id, state in read_states(reader) if state is State.DAMAGED)


def without_denied_owners(photos: pa.ChunkedArray, store: Place, deny: Denylist) -> pa.ChunkedArray:
    """Return the photos whose owner, by an answer in the store, is not denied.

    Before the first answer, a photo's owner is known only if its address names one.
    """
    if not deny.owners or not len(photos):
        return photos
    denied = []
    with closing(StoreReader(store)) as reader:
        for start in range(0, len(photos), ANSWERS_AT_ONCE):
            for photo_id, stored in reader.each(photos.slice(start, ANSWERS_AT_ONCE).to_pylist()):
                record = read_status(photo_id, stored).record
                if record and deny.denies_owner(record.owner, record.photo_page):
                    denied.append(photo_id)
    return photos.filter(pc.invert(pc.is_in(photos, _ids(iter(denied)))))


def _ids(ids: Iterator[str]) -> pa.Array:
    return pa.array(ids, pa.string())
