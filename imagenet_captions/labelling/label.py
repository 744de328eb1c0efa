"""The command `label-by-text`: reads a table of captions and writes its labeled rows and a report."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from imagenet_captions.labelling.batch import (
    Labelling,
    label_batch,
    labelled,
    labelled_schema,
    text_columns,
    truth_column,
)
from imagenet_captions.labelling.score import Score
from imagenet_captions.labelling.settings import LabelSettings
from imagenet_captions.labelling.table import open_table
from imagenet_captions.labelling.writing import check_name, open_writer
from imagenet_captions.outcomes import share
from imagenet_captions.storage.files import write_json
from imagenet_captions.storage.outputs import producing
from imagenet_captions.storage.places import Place

REPORT_FORMAT = "imagenet-captions label report"
_BATCH_ROWS = 10_000


@dataclass(frozen=True)
class LabelReport:
    """The counts of a labeled table."""

    score: Score
    texts: tuple[str, ...]
    skipped: Mapping[str, int]

    def as_dict(self, settings: LabelSettings) -> dict[str, Any]:
        """Return the report as JSON, without the single classes."""
        how = {"mode": settings.mode.value, "text": list(self.texts), "case_sensitive": settings.case_sensitive}
        return {
            "format": REPORT_FORMAT,
            "settings": how,
            **self.score.summary(),
            "skipped": dict(sorted(self.skipped.items())),
        }


def label_by_text(table: Place, out: Place, settings: LabelSettings, overwrite: bool = False) -> LabelReport:
    """Write the rows of a table that name a class to `out`, each with the label that it names.

    Beside `out` stand OUT.report.json, with the counts and with precision and recall where the table has the true
    class, and OUT.report.tsv with the same for each class. The result is the same with any number of workers, and
    with either engine. `overwrite` replaces files that exist.
    """
    check_name(out)
    beside = [report_path(out, ".json"), report_path(out, ".tsv")]
    with producing([out], [table], overwrite, beside) as new:
        return _label(table, new, out.suffix.lower(), settings)


def _label(table: Place, files: Sequence[Path], ending: str, settings: LabelSettings) -> LabelReport:
    summary, classes, product = files
    source = open_table(table)
    texts = text_columns(source.schema, tuple(settings.texts))
    labelling = Labelling(settings.mode, texts, settings.case_sensitive, truth_column(source.schema))
    schema = labelled_schema(source.schema, settings.mode)
    score = Score(settings.mode)
    label = partial(label_batch, labelling=labelling)
    found = settings.engine.map_batches(label, source.batches(_BATCH_ROWS), settings.workers)
    with open_writer(product, ending, schema) as writer:
        for batch in found:
            score.add(batch)
            rows = labelled(batch, settings.mode)
            if len(rows):
                writer.write_batch(rows)
    report = LabelReport(score, texts, source.skipped)
    write_json(summary, report.as_dict(settings))
    _write_classes(classes, score)
    return report


def report_path(out: Place, ending: str) -> Place:
    """Return the path of the report on a labeled table.

    >>> report_path(Path("work/yfcc.parquet"), ".json").as_posix()
    'work/yfcc.report.json'
    """
    return out.with_suffix(f".report{ending}")


def _write_classes(path: Path, score: Score) -> None:
    with path.open("w", encoding="utf-8", newline="") as opened:
        rows = list(score.per_class())
        writer = csv.DictWriter(opened, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def format_report(found: Mapping[str, Any]) -> str:
    """Return a report, as `LabelReport.as_dict` gives it, for a terminal."""
    rows = found["rows"]
    lines = [f"text: {', '.join(found['settings']['text'])}"]
    for name in ("rows", "labelled", "named_none", "named_one", "named_several"):
        part = f"{share(found[name], rows):>8}" if rows else ""
        lines.append(f"{name.replace('_', ' '):<15}{found[name]:>12,}{part}")
    lines += [f"skipped: {reason}: {count:,}" for reason, count in found["skipped"].items()]
    if found["known_class"]:
        shares = (
            f"{name} {'none' if found[name] is None else f'{found[name]:.4f}'}" for name in ("precision", "recall")
        )
        lines.append(f"against the true class of {found['known_class']:,} rows: {', '.join(shares)}")
    return "\n".join(lines)
