"""Match ImageNet's ids with Flickr photos: read URL lists, choose one address for each id, write matches.parquet."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imagenet_captions.crawler.ids import ID, WantedIds, read_ids
from imagenet_captions.crawler.settings import MatchSettings
from imagenet_captions.engines.local import Engine, default_workers
from imagenet_captions.errors import InputError
from imagenet_captions.flickr.addresses import RANKED, read_addresses
from imagenet_captions.flickr.denylist import Denylist
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.image_ids import WNID_LENGTH
from imagenet_captions.outcomes import MOST_LISTED, OUTCOMES, Outcome, bad_records, outcome_rows, outcomes_path
from imagenet_captions.schema import MATCHES, with_provenance
from imagenet_captions.storage.files import require_file, scratch_beside, sha256
from imagenet_captions.storage.outputs import producing
from imagenet_captions.storage.parquet import BUCKETS, MATCHES_ROWS, Spool, first_of_each, open_parquet_writer
from imagenet_captions.storage.places import Place
from imagenet_captions.storage.progress import progress
from imagenet_captions.storage.texts import as_text, lines_of, read_blocks

# An address of an id of the wanted classes; rows are in the order of the lists.
_CANDIDATES = pa.schema(
    [
        pa.field("image_id", pa.string()),
        pa.field("rank", pa.int8()),  # the outcome's index in RANKED
        pa.field("photo_id", pa.string()),
        pa.field("url", pa.string()),
    ]
)
# <image_id><tab or spaces><address>, in bytes: an address need not be UTF-8.
_LINE = rf"^[ \t\r]*(?:\xef\xbb\xbf)?{ID}[ \t\r\n]"
_ADDRESS = r"(?s)^[ \t\r]*[^ \t\r\n]+(?P<url>[ \t\r\n].*)$"
_BLANK = r"^(?:\xef\xbb\xbf)?[ \t\r\n\v\f]*$"
# Tells whether a list has any address of Flickr's: the wanted ids may be few and have none.
_FLICKR = re.compile(rb"(?://|[ \t])(?:[a-z0-9-]+\.)*(?:(?:static)?flickr\.com|flic\.kr)[:/]", re.IGNORECASE)
_MOST_WORKERS = 4  # with more, reading the list takes most of the time
MOST_PIECES = 32
_SHOWN_LENGTH, _MOST_OTHERS, _BETWEEN = 200, 5, " | "


def match(
    urls: Sequence[Place], out: Place, settings: MatchSettings | None = None, overwrite: bool = False
) -> dict[Outcome, int]:
    """Write `out` (MATCHES), with the ids that have no photo beside it (OUTCOMES); return the number of ids by outcome.

    The inputs are the ids of `settings.ids`, or without it all ids of the lists. Ids of other classes are counted, in
    one row a class. Of several addresses for an id, the first that shows a Flickr photo wins, in the order of the
    lists. `overwrite` replaces a file that exists.

    Raises InputError for lists or ids that cannot be used and for a refused output; nothing is written then.
    """
    settings = settings or MatchSettings()
    if not urls:
        raise InputError("no URL list was given; give one such as ImageNet's fall11_urls.txt")
    for path in urls:
        require_file(path, "the URL list")
    known = pa.array(classes.wnids(settings.classes))

    def bucket_of(rows: pa.Table) -> npt.NDArray[np.int64]:
        places = pc.index_in(wnids_of(rows["image_id"]), value_set=known)
        buckets: npt.NDArray[np.int64] = places.cast(pa.int64()).to_numpy() * BUCKETS // len(known)
        return buckets

    given = [*urls, settings.ids, settings.deny.file]
    with (
        producing([out], given, overwrite, [outcomes_path(out)]) as (beside, product),
        scratch_beside(out) as folder,
        Spool(folder, _CANDIDATES, ["image_id", "rank"], bucket_of) as spool,
    ):
        wanted = None if settings.ids is None else read_ids(settings.ids)
        lists = _Lists(spool, known, all_ids=wanted is None)
        for number, path in enumerate(urls, 1):
            lists.read(path, number, settings.engine)
        inputs = {f"urls_{number}" if number > 1 else "urls": sha256(path) for number, path in enumerate(urls, 1)}
        inside = None
        if wanted is not None:
            inputs["ids"] = wanted.digest()
            inside = lists.add_wanted(wanted)
        made = {"inputs": inputs, "settings": settings.recorded()}
        counts: Counter[Outcome] = Counter()
        with (
            open_parquet_writer(product, with_provenance(MATCHES, made)) as matches,
            open_parquet_writer(beside, with_provenance(OUTCOMES, made)) as outcomes,
        ):
            files = _Groups(matches), _Groups(outcomes)
            ended = _ends(spool, inside, settings.deny)
            for pieces in chain(ended, [(MATCHES.empty_table(), lists.others())]):
                counts[Outcome.KEPT] += len(pieces[0])
                for row in pieces[1].group_by("outcome").aggregate([("count", "sum")]).to_pylist():
                    counts[Outcome(row["outcome"])] += row["count_sum"]
                for file, rows in zip(files, pieces, strict=True):
                    file.add(rows)
            for file in files:
                file.end()
    return dict(counts)


def wnids_of(ids: pa.StringArray) -> pa.StringArray:
    """Return the wnid in each id."""
    return pc.utf8_slice_codeunits(ids, 0, WNID_LENGTH)


def shown(url: str) -> str:
    r"""Return an address for a remark: short, on one line, without control characters.

    >>> shown("http://example.com/\tx")
    'http://example.com/\\tx'
    """
    short = url if len(url) <= _SHOWN_LENGTH else url[: _SHOWN_LENGTH - 1] + "…"
    if short.isprintable():
        return short
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in short)


class _Part(NamedTuple):
    """The content of one block of a list."""

    candidates: pa.Table
    outside: pa.StringArray
    lines: int
    readable: int
    unreadable: int
    listed: list[tuple[int, str]]
    has_flickr: bool


@dataclass
class _Lists:
    """The content of the lists: candidates of the wanted classes, ids of other classes, and unreadable lines."""

    spool: Spool
    known: pa.StringArray
    all_ids: bool  # are inputs, not only those of a list
    unreadable: int = 0
    listed: list[str] = field(default_factory=list)  # the first unreadable lines, one remark each
    # By the start of their wnid, so that a set in which repeated ids are looked for is small.
    outside: defaultdict[str, list[pa.StringArray]] = field(default_factory=lambda: defaultdict(list))

    def read(self, path: Place, number: int, engine: Engine) -> None:
        """Read a list once; raises InputError if it is missing, damaged, empty, or has no Flickr address at all.

        A few blocks are read at once, in threads if the engine is the local one: Arrow releases Python's lock.
        """
        lines = readable = unreadable = 0
        has_flickr = False
        read = partial(_read_block, self.known, self.all_ids)
        blocks = read_blocks(path, "the URL list")
        for part in engine.run(read, blocks, min(default_workers(), _MOST_WORKERS), threads=True):
            self.spool.add(part.candidates)
            self._add_outside(part.outside)
            room = MOST_LISTED - len(self.listed)
            self.listed += [f"list {number}, line {lines + line + 1}: {text}" for line, text in part.listed[:room]]
            lines += part.lines
            readable += part.readable
            unreadable += part.unreadable
            has_flickr = has_flickr or part.has_flickr
        self.unreadable += unreadable
        if not readable:
            found = "has no line of an image id and an address" if unreadable else "is empty"
            raise InputError(f"the URL list {path} {found}; give a list such as ImageNet's fall11_urls.txt")
        if not has_flickr:
            raise InputError(f"the URL list {path} has no Flickr address at all; check that it is the right file")

    def add_wanted(self, wanted: WantedIds) -> pa.StringArray:
        """Count the wanted ids of other classes and the unreadable entries; return the other wanted ids."""
        self.unreadable += wanted.unreadable
        self.listed = [*self.listed, *(f"ids: {shown(entry)}" for entry in wanted.listed)]
        inside = pc.is_in(wnids_of(wanted.ids), value_set=self.known)
        self._add_outside(wanted.ids.filter(pc.invert(inside)))
        return wanted.ids.filter(inside)

    def others(self) -> pa.Table:
        """Return a row for each other class, with the number of its ids, and the rows of unreadable lines."""
        counts: list[tuple[str, int]] = []
        for _, pieces in sorted(self.outside.items()):
            found = wnids_of(pa.chunked_array(pieces).unique()).value_counts()
            counts += sorted(zip(*(column.to_pylist() for column in found.flatten()), strict=True))
        wnids, numbers = [wnid for wnid, _ in counts], [number for _, number in counts]
        rows = outcome_rows(Outcome.UNKNOWN_CLASS, len(counts), wnid=wnids, count=numbers)
        return pa.concat_tables([rows, bad_records(self.listed, self.unreadable, "more lines without an image id")])

    def _add_outside(self, ids: pa.StringArray) -> None:
        starts = pc.utf8_slice_codeunits(ids, 0, 4)
        for start in starts.unique():
            pieces = self.outside[start.as_py()]
            pieces.append(ids.filter(pc.equal(starts, start)))
            if len(pieces) > MOST_PIECES:
                pieces[:] = [pa.chunked_array(pieces).unique()]


def _read_block(known: pa.StringArray, all_ids: bool, block: bytes) -> _Part:
    lines = lines_of(block)
    found = pc.extract_regex(lines, _LINE)
    ids, wnids, again = (part.cast(pa.string(), safe=False) for part in found.flatten())
    good = pc.fill_null(pc.or_(pc.equal(again, ""), pc.equal(again, wnids)), False)
    inside = pc.and_(good, pc.is_in(wnids, value_set=known))
    urls = as_text(pc.extract_regex(lines.filter(inside), _ADDRESS).flatten()[0])
    photo_ids, ranks = read_addresses(urls)
    rows = pa.table([ids.filter(inside), pa.array(ranks), photo_ids, urls], schema=_CANDIDATES)
    outside = ids.filter(pc.and_not(good, inside)).unique() if all_ids else ids.slice(0, 0)
    odd = np.flatnonzero(pc.invert(good))
    blank = pc.match_substring_regex(lines.take(pa.array(odd)), _BLANK)
    odd = odd[~blank.to_numpy(zero_copy_only=False)]
    listed = []
    for line in odd[:MOST_LISTED].tolist():
        start: bytes = lines[line].as_py()[:-1][:_SHOWN_LENGTH]
        listed.append((line, shown(start.decode("utf-8", "replace").strip())))
    has_flickr = bool((ranks == 0).any()) or _FLICKR.search(block) is not None
    return _Part(rows, outside, len(lines), pc.sum(good).as_py(), len(odd), listed, has_flickr)


def _ends(spool: Spool, wanted: pa.StringArray | None, deny: Denylist) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Yield rows of both files, a slice of the sorted ids at a time; each input id is in one of them."""
    past = 0
    with progress("sort", spool.rows, "addresses") as bar:
        for table in chain(spool.sorted_tables("image_id"), [_CANDIDATES.empty_table()]):
            bar.update(len(table))
            best, missing = _best(table), pa.array([], pa.string())
            if wanted is not None:  # both are sorted, so that the wanted ids up to the last one here are a slice
                last = best["image_id"][-1].as_py() if len(best) else None
                until = len(wanted) if last is None else bisect_right(wanted, last, past, key=pa.StringScalar.as_py)
                here, past = wanted.slice(past, until - past), until
                missing = here.filter(pc.invert(pc.is_in(here, value_set=best["image_id"])))
                best = best.filter(pc.is_in(best["image_id"], value_set=here))
            photo = pc.equal(best["rank"], RANKED.index(Outcome.KEPT))
            matched, denied = deny.drop(best.filter(photo))
            others = [
                _without_photo(best.filter(pc.invert(photo))),
                outcome_rows(Outcome.NO_URL, len(missing), image_id=missing, wnid=wnids_of(missing)),
                *([deny.outcomes(denied)] if len(denied) else []),
            ]
            yield matched.select(MATCHES.names), pa.concat_tables(others).sort_by("image_id")


