"""Measure a table of accuracies, and write the table and the figure that are asked for."""

from __future__ import annotations

import logging

from imagenet_captions.evaluation.intervals import exact_intervals_possible
from imagenet_captions.evaluation.robustness.baseline_members import own_baseline
from imagenet_captions.evaluation.robustness.effective_robustness import measure_robustness
from imagenet_captions.evaluation.robustness.multi_id import check_has_columns, check_id_sets, measure_multi_id
from imagenet_captions.evaluation.robustness.notes import write_notes
from imagenet_captions.evaluation.robustness.results import read_published, read_results
from imagenet_captions.evaluation.robustness.settings import RobustnessSettings
from imagenet_captions.evaluation.robustness.table import format_robustness, write_robustness
from imagenet_captions.storage.faults import how_to_install
from imagenet_captions.storage.outputs import producing

log = logging.getLogger(__name__)


def measure_results(settings: RobustnessSettings, overwrite: bool = False) -> str:
    """Return the effective robustness of a table's models as text; the files that are asked for are written."""
    ids = check_id_sets(settings.id_sets) if settings.id_sets else ()
    table = read_published() if settings.shipped else read_results(settings.results, settings.units, ids)
    if settings.plot is not None:
        from imagenet_captions.evaluation.robustness.figures import check_figure_path, draw_robustness

        check_figure_path(settings.plot, "plot")
    if settings.units is None and not settings.shipped:
        log.info("the accuracies are taken as %s", "percent" if table.units == "percent" else "fractions")
    for name in table.own:
        if not any(name.startswith(each) for each in ids):
            log.info("%s is not among the shifts, and only `id_sets` reads it", name)
    inputs = [None if settings.shipped else settings.results, settings.baseline_from]
    with producing(settings.outputs(), inputs, overwrite) as partials:
        named = (table, settings.results.name)
        own = settings.baseline_from
        source = None if own is None else (read_results(own, own=ids), own.name)
        multi = None
        if ids:
            for each in (named, source or named):
                check_has_columns(*each, ids)
            models, over = source or named
            multi = measure_multi_id(table.rows, ids, models.rows, over, settings.all_classes)
        baseline = own_baseline(*source) if source else settings.baseline or "auto"
        report = measure_robustness(table.rows, baseline, settings.all_classes)
        for note in (*write_notes(report), *(multi.unfit if multi else ())):
            log.warning("note: %s", note)
        if settings.out is not None:
            possible = exact_intervals_possible()
            if not possible:
                how = how_to_install("report")
                log.warning("note: scipy is not installed, so %s has no intervals; %s", settings.out, how)
            write_robustness(partials[0], table, report, possible, multi)
        if settings.plot is not None:
            others = () if settings.shipped or not settings.with_published else read_published().rows
            draw_robustness(report, partials[-1], others, settings.plot.suffix, multi)
    return format_robustness(report, multi)
