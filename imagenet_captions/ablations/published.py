"""Published accuracies and throughputs to compare a run with, each with its reference."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache

from imagenet_captions.ablations.runs import Run
from imagenet_captions.evaluation.robustness.tables import DATA, IMAGENET, SHIFTS, read_published

PUBLISHED_ARMS = DATA / "published_arms.csv"

# The rows of published_results.csv that are a ResNet-50 trained with CLIP's loss on all of a data set.
_CLIP_RN50 = {"yfcc15m": "OpenCLIP RN50 YFCC-15M", "cc12m": "OpenCLIP RN50 CC-12M"}


@dataclass(frozen=True)
class Published:
    """A published accuracy in percent of a ResNet-50 trained like `arm` on `data`.

    Where the source does not name the loss, `arm` lists the arms that it may be, apart by spaces.
    `source` names who published it, `reference` the file, row and column that hold it.
    """

    data: str
    arm: str
    test_set: str
    top1: float
    source: str
    reference: str

    def __str__(self) -> str:
        return f"{self.test_set} {self.top1:g} % ({self.source})"


@cache
def published_numbers() -> tuple[Published, ...]:
    """Return all published accuracies; arms have the names that `factors` gives them."""
    found = []
    by_model = {row.model: row for row in read_published().rows}
    for data, model in _CLIP_RN50.items():
        row = by_model[model]
        for test_set in (IMAGENET, *(shift.column for shift in SHIFTS)):
            top1, source, reference = (
                row.accuracies[test_set],
                row.cells["source"],
                row.cells["reference"],
            )
            found.append(Published(data, "clip", test_set, top1, source, reference))
    with PUBLISHED_ARMS.open(encoding="utf-8", newline="") as opened:
        for cells in csv.DictReader(opened):
            top1 = float(cells.pop("top1"))
            found.append(Published(top1=top1, **cells))
    return tuple(found)


LABELLED = "imagenet-captions"  # the set whose images have ImageNet's labels; the others only have texts

# Other names of the sets above.
_ALSO = {
    "yfcc": "yfcc15m",
    "yfcc-15m": "yfcc15m",
    "cc-12m": "cc12m",
    "imagenet_captions": "imagenet-captions",
    "incaps": "imagenet-captions",
}


def common_name(data: str) -> str:
    """Return the name of a data set in the table of published accuracies.

    >>> common_name("YFCC"), common_name("mine")
    ('yfcc15m', 'mine')
    """
    return _ALSO.get(data.lower(), data.lower())


def published_for(run: Run, model: str, rows: int) -> tuple[Published, ...]:
    """Return what was published for a run on all `rows` of its data with the paper's model."""
    if model != REPORTED_MODEL or (run.pick.rows is not None and run.pick.rows < rows):
        return ()
    name = common_name(run.data)
    return tuple(row for row in published_numbers() if row.data == name and run.stem in row.arm.split())


@dataclass(frozen=True)
class Throughput:
    """A reported training throughput: images a second on one GPU of this kind."""

    objective: str
    gpu: str
    images_per_second: float
    source: str


REPORTED_MODEL = "RN50"
REPORTED_PRECISION = "16-mixed"  # open_clip's default then (amp), and timm's with channels last

# For a ResNet-50 at 224 pixels; a rough guide, since no two machines feed a GPU alike.
THROUGHPUTS = (
    Throughput(
        "contrastive",
        "V100",
        2_905_954 * 30 / (8 * 12 * 3600),  # pairs of CC3M (open_clip issue 930) x epochs / (GPUs x seconds)
        "open_clip issue 15: 30 epochs of CC3M on 8 V100 in about 12 hours",
    ),
    Throughput(
        "supervised",
        "A100",
        2600,
        "timm issue 1491: a ResNet-50 with mixed precision in channels-last form",
    ),
)


def throughput_of(objective: str, model: str, precision: str) -> Throughput | None:
    """Return the reported throughput for an objective with a ResNet-50 in this precision, if there is one.

    >>> round(throughput_of("contrastive", "RN50", "16-mixed").images_per_second)
    252
    >>> throughput_of("contrastive", "RN50", "32")
    """
    if model != REPORTED_MODEL or precision != REPORTED_PRECISION:
        return None
    return next((found for found in THROUGHPUTS if found.objective == objective), None)