def _best(table: pa.Table) -> pa.Table:
    """Return the address that counts for each id, with its wnid, and a remark on the others as `detail`.

    It is the first Flickr photo in the order of the lists, or else the first address with the best outcome. People join
    the lists of fall11, winter11, spring10 and more, so that most ids occur several times, mostly with one address.
    """
    ids, urls = table["image_id"].combine_chunks(), table["url"].combine_chunks()
    table = table.filter(pa.array(first_of_each(ids) | first_of_each(urls)))
    heads = np.flatnonzero(first_of_each(table["image_id"].combine_chunks()))
    sizes = np.diff(np.append(heads, len(table)))
    details: list[str | None] = [None] * len(heads)
    for place in np.flatnonzero(sizes > 1).tolist():
        _, *others = dict.fromkeys(table["url"].slice(heads[place], sizes[place]).to_pylist())
        others = [url for url in others if url]
        more = [f"and {len(others) - _MOST_OTHERS} more"] if len(others) > _MOST_OTHERS else []
        details[place] = _BETWEEN.join([*map(shown, others[:_MOST_OTHERS]), *more]) or None
    best = table.take(pa.array(heads)).append_column("detail", pa.array(details, pa.string()))
    return best.append_column("wnid", wnids_of(best["image_id"]))


def _without_photo(rows: pa.Table) -> pa.Table:
    urls = pa.array([shown(url) for url in rows["url"].to_pylist()], pa.string())
    details = pc.binary_join_element_wise(urls, rows["detail"].combine_chunks(), _BETWEEN, null_handling="skip")
    outcomes = pa.array([outcome.value for outcome in RANKED]).take(rows["rank"])
    ids = {name: rows[name] for name in ("image_id", "wnid")}
    return outcome_rows(outcomes, len(rows), detail=pc.if_else(pc.equal(details, ""), None, details), **ids)


class _Groups:
    """Writes row groups of equal size, each in one piece: pages of Parquet end where pieces do."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer
        self._held = writer.schema.empty_table()

    def add(self, rows: pa.Table) -> None:
        self._held = pa.concat_tables([self._held, rows.cast(self._held.schema)])
        while len(self._held) >= MATCHES_ROWS:
            self._writer.write_table(self._held.slice(0, MATCHES_ROWS).combine_chunks())
            self._held = self._held.slice(MATCHES_ROWS)

    def end(self) -> None:
        if len(self._held):
            self._writer.write_table(self._held.combine_chunks())
