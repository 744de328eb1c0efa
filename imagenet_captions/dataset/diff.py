"""Compare two datasets: image ids lost and gained, and texts changed, by field and class.

Texts are compared by 64-bit hashes, so that memory holds a few numbers a row of both datasets, in whatever order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import compress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.dataset.shards import Shards
from imagenet_captions.dataset.writing import count_values, text_hashes
from imagenet_captions.errors import InputError, aligned
from imagenet_captions.imagenet import classes
from imagenet_captions.storage.files import write_json
from imagenet_captions.storage.outputs import check_folder, is_dataset, producing
from imagenet_captions.storage.places import PlaceLike, place
from imagenet_captions.storage.progress import progress

FIELDS = ("title", "description", "tags", "caption")
RAW_FIELDS = ("raw_title", "raw_description", "raw_tags")
_KINDS = ("lost", "gained", "changed")
_ROWS_AT_ONCE = 4096
_CLASSES_SHOWN = 20
_IN_A_FOLDER = ("changes.tsv", "classes.tsv", "summary.json")


@dataclass(frozen=True)
class Counts:
    """Numbers of rows that differ, in a class or in a whole dataset."""

    lost: int  # rows that only the first dataset has
    gained: int  # rows that only the second dataset has
    changed: int  # rows in both datasets with at least one field that differs
    in_both: int
    fields: dict[str, int]  # field → rows in both datasets in which it differs

    @property
    def a(self) -> int:
        """Rows of the first dataset."""
        return self.lost + self.in_both

    @property
    def b(self) -> int:
        """Rows of the second dataset."""
        return self.gained + self.in_both

    @property
    def differing(self) -> int:
        """Rows lost, gained or changed."""
        return self.lost + self.gained + self.changed

    def numbers(self) -> list[int]:
        """Return the numbers of rows lost, gained and changed, and for each field those in which it differs."""
        return [self.lost, self.gained, self.changed, *self.fields.values()]

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers of rows that differ as values for a JSON file."""
        return {"lost": self.lost, "gained": self.gained, "changed": self.changed, "fields": self.fields}


