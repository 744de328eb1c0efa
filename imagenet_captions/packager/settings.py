"""The settings of a packaging."""

from __future__ import annotations

from dataclasses import dataclass, field

from imagenet_captions.engines.local import LOCAL, Engine, check_workers, default_workers
from imagenet_captions.options import check, option
from imagenet_captions.storage.places import PlaceField


@dataclass(frozen=True)
class PackageSettings:
    """The source of images (None for a dataset without), and what to do with a row that has none."""

    images: PlaceField = option(
        "ImageNet as you have it: train folder, ILSVRC2012_img_train.tar, imagenet-1k Parquet, WebDataset tars, "
        "or files named by Flickr photo id. Without it the dataset has text only."
    )
    missing: str = option(
        "A row without its image: keep it and count it, skip it, or fail.",
        "report",
        choices=("report", "skip", "fail"),
    )
    workers: int = field(default_factory=default_workers)
    engine: Engine = LOCAL

    def __post_init__(self) -> None:
        check(self)
        check_workers(self.workers)
