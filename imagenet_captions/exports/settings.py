"""The settings of an export."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.engines.local import LOCAL, Engine, check_workers, default_workers
from imagenet_captions.errors import InputError, quoted, unknown_name
from imagenet_captions.flickr.denylist import DENY, NOTHING_DENIED, Denylist
from imagenet_captions.options import REQUIRED, changed, check, option, refuse
from imagenet_captions.storage.places import Place, PlaceField, refuse_secrets

OPEN_CLIP_CSV, WEBDATASET, SLIM, ATTRIBUTION, RELEASE_JSON = TARGETS = (
    "open-clip-csv",
    "webdataset",
    "slim",
    "attribution",
    "release-json",
)
_SPLIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
SAMPLES_A_SHARD = 1000  # as open_clip advises

# The targets that use a setting. For other targets it is refused, because it would have no effect.
_WITH = {
    "images": (OPEN_CLIP_CSV, WEBDATASET),
    "caption": (OPEN_CLIP_CSV, WEBDATASET, SLIM),
    "path_prefix": (OPEN_CLIP_CSV,),
    "seed": (WEBDATASET,),
    "shard_size": (WEBDATASET,),
    "clip_benchmark": (WEBDATASET,),
    "columns": (OPEN_CLIP_CSV, SLIM),
    "shuffle": (OPEN_CLIP_CSV, SLIM),
}
_OWN = {OPEN_CLIP_CSV: ("filepath", "title"), SLIM: ("filename", "caption")}
# What a table may have beside them.
COLUMNS = ("image_id", "filename", "wnid", "label", "class_name", "title", "description", "tags", "language")


@dataclass(frozen=True)
class ExportSettings:
    """The format, captions and images of an export; None means the default of the target.

    The images of a WebDataset are the dataset's own by default.
    """

    to: str = option("The form to write.", REQUIRED, choices=TARGETS)
    images: PlaceField = option(
        "open-clip-csv: the folder of image files to name. webdataset: the images, in any form that build takes; "
        "default: the dataset's own."
    )
    caption: CaptionTemplate | None = option(
        "Make captions by this template; see `Captions` below. Default: the dataset's own."
    )
    deny: Denylist = option(DENY, NOTHING_DENIED, metavar="PATH")
    path_prefix: str | None = option("open-clip-csv: the folder to name before each file, in place of --images.")
    seed: int | None = option("webdataset: sets the order of the samples. Default: 0.")
    shard_size: int | None = option("webdataset: samples a shard. Default: 1000.", least=1)
    clip_benchmark: str | None = option(
        "webdataset: write the shards as this split (such as test) in CLIP_benchmark's layout.", metavar="SPLIT"
    )
    columns: Sequence[str] | None = option(
        "open-clip-csv, slim: further columns, such as label,class_name,wnid; of image_id, filename, wnid, label, "
        "class_name, title, description, tags (a JSON list) and language.",
        metavar="NAME,...",
        what="label",
        reads=lambda text: tuple(name.strip() for name in text.split(",")),
        many=False,
    )
    shuffle: int | None = option("open-clip-csv, slim: order the rows by this seed.", metavar="SEED", least=0)
    workers: int = field(default_factory=default_workers)
    engine: Engine = LOCAL

    def __post_init__(self) -> None:
        check(self)
        check_workers(self.workers)
        without = [name for name, targets in _WITH.items() if self.to not in targets]
        refuse(self, without, f"for `to={self.to!r}`")
        if self.engine is not LOCAL and self.to != WEBDATASET:
            raise InputError(f"`engine='ray'` has no effect for `to={self.to!r}`; leave it out")
        if self.path_prefix is not None:
            refuse_secrets(self.path_prefix)  # it is written in every line
        if self.clip_benchmark is not None and not _SPLIT.fullmatch(self.clip_benchmark):
            raise InputError(
                f"`clip_benchmark` {quoted(self.clip_benchmark)} is not the name of a split; give one such as test"
            )
        if self.to == OPEN_CLIP_CSV and self.caption is not None and self.caption.is_list:
            raise InputError(f"open_clip reads one caption a row; captions=list is for {SLIM} and {WEBDATASET}")
        taken = list(_OWN.get(self.to, ()))
        for name in self.columns or ():
            if name in taken:
                raise InputError(f"`columns` names {name}, which the table has already; leave it out")
            if name not in COLUMNS:
                raise unknown_name("column", name, COLUMNS)
            taken.append(name)
        if self.to == WEBDATASET:
            object.__setattr__(self, "seed", self.seed or 0)
            object.__setattr__(self, "shard_size", self.shard_size or SAMPLES_A_SHARD)

    def recorded(self, own_caption: str) -> dict[str, Any]:
        """Return the settings for the record: all that affect the result, except the place of the images.

        `own_caption` is the template of the dataset's captions.
        """
        told: dict[str, Any] = {"to": self.to, **self.deny.settings()}
        if self.to in _WITH["caption"]:
            told["caption"] = own_caption if self.caption is None else str(self.caption)
        for name in ("path_prefix", "seed", "shard_size", "clip_benchmark", "columns", "shuffle"):
            if (value := getattr(self, name)) is not None:
                told[name] = value
        return told

    def command(self, out: Place) -> str:
        """Return the command that makes the same export again; paths of images and denylist are as they were given."""
        words = ["imagenet-captions", "export", "DATASET"]
        for one, value in changed(self).items():
            if one.name == "deny":
                value = self.deny.file or "FILE"
            elif one.name == "columns":
                value = ",".join(value)
            words += [one.flag, str(value)]
        return shlex.join([*words, "--out", out.name])