@dataclass(frozen=True)
class DiffSummary:
    """The counts of a comparison, in total and for every class that differs."""

    total: Counts
    classes: dict[str, Counts]

    @property
    def equal(self) -> bool:
        """Return whether both datasets have the same ids with the same texts."""
        return not self.total.differing

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as values for a JSON file."""
        return {
            "equal": self.equal,
            "rows": {"a": self.total.a, "b": self.total.b, "in_both": self.total.in_both},
            **self.total.as_dict(),
            "classes": {wnid: counts.as_dict() for wnid, counts in self.classes.items()},
        }


def diff(
    a: PlaceLike, b: PlaceLike, raw: bool = False, out: PlaceLike | None = None, overwrite: bool = False
) -> DiffSummary:
    """Compare two datasets and, if `out` is given, write the differences to it.

        summary = ic.diff("from-release", "rebuilt", out="changes.tsv")
        summary.equal, summary.total.lost, summary.total.gained, summary.total.changed

    The compared fields are title, description, tags and caption, and with `raw` also the texts as the source gave them.
    If `out` ends in .tsv, it gets one line for each id that differs; if it ends in .json, the counts and the ids.
    Otherwise it becomes a folder with changes.tsv, classes.tsv and summary.json. The same datasets give the same bytes.
    `overwrite` allows replacing a file that exists.
    """
    one, other = Shards(place(a)), Shards(place(b))
    if out is None:
        return _compare(one, other, raw)[0]
    out, inputs = place(out), [one.dataset, other.dataset]
    outputs = [out] if out.suffix in (".tsv", ".json") else [out / name for name in _IN_A_FOLDER]
    if len(outputs) > 1:
        check_folder(out, inputs)
    if is_dataset(out):
        raise InputError(f"the output {out} is a dataset; give another place")
    with producing(outputs, inputs, overwrite) as new:
        summary, changes = _compare(one, other, raw)
        content = {"manifests": {"a": one.digest, "b": other.digest}, **summary.as_dict()}
        if out.suffix == ".json":
            ids: dict[str, Any] = {"lost": [], "gained": [], "changed": {}}
            for row in changes.to_pylist():
                if row["change"] == "changed":
                    ids["changed"][row["image_id"]] = row["fields"].split(",")
                else:
                    ids[row["change"]].append(row["image_id"])
            write_json(new[0], {**content, "ids": ids})
        else:
            _write_lines(new[0], [changes.column_names, *(row.values() for row in changes.to_pylist())])
        if len(new) > 1:
            header = ["wnid", "class_name", "a", "b", *_KINDS, *summary.total.fields]
            found = summary.classes.items()
            lines = ([wnid, _name(wnid), counts.a, counts.b, *counts.numbers()] for wnid, counts in found)
            _write_lines(new[1], [header, *lines])
            write_json(new[2], content)
    return summary


def _write_lines(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    with path.open("w", encoding="utf-8") as opened:
        opened.writelines("\t".join(map(str, row)) + "\n" for row in rows)


def _compare(a: Shards, b: Shards, raw: bool) -> tuple[DiffSummary, pa.Table]:
    """Return the counts, and a table of the rows that differ: image_id, wnid, change and the changed fields."""
    with progress("compare", (a.rows + b.rows) * (1 + raw), "rows") as bar, a.unchanged(), b.unchanged():
        one, other = (_hashed(dataset, raw, bar.update) for dataset in (a, b))
    places = pc.index_in(other["image_id"], value_set=one["image_id"])
    here, there = one.take(places.drop_null()), other.filter(pc.is_valid(places))
    fields = FIELDS + (RAW_FIELDS if raw else ())
    differs = {name: pc.not_equal(here[name], there[name]) for name in fields}
    is_changed = reduce(pc.or_, differs.values())
    rows = {
        "lost": one.filter(pc.invert(pc.is_in(one["image_id"], value_set=other["image_id"]))),
        "gained": other.filter(pc.is_null(places)),
        "changed": here.filter(is_changed),
        "in_both": here,
    }
    by_class = {name: Counter(count_values(each["wnid"])) for name, each in rows.items()}
    by_class |= {name: Counter(count_values(here["wnid"].filter(mask))) for name, mask in differs.items()}
    masks = zip(*(mask.filter(is_changed).to_pylist() for mask in differs.values()), strict=True)
    changed = pa.array([",".join(compress(fields, mask)) for mask in masks], pa.string())
    changes = pa.concat_tables(
        rows[kind].select(["image_id", "wnid"])
        .append_column("change", pa.repeat(kind, len(rows[kind])))
        .append_column("fields", changed if kind == "changed" else pa.repeat("", len(rows[kind])))
        for kind in _KINDS
    ).sort_by("image_id")  # fmt: skip

    def counts(wnid: str | None = None) -> Counts:
        found = {name: each.total() if wnid is None else each[wnid] for name, each in by_class.items()}
        return Counts(**{name: found.pop(name) for name in rows}, fields=found)

    return DiffSummary(counts(), {wnid: counts(wnid) for wnid in sorted(count_values(changes["wnid"]))}), changes


def _hashed(dataset: Shards, raw: bool, count: Callable[[int], object]) -> pa.Table:
    table = _hashes(dataset, "data", FIELDS, count)
    if raw:
        texts = _hashes(dataset, "raw", [name.removeprefix("raw_") for name in RAW_FIELDS], count)
        if texts["image_id"] != table["image_id"]:
            raise InputError(f"{dataset.dataset} is not as it was written; `imagenet-captions verify` says where")
        for name in RAW_FIELDS:
            table = table.append_column(name, texts[name.removeprefix("raw_")])
    return table


def _hashes(dataset: Shards, config: str, fields: Sequence[str], count: Callable[[int], object]) -> pa.Table:
    """Return image_id, wnid, and a hash of each text."""
    kinds = {"image_id": pa.string(), "wnid": pa.string(), **dict.fromkeys(fields, pa.uint64())}
    parts = [pa.schema(kinds).empty_table()]
    # Not the dataset's own scanner, which reads far ahead: 700 MB for a published-size dataset without images.
    for batch in dataset.read([*kinds], config, _ROWS_AT_ONCE):
        hashes = [pa.array(text_hashes(_as_text(batch[name]))) for name in fields]
        parts.append(pa.table([batch["image_id"], batch["wnid"], *hashes], [*kinds]))
        count(len(batch))
    return pa.concat_tables(parts).combine_chunks()


def _as_text(column: pa.Array) -> pa.Array:
    """Return texts as they are, and each list of texts as one text, in which the length of each comes before it."""
    if not pa.types.is_list(column.type):
        return column
    texts = column.flatten()
    lengths = pc.utf8_length(texts).cast(pa.string())
    marked = pc.binary_join_element_wise(lengths, texts, ":")
    offsets = pc.subtract(column.offsets, column.offsets[0])
    return pc.binary_join(pa.ListArray.from_arrays(offsets, marked), ",")


def format_summary(summary: DiffSummary) -> str:
    """Return the table for the terminal: rows, fields, and the classes that differ most."""
    total, names = summary.total, [name.replace("raw_", "raw ") for name in summary.total.fields]
    if summary.equal:
        return f"equal: both have the same {total.a:,} rows, with the same {', '.join(names[:-1])} and {names[-1]}"
    labels = ["lost: only in A", "gained: only in B", "changed", *(f"  {name}" for name in names)]
    rows = [("rows in A", total.a), ("rows in B", total.b), ("in both", total.in_both)]
    rows += zip(labels, total.numbers(), strict=True)
    ordered = sorted(summary.classes.items(), key=lambda item: (-item[1].differing, item[0]))
    table = [["class", *_KINDS, *names]]
    for wnid, counts in ordered[:_CLASSES_SHOWN]:
        table.append([f"{wnid} {_name(wnid)[:20]}", *(f"{count:,}" for count in counts.numbers())])
    text = [*aligned([[name, f"{count:,}"] for name, count in rows]), "", *aligned(table)]
    if len(ordered) > _CLASSES_SHOWN:
        text.append(f"and {len(ordered) - _CLASSES_SHOWN:,} more classes that differ; give an output folder for all")
    return "\n".join(text)


def _name(wnid: str) -> str:
    found = classes.find(wnid)
    return found.name if found else ""
