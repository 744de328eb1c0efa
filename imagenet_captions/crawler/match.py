"""Match ImageNet's ids with Flickr photos: read URL lists, choose one address for each id, write matches.parquet."""

from __future__ import annotations

import hashlib
from collections import Counter
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

from imagenet_captions.crawler.settings import MatchSettings
from imagenet_captions.engines.local import Engine, default_workers
from imagenet_captions.errors import InputError, quoted, shortened
from imagenet_captions.flickr.addresses import RANKED, read_addresses
from imagenet_captions.flickr.denylist import Denylist
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.image_ids import IMAGE_ENDING, WNID, WNID_LENGTH, wnids_of
from imagenet_captions.images.files import Kind, kind_of
from imagenet_captions.images.sources import ImageSource
from imagenet_captions.outcomes import OUTCOMES, Outcome, count_outcomes, outcome_rows, outcomes_path
from imagenet_captions.schema import MATCHES, with_provenance
from imagenet_captions.storage.files import require_file, require_there, scratch_beside, sha256
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
# `image_id` over a column: the id, its class, and the class repeated at the end.
_ID = rf"(?P<id>(?P<wnid>{WNID})_[0-9]{{1,9}})(?:_(?P<again>{WNID}))?{IMAGE_ENDING}?"
_NAME = rf"(?s)^(?:.*[/\\])?{_ID}$"
# n02017213_4263,n02017213 115 49 448 294 (LOC_train_solution.csv) · n01440764/n01440764_10026 1 (train_cls.txt)
_AFTER_THE_NAME = r"(?:\t.*|,[^/\\]*| +[0-9]+)$"
_KAGGLE_HEADER = "ImageId"
# <image_id><tab or spaces><address>, in bytes: an address need not be UTF-8.
_LINE = rf"^[ \t\r]*(?:\xef\xbb\xbf)?{_ID}[ \t\r\n]"
_BEFORE_THE_ADDRESS = r"^[ \t\r]*[^ \t\r\n]+"
_BLANK = r"^(?:\xef\xbb\xbf)?[ \t\r\n\v\f]*$"
_MOST_WORKERS = 4  # with more, reading the list takes most of the time
_SHOWN_LENGTH, _MOST_OTHERS, _BETWEEN = 200, 5, " | "
_KEPT, _NO_URL = RANKED.index(Outcome.KEPT), RANKED.index(Outcome.NO_URL)

Numbers = npt.NDArray[np.int64]


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

    def bucket_of(rows: pa.Table) -> Numbers:
        places = pc.index_in(wnids_of(rows["image_id"]), value_set=known)
        numbers: Numbers = places.cast(pa.int64()).to_numpy()
        return numbers * BUCKETS // len(known)

    given = [*urls, settings.ids, settings.deny.file]
    with (
        producing([out], given, overwrite, [outcomes_path(out)]) as (beside, product),
        scratch_beside(out) as folder,
        Spool(folder, _CANDIDATES, ["image_id", "rank"], bucket_of) as spool,
    ):
        wanted = None if settings.ids is None else read_ids(settings.ids)
        lists = _Lists(spool, known, None if wanted is None else np.sort(_numbers(wanted.ids)))
        for number, path in enumerate(urls, 1):
            lists.read(path, number, settings.engine)
        inputs = {f"urls_{number}" if number > 1 else "urls": sha256(path) for number, path in enumerate(urls, 1)}
        if wanted is not None:
            inputs["ids"] = wanted.digest()
            lists.add_wanted(wanted)
        made = {"inputs": inputs, "settings": settings.recorded()}
        counts = Counter({Outcome.KEPT: 0})
        with (
            open_parquet_writer(product, with_provenance(MATCHES, made)) as matches,
            open_parquet_writer(beside, with_provenance(OUTCOMES, made)) as outcomes,
        ):
            kept, dropped = _Groups(matches), _Groups(outcomes)
            last = MATCHES.empty_table(), lists.others()
            for photos, others in chain(_ends(spool, settings.deny), [last]):
                counts.update(count_outcomes(others.to_batches(), len(photos)))
                kept.add(photos)
                dropped.add(others)
            kept.end()
            dropped.end()
    return dict(counts)


class _Block(NamedTuple):
    candidates: pa.Table
    outside: Numbers
    lines: int
    readable: int
    odd: Numbers  # lines without an image id, from the block's start


