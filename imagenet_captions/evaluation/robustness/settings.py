"""The settings of `robustness`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imagenet_captions.errors import InputError
from imagenet_captions.options import argument, check, option, refuse

PUBLISHED = "published"


@dataclass(frozen=True)
class RobustnessSettings:
    """A table of accuracies, the baseline that it is measured against, and the files to write."""

    results: Path = argument(
        "A table with model, imagenet and any of imagenet-v2, imagenet-r, imagenet-sketch, objectnet, imagenet-a; or "
        "`published`, for CLIP, ALIGN and BASIC as they were published.",
        metavar="RESULTS.csv",
    )
    baseline: str | None = option(
        "auto: one curve for models of any accuracy. standard: the published line over models of at least 55 %. "
        "imagenet-only: the line over all that saw ImageNet only. Default: auto.",
        choices=("auto", "standard", "imagenet-only"),
    )
    baseline_from: Path | None = option(
        "Fit the baseline over the models of this table instead.", metavar="RESULTS.csv"
    )
    id_sets: tuple[str, ...] = option(
        "Measure against several in-distribution test sets too, by one linear fit over the models of the table, or of "
        "--baseline-from: `--id imagenet --id yfcc`.",
        (),
        flag="--id",
        metavar="COLUMN",
    )
    units: str | None = option("Unit of the accuracies. Default: detected.", choices=("percent", "fraction"))
    all_classes: bool = option("Compare R, A and ObjectNet on all 1000 classes for every model.", False)
    out: Path | None = option("Write the table with effective robustness: ER.csv.")
    plot: Path | None = option("Draw the figure: a .png or .svg file.")
    with_published: bool = option(
        "Draw CLIP, ALIGN and BASIC beside your models, or leave them out.",
        True,
        flag="--with-published/--without-published",
        needs="plot",
    )

    def __post_init__(self) -> None:
        check(self)
        if self.baseline is not None and self.baseline_from is not None:
            raise InputError("`baseline` names models of the testbed and `baseline_from` your own; give one of the two")
        if self.shipped:
            refuse(self, ("units", "with_published"), "for the published results")

    @property
    def shipped(self) -> bool:
        """Whether the table is the one in the package."""
        return str(self.results) == PUBLISHED

    def outputs(self) -> list[Path]:
        """Return the files that are written."""
        return [path for path in (self.out, self.plot) if path is not None]
