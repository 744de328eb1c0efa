"""Comparing two datasets: a table for the terminal, and files with the ids that differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagenet_captions.dataset.diff import FIELDS, RAW_FIELDS, Change, ClassDiff, Counts, diff_classes
from imagenet_captions.dataset.manifest import read_manifest, unchanged
from imagenet_captions.errors import InputError
from imagenet_captions.imagenet import classes
from imagenet_captions.outcomes import share
from imagenet_captions.storage.files import MANIFEST, sha256, write_json
from imagenet_captions.storage.outputs import check_folder, is_dataset, producing
from imagenet_captions.storage.places import PlaceLike, place

_CLASSES_SHOWN = 20
_IN_A_FOLDER = ("changes.tsv", "classes.tsv", "summary.json")
_COUNTED = ("lost", "gained", "changed")


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
            **_row(self.total, self.fields),
            "classes": {wnid: _row(counts, self.fields) for wnid, counts in self.classes.items()},
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
    a, b, out = place(a), place(b), None if out is None else place(out)
    for dataset in (a, b):
        read_manifest(dataset)  # fails before an output is created
    summary = DiffSummary(FIELDS + (RAW_FIELDS if raw else ()))
    found = _counted(diff_classes(a, b, raw), summary)
    if out is None:
        with unchanged(a), unchanged(b):
            for _ in found:
                pass
        return summary
    outputs = [out] if out.suffix in (".tsv", ".json") else [out / name for name in _IN_A_FOLDER]
    if len(outputs) > 1:
        check_folder(out, [a, b])
    if is_dataset(out):
        raise InputError(f"the output {out} is a dataset; give another place")
    with producing(outputs, [a, b], overwrite) as new, unchanged(a), unchanged(b):
        _write(new, out.suffix, found, summary, {"a": sha256(a / MANIFEST), "b": sha256(b / MANIFEST)})
    return summary


def _write(
    files: Sequence[Path], ending: str, found: Iterable[Change], summary: DiffSummary, manifests: Mapping[str, str]
) -> None:
    if ending == ".json":
        ids = _ids(found)  # first, because the counts are complete only after all classes were read
        write_json(files[0], {"manifests": manifests, **summary.as_dict(), "ids": ids})
        return
    _write_changes(files[0], found)
    if len(files) > 1:
        _write_classes(files[1], summary)
        write_json(files[2], {"manifests": manifests, **summary.as_dict()})


def format_summary(summary: DiffSummary, a: str, b: str) -> str:
    """Return the table for the terminal: rows, fields, and the classes that differ most."""
    total, names = summary.total, [name.replace("raw_", "raw ") for name in summary.fields]
    if summary.equal:
        what = ", ".join(names[:-1]) + f" and {names[-1]}"
        return f"equal: {a} and {b} have the same {total.a:,} rows, with the same {what}"
    lines = [
        ("rows in A", total.a, a),
        ("rows in B", total.b, b),
        ("in both", total.in_both, ""),
        ("lost: only in A", total.lost, ""),
        ("gained: only in B", total.gained, ""),
        ("changed", total.changed, _share(total.changed, total.in_both)),
        *((f"  {name}", total.fields[key], "") for name, key in zip(names, summary.fields, strict=True)),
    ]
    width = max(len(f"{count:,}") for _, count, _ in lines)
    text = [f"{name:<19}{count:>{width},}  {remark}".rstrip() for name, count, remark in lines]
    return "\n".join([*text, "", *_class_lines(summary)])


def _class_lines(summary: DiffSummary) -> Iterator[str]:
    ordered = sorted(summary.classes.items(), key=lambda item: (-item[1].differing, item[0]))
    columns = [*_COUNTED, *summary.fields]
    yield f"{'class':<32}" + "".join(f"{name:>{max(len(name), 7) + 2}}" for name in columns)
    for wnid, counts in ordered[:_CLASSES_SHOWN]:
        row = _row(counts, summary.fields)
        values = [row[name] for name in _COUNTED] + [row["fields"][name] for name in summary.fields]
        cells = (f"{value:>{max(len(name), 7) + 2},}" for name, value in zip(columns, values, strict=True))
        yield f"{wnid} {_name(wnid)[:20]:<22}" + "".join(cells)
    if len(ordered) > _CLASSES_SHOWN:
        yield f"and {len(ordered) - _CLASSES_SHOWN:,} more classes that differ; `out` DIR has them all"


def _counted(found: Iterable[ClassDiff], summary: DiffSummary) -> Iterator[Change]:
    for of_class in found:
        summary.total.add(of_class.counts)
        if of_class.counts.differing:
            summary.classes[of_class.wnid] = of_class.counts
        yield from of_class.changes


def _ids(found: Iterable[Change]) -> dict[str, Any]:
    ids: dict[str, Any] = {"lost": [], "gained": [], "changed": {}}
    for change in found:
        if change.kind == "changed":
            ids["changed"][change.image_id] = list(change.fields)
        else:
            ids[change.kind].append(change.image_id)
    return ids


def _write_changes(path: Path, found: Iterable[Change]) -> None:
    with path.open("w", encoding="utf-8") as opened:
        opened.write("image_id\twnid\tchange\tfields\n")
        for change in found:
            opened.write("\t".join([change.image_id, change.wnid, change.kind, ",".join(change.fields)]) + "\n")


def _write_classes(path: Path, summary: DiffSummary) -> None:
    lines = ["\t".join(["wnid", "class_name", "a", "b", *_COUNTED, *summary.fields])]
    for wnid, counts in summary.classes.items():
        row = _row(counts, summary.fields)
        numbers = [counts.a, counts.b, *(row[name] for name in _COUNTED), *row["fields"].values()]
        lines.append("\t".join([wnid, _name(wnid), *map(str, numbers)]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _row(counts: Counts, fields: tuple[str, ...]) -> Mapping[str, Any]:
    return {
        **{name: getattr(counts, name) for name in _COUNTED},
        "fields": {name: counts.fields[name] for name in fields},
    }


def _name(wnid: str) -> str:
    found = classes.find(wnid)
    return found.name if found else ""


def _share(count: int, whole: int) -> str:
    return f"{share(count, whole)} of the rows in both" if whole else ""