@dataclass
class _Lists:
    spool: Spool
    known: pa.StringArray
    wanted: Numbers | None  # sorted; None: all ids of the lists
    outside: Numbers = field(default_factory=lambda: np.array([], np.int64))  # wanted ids of other classes
    bad: list[pa.Table] = field(default_factory=list)

    def read(self, path: Place, number: int, engine: Engine) -> None:
        """Read a list once; raises InputError if it is missing, damaged, or has no id.

        A few blocks are read at once, in threads if the engine is the local one: Arrow releases Python's lock.
        """
        lines = readable = unreadable = first = 0
        outside = [self.outside]
        read = partial(_read_block, self.known, self.wanted)
        blocks = read_blocks(path, "the URL list")
        for block in engine.run(read, blocks, min(default_workers(), _MOST_WORKERS), threads=True):
            self.spool.add(block.candidates)
            outside.append(block.outside)
            if len(block.odd) and not unreadable:
                first = lines + int(block.odd[0]) + 1
            lines += block.lines
            readable += block.readable
            unreadable += len(block.odd)
        # To count, NumPy sorts, which takes a quarter of the time of its hash table.
        self.outside, _ = np.unique(np.concatenate(outside), return_counts=True)
        self.add_bad(unreadable, f"list {number}: lines without an image id, the first is line {first}")
        if not readable:
            raise InputError(
                f"the URL list {path} has no line of an image id and an address; "
                "give a list such as ImageNet's fall11_urls.txt"
            )

    def add_wanted(self, wanted: WantedIds) -> None:
        """Add the wanted ids, without an address, so that each has an end; and the unreadable entries."""
        self.add_bad(wanted.unreadable, f"ids: entries that are not image ids, the first is {quoted(wanted.first)}")
        inside = pc.is_in(wnids_of(wanted.ids), value_set=self.known)
        self.outside = _numbers(wanted.ids.filter(pc.invert(inside)))
        ids = wanted.ids.filter(inside)
        size = len(ids)
        columns = [ids, pa.repeat(_NO_URL, size), pa.nulls(size), pa.repeat("", size)]
        self.spool.add(pa.table(columns, names=_CANDIDATES.names).cast(_CANDIDATES))

    def add_bad(self, count: int, detail: str) -> None:
        """Count unreadable entries in one row."""
        if count:
            self.bad.append(outcome_rows(Outcome.BAD_RECORD, 1, detail=[detail], count=[count]))

    def others(self) -> pa.Table:
        """Return a row for each other class, with the number of its ids, and the rows of unreadable lines."""
        classes, counts = np.unique(self.outside // _IN_A_CLASS, return_counts=True)
        wnids = [f"n{number:08d}" for number in classes.tolist()]
        return pa.concat_tables([outcome_rows(Outcome.UNKNOWN_CLASS, len(counts), wnid=wnids, count=counts), *self.bad])


_IN_A_CLASS = 10**10


def _numbers(ids: pa.StringArray) -> Numbers:
    """Return a number for each id: its class, then a 1 and its number within the class, whose zeros count."""
    wnids = pc.utf8_slice_codeunits(ids, 1, WNID_LENGTH).cast(pa.int64())
    within = pc.utf8_replace_slice(ids, 0, WNID_LENGTH + 1, "1").cast(pa.int64())
    numbers: Numbers = pc.add(pc.multiply(wnids, _IN_A_CLASS), within).to_numpy()
    return numbers


def _read_block(known: pa.StringArray, wanted: Numbers | None, block: bytes) -> _Block:
    lines = lines_of(block)
    ids, good = _find_ids(lines, _LINE)
    readable, odd = np.flatnonzero(good), np.flatnonzero(pc.invert(good))
    ids = ids.take(pa.array(readable)).cast(pa.string())
    inside = pc.is_in(wnids_of(ids), value_set=known)
    outside = np.array([], np.int64)
    if wanted is None:
        outside = _numbers(ids.filter(pc.invert(inside)))
    ids, rows = ids.filter(inside), readable[inside.to_numpy(zero_copy_only=False)]
    if wanted is not None:
        numbers = _numbers(ids)
        found = wanted.take(np.searchsorted(wanted, numbers), mode="clip") == numbers
        ids, rows = ids.filter(pa.array(found)), rows[found]
    urls = as_text(pc.replace_substring_regex(lines.take(pa.array(rows)), _BEFORE_THE_ADDRESS, ""))
    photo_ids, ranks = read_addresses(urls)
    candidates = pa.table([ids, pa.array(ranks), photo_ids, urls], schema=_CANDIDATES)
    blank = pc.match_substring_regex(lines.take(pa.array(odd)), _BLANK)
    odd = odd[~blank.to_numpy(zero_copy_only=False)]
    return _Block(candidates, outside, len(lines), len(readable), odd)


def _ends(spool: Spool, deny: Denylist) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Yield rows of both files, some of the sorted ids at a time; each input id is in one of them."""
    with progress("sort", spool.rows, "addresses") as bar:
        for table in spool.sorted_tables():
            bar.update(len(table))
            best = _best(table)
            photo = pc.equal(best["rank"], _KEPT)
            matched, denied = deny.drop(best.filter(photo))
            rest = best.filter(pc.invert(photo))
            ids = {name: rest[name] for name in ("image_id", "wnid")}
            outcomes = pa.array([outcome.value for outcome in RANKED]).take(rest["rank"])
            urls = [shortened(url, _SHOWN_LENGTH) for url in rest["url"].to_pylist()]
            addresses = pa.array(urls, pa.string()), rest["detail"].combine_chunks()
            details = pc.binary_join_element_wise(*addresses, _BETWEEN, null_handling="skip")
            details = pc.if_else(pc.equal(details, ""), None, details)
            others = outcome_rows(outcomes, len(rest), detail=details, **ids)
            yield matched.select(MATCHES.names), pa.concat_tables([others, denied]).sort_by("image_id")


def _best(table: pa.Table) -> pa.Table:
    """Return the address that counts for each id, with its wnid, and a remark on the others as `detail`.

    It is the first Flickr photo in the order of the lists, or else the first address with the best outcome. People join
    the lists of fall11, winter11, spring10 and more, so that most ids occur several times, mostly with one address.
    """
    ids, urls = table["image_id"].combine_chunks(), table["url"].combine_chunks()
    another = first_of_each(urls) & pc.not_equal(urls, "").to_numpy(zero_copy_only=False)
    table = table.filter(pa.array(first_of_each(ids) | another))
    heads = np.flatnonzero(first_of_each(table["image_id"].combine_chunks()))
    sizes = np.diff(np.append(heads, len(table)))
    details: list[str | None] = [None] * len(heads)
    for place in np.flatnonzero(sizes > 1).tolist():
        _, *others = dict.fromkeys(table["url"].slice(heads[place], sizes[place]).to_pylist())
        remarks = [shortened(url, _SHOWN_LENGTH) for url in others[:_MOST_OTHERS]]
        if len(others) > _MOST_OTHERS:
            remarks.append(f"and {len(others) - _MOST_OTHERS} more")
        details[place] = _BETWEEN.join(remarks) or None
    best = table.take(pa.array(heads)).append_column("detail", pa.array(details, pa.string()))
    return best.append_column("wnid", wnids_of(best["image_id"]))


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


# The wanted ids: those of an ImageNet training set, in any form in which people keep one.


def _find_ids(texts: pa.Array, pattern: str) -> tuple[pa.Array, pa.BooleanArray]:
    """Return the id that a pattern with `_ID` finds in each text, and whether it is one."""
    ids, wnids, again = pc.extract_regex(texts, pattern).flatten()
    return ids, pc.fill_null(pc.or_(pc.equal(again, ""), pc.equal(again, wnids)), False)


class WantedIds(NamedTuple):
    """The wanted ids, sorted and each once, and the number of other entries in a list of ids, with the first one."""

    ids: pa.StringArray
    unreadable: int = 0
    first: str = ""

    def digest(self) -> str:
        """Return the SHA-256 of the ids, one a line; it does not depend on how people keep them."""
        lines = pc.binary_join_element_wise(self.ids, "", "\n")
        return hashlib.sha256(lines.buffers()[2]).hexdigest()


def read_ids(path: Place) -> WantedIds:
    """Read the ids in a train folder, tars, Parquet or a text; only names are read, never an image.

    An entry of a list that is not an id is an input like the others, and is counted. Other files beside images (a
    README, the validation images) are not. Raises InputError if the path does not exist, is damaged, or has no id.
    """
    require_there(path, "the source of ids")
    others, first = 0, ""
    if path.is_dir() or kind_of(path) in (Kind.PARQUET, Kind.TAR):
        ids = ImageSource(path).keys
        ids = ids.filter(pc.starts_with(ids, "n"))  # not photo ids
    else:
        found: list[pa.StringArray] = []
        for block in read_blocks(path, "the list of ids"):
            lines = as_text(pa.array(block.split(b"\n"), pa.binary()))
            names = pc.utf8_trim(pc.replace_substring_regex(lines, _AFTER_THE_NAME, ""), '"\ufeff')
            names = names.filter(pc.and_(pc.not_equal(names, ""), pc.not_equal(names, _KAGGLE_HEADER)))
            part, good = _find_ids(names, _NAME)
            found.append(part.filter(good))
            odd = names.filter(pc.invert(good))
            if len(odd) and not others:
                first = odd[0].as_py()
            others += len(odd)
        ids = pa.chunked_array(found, pa.string()).unique()
    if not len(ids):
        raise InputError(
            f"the ids {path} have no image id such as n01440764_10026; give an ILSVRC train folder, "
            "ILSVRC2012_img_train.tar, LOC_train_solution.csv, train_cls.txt, a folder of imagenet-1k Parquet, or a "
            "text file with an id a line"
        )
    return WantedIds(ids.take(pc.sort_indices(ids)), others, first)
