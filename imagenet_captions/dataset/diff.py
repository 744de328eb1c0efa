"""Compare two datasets: image ids lost and gained, and texts changed, by field and class.

Texts are compared by 64-bit hashes, so that memory holds a few numbers a row of both datasets, in whatever order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.dataset.shards import Shards
from imagenet_captions.dataset.writing import count_values, text_hashes
from imagenet_captions.errors import InputError
from imagenet_captions.imagenet import classes
from imagenet_captions.outcomes import share
from imagenet_captions.storage.files import write_json
from imagenet_captions.storage.outputs import check_folder, is_dataset, producing
from imagenet_captions.storage.places import PlaceLike, place
from imagenet_captions.storage.progress import progress

FIELDS = ("title", "description", "tags", "caption")
RAW_FIELDS = ("raw_title", "raw_description", "raw_tags")
_ROWS_AT_ONCE = 4096
_CLASSES_SHOWN = 20
_IN_A_FOLDER = ("changes.tsv", "classes.tsv", "summary.json")
_COUNTED = ("lost", "gained", "changed")


@dataclass
class Counts:
    """Numbers of rows that differ, in a class or in a whole dataset."""

    a: int = 0
    b: int = 0
    in_both: int = 0
    changed: int = 0  # rows in both datasets with at least one field that differs
    fields: Counter[str] = field(default_factory=Counter)  # field → rows in both datasets in which it differs

    @property
    def lost(self) -> int:
        """Rows that only the first dataset has."""
        return self.a - self.in_both

    @property
    def gained(self) -> int:
        """Rows that only the second dataset has."""
        return self.b - self.in_both

    @property
    def differing(self) -> int:
        """Rows lost, gained or changed."""
        return self.lost + self.gained + self.changed

    def numbers(self, fields: Sequence[str]) -> list[int]:
        """Return the numbers of rows lost, gained and changed, and for each field those in which it differs."""
        return [self.lost, self.gained, self.changed, *(self.fields[name] for name in fields)]

    def as_dict(self, fields: Sequence[str]) -> dict[str, Any]:
        """Return the numbers as values for a JSON file."""
        counted = {"lost": self.lost, "gained": self.gained, "changed": self.changed}
        return {**counted, "fields": {name: self.fields[name] for name in fields}}


@dataclass
class DiffSummary:
    """The counts of a comparison, in total and for every class that differs."""

    fields: tuple[str, ...]
    total: Counts = field(default_factory=Counts)
    classes: dict[str, Counts] = field(default_factory=dict)

    @property
    def equal(self) -> bool:
        """Return whether both datasets have the same ids with the same texts."""
        return not self.total.differing

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as values for a JSON file."""
        return {
            "equal": self.equal,
            "rows": {"a": self.total.a, "b": self.total.b, "in_both": self.total.in_both},
            **self.total.as_dict(self.fields),
            "classes": {wnid: counts.as_dict(self.fields) for wnid, counts in self.classes.items()},
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
    one, other, out = Shards(place(a)), Shards(place(b)), None if out is None else place(out)
    if out is None:
        return _compare(one, other, raw)[0]
    outputs = [out] if out.suffix in (".tsv", ".json") else [out / name for name in _IN_A_FOLDER]
    if len(outputs) > 1:
        check_folder(out, [one.dataset, other.dataset])
    if is_dataset(out):
        raise InputError(f"the output {out} is a dataset; give another place")
    with producing(outputs, [one.dataset, other.dataset], overwrite) as new:
        summary, changes = _compare(one, other, raw)
        rows = changes.to_pylist()
        content = {"manifests": {"a": one.digest, "b": other.digest}, **summary.as_dict()}
        if out.suffix == ".json":
            ids: dict[str, Any] = {
                kind: [row["image_id"] for row in rows if row["change"] == kind] for kind in ("lost", "gained")
            }
            ids["changed"] = {row["image_id"]: row["fields"].split(",") for row in rows if row["change"] == "changed"}
            write_json(new[0], {**content, "ids": ids})
        else:
            _write_lines(new[0], changes.column_names, (row.values() for row in rows))
        if len(new) > 1:
            lines = (
                [wnid, _name(wnid), counts.a, counts.b, *counts.numbers(summary.fields)]
                for wnid, counts in summary.classes.items()
            )
            _write_lines(new[1], ["wnid", "class_name", "a", "b", *_COUNTED, *summary.fields], lines)
            write_json(new[2], content)
    return summary


def _write_lines(path: Path, header: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    with path.open("w", encoding="utf-8") as opened:
        opened.writelines("\t".join(map(str, row)) + "\n" for row in (header, *rows))


def _compare(a: Shards, b: Shards, raw: bool) -> tuple[DiffSummary, pa.Table]:
    """Return the counts, and a table of the rows that differ: image_id, wnid, change and the changed fields."""
    with progress("compare", a.rows + b.rows, "rows") as bar, a.unchanged(), b.unchanged():
        one, other = (_hashed(dataset, raw, bar.update) for dataset in (a, b))
    places = pc.index_in(other["image_id"], value_set=one["image_id"])
    lost = one.filter(pc.invert(pc.is_in(one["image_id"], value_set=other["image_id"])))
    gained = other.filter(pc.is_null(places))
    here, there = one.take(places.drop_null()), other.filter(pc.is_valid(places))
    summary = DiffSummary(FIELDS + (RAW_FIELDS if raw else ()))
    differs = {name: here[name].to_numpy() != there[name].to_numpy() for name in summary.fields}
    is_changed = np.logical_or.reduce([*differs.values()])
    changed = here.filter(pa.array(is_changed))
    fields = [
        ",".join(name for name in summary.fields if differs[name][row]) for row in np.flatnonzero(is_changed).tolist()
    ]
    changes = pa.concat_tables(
        rows.select(["image_id", "wnid"])
        .append_column("change", pa.repeat(kind, len(rows)))
        .append_column("fields", pa.array(fields, pa.string()) if kind == "changed" else pa.repeat("", len(rows)))
        for kind, rows in (("lost", lost), ("gained", gained), ("changed", changed))
    ).sort_by("image_id")

    in_a, in_b, in_both, in_changed = (_by_class(rows) for rows in (one, other, here, changed))
    by_field = {name: _by_class(here.filter(pa.array(mask))) for name, mask in differs.items()}
    summary.total = Counts(
        len(one), len(other), len(here), len(changed), Counter({name: by_field[name].total() for name in by_field})
    )
    for wnid in sorted(_by_class(changes)):
        found = Counter({name: by_field[name][wnid] for name in by_field})
        summary.classes[wnid] = Counts(in_a[wnid], in_b[wnid], in_both[wnid], in_changed[wnid], found)
    return summary, changes


def _by_class(rows: pa.Table) -> Counter[str]:
    return Counter(count_values(rows["wnid"]))


def _hashed(dataset: Shards, raw: bool, count: Callable[[int], object]) -> pa.Table:
    """Return image_id, wnid, and a hash of each text that is compared."""
    ids = [pa.field("image_id", pa.string()), pa.field("wnid", pa.string())]
    tables = []
    for config, fields in (("data", FIELDS), ("raw", RAW_FIELDS)) if raw else (("data", FIELDS),):
        schema = pa.schema([*ids, *(pa.field(name, pa.uint64()) for name in fields)])
        columns = [name.removeprefix("raw_") for name in schema.names]
        parts = [schema.empty_table()]
        # Not the dataset's own scanner, which reads far ahead: 700 MB for a published-size dataset without images.
        for batch in dataset.read(columns, config, _ROWS_AT_ONCE):
            hashes = [pa.array(text_hashes(_as_text(batch[name]))) for name in columns[2:]]
            parts.append(pa.table([batch["image_id"], batch["wnid"], *hashes], schema))
            if config == "data":
                count(len(batch))
        tables.append(pa.concat_tables(parts).combine_chunks())
    if any(table["image_id"] != tables[0]["image_id"] for table in tables):
        raise InputError(f"{dataset.dataset} is not as it was written; `imagenet-captions verify` says where")
    table = tables[0]
    for name in RAW_FIELDS if raw else ():
        table = table.append_column(name, tables[1][name])
    return table


def _as_text(column: pa.Array) -> pa.Array:
    """Return texts as they are, and each list of texts as one text, in which the length of each comes before it."""
    if not pa.types.is_list(column.type):
        return column
    texts = column.flatten()
    lengths = pc.utf8_length(texts).cast(pa.string())
    marked = pc.binary_join_element_wise(lengths, texts, ":")
    offsets = pc.subtract(column.offsets, column.offsets[0])
    return pc.binary_join(pa.ListArray.from_arrays(offsets, marked), ",")


def format_summary(summary: DiffSummary, a: str, b: str) -> str:
    """Return the table for the terminal: rows, fields, and the classes that differ most."""
    total, names = summary.total, [name.replace("raw_", "raw ") for name in summary.fields]
    if summary.equal:
        what = ", ".join(names[:-1]) + f" and {names[-1]}"
        return f"equal: {a} and {b} have the same {total.a:,} rows, with the same {what}"
    of_both = f"{share(total.changed, total.in_both)} of the rows in both" if total.in_both else ""
    lines = [
        ("rows in A", total.a, a),
        ("rows in B", total.b, b),
        ("in both", total.in_both, ""),
        ("lost: only in A", total.lost, ""),
        ("gained: only in B", total.gained, ""),
        ("changed", total.changed, of_both),
        *((f"  {name}", total.fields[key], "") for name, key in zip(names, summary.fields, strict=True)),
    ]
    width = max(len(f"{count:,}") for _, count, _ in lines)
    text = [f"{name:<19}{count:>{width},}  {remark}".rstrip() for name, count, remark in lines]
    columns = {name: max(len(name), 7) + 2 for name in (*_COUNTED, *summary.fields)}
    text += ["", f"{'class':<32}" + "".join(f"{name:>{width}}" for name, width in columns.items())]
    ordered = sorted(summary.classes.items(), key=lambda item: (-item[1].differing, item[0]))
    for wnid, counts in ordered[:_CLASSES_SHOWN]:
        cells = (
            f"{value:>{width},}" for value, width in zip(counts.numbers(summary.fields), columns.values(), strict=True)
        )
        text.append(f"{wnid} {_name(wnid)[:20]:<22}" + "".join(cells))
    if len(ordered) > _CLASSES_SHOWN:
        text.append(f"and {len(ordered) - _CLASSES_SHOWN:,} more classes that differ; `out` DIR has them all")
    return "\n".join(text)


def _name(wnid: str) -> str:
    found = classes.find(wnid)
    return found.name if found else ""
