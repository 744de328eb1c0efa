"""The data set of the factor `domain`: the one given, or in miniature one made of it by the shifts."""

from __future__ import annotations

from pathlib import Path

from imagenet_captions.ablations.arms import TrainingSet
from imagenet_captions.ablations.domain.mixtures import DOMAIN, domains_of
from imagenet_captions.ablations.inputs import usable_rows
from imagenet_captions.ablations.micro.domains import assign_domains, write_micro_domains
from imagenet_captions.errors import InputError
from imagenet_captions.images.examples import Examples


def plan_mixed(name: str, examples: Examples, need: str, micro: bool) -> TrainingSet:
    """Return the data set whose domains are mixed; of its rows those count that have a label and a needed caption."""
    if micro and examples.domains is not None:
        raise InputError(
            f"`preset='micro'` makes domains of its own, and {examples.source} has a column `{DOMAIN}`; rename it"
        )
    ids = [examples.image_id(row) for row in range(len(examples))]
    rows = usable_rows(examples, need, ids)
    domains = domains_of(examples, rows, assign_domains(examples) if micro else None)
    return TrainingSet(f"{name}-domains" if micro else name, len(examples), True, domains)


def make_mixed(mixed: TrainingSet, examples: Examples, folder: Path) -> Path:
    """Write the micro data set of several domains, once, and return its place."""
    made = folder / f"{mixed.name}.parquet"
    if not made.is_file():
        write_micro_domains(examples, made)
    return made
