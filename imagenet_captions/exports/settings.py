"""The settings of an export."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.dataset.splits import check_shuffle
from imagenet_captions.engines.local import LOCAL, Engine, check_workers, default_workers
from imagenet_captions.errors import InputError, quoted, require_kind, require_texts, unknown_name
from imagenet_captions.exports.clip_benchmark import check_split
from imagenet_captions.flickr.denylist import NOTHING_DENIED, Denylist
from imagenet_captions.storage.places import Place, PlaceField, refuse_secrets

OPEN_CLIP_CSV, WEBDATASET, SLIM, ATTRIBUTION, RELEASE_JSON = TARGETS = (
    "open-clip-csv",
    "webdataset",
    "slim",
    "attribution",
    "release-json",
)
SAMPLES_A_SHARD = 1000  # as open_clip advises

# The targets that use a setting. For other targets it is refused, because it would have no effect.
_WITH = {
    "images": (OPEN_CLIP_CSV, WEBDATASET),
    "caption": (OPEN_CLIP_CSV, WEBDATASET, SLIM),
    "path_prefix": (OPEN_CLIP_CSV,),
    "seed": (WEBDATASET,),
    "shard_size": (WEBDATASET,),
    "clip_benchmark": (WEBDATASET,),
    "columns": (OPEN_CLIP_CSV, SLIM, WEBDATASET),
    "shuffle": (OPEN_CLIP_CSV, SLIM),
}
_KINDS: Mapping[str, tuple[type, str]] = {
    **dict.fromkeys(("seed", "shard_size"), (int, "a whole number")),
    **dict.fromkeys(("path_prefix", "clip_benchmark"), (str, "a text")),
    "caption": (CaptionTemplate, "a CaptionTemplate, such as CaptionTemplate.parse('title tags')"),
    "deny": (Denylist, "a Denylist"),
}
_OWN = {OPEN_CLIP_CSV: ("filepath", "title"), SLIM: ("filename", "caption")}
# What a table may have beside them.
COLUMNS = ("image_id", "filename", "wnid", "label", "class_name", "title", "description", "tags", "language")


@dataclass(frozen=True)
class ExportSettings:
    """The format, captions and images of an export; None means the default of the target.

    Without `caption` the captions of the dataset are used. `images` is the place of the images: for open-clip-csv a
    folder whose files the CSV names, for webdataset any source of images, by default the dataset itself. `path_prefix`
    replaces that folder in the CSV. `seed` sets the order of a WebDataset, and `shard_size` the samples per shard.
    `clip_benchmark` names the split under which CLIP_benchmark reads the shards. `columns` are further
    columns of a table, of `COLUMNS`, and `shuffle` is a seed that orders its rows. For the WebDataset of a table,
    `columns` are its columns of image paths, captions and, if any, labels, where they have unusual names.
    """

    to: str
    images: PlaceField = PlaceField()
    caption: CaptionTemplate | None = None
    deny: Denylist = NOTHING_DENIED
    path_prefix: str | None = None
    seed: int | None = None
    shard_size: int | None = None
    clip_benchmark: str | None = None
    columns: Sequence[str] | None = None
    shuffle: int | None = None
    workers: int = field(default_factory=default_workers)
    engine: Engine = LOCAL

    def __post_init__(self) -> None:
        check_workers(self.workers)
        for name, (kind, what) in _KINDS.items():
            if (value := getattr(self, name)) is not None:
                require_kind(name, value, kind, what)
        if self.to not in TARGETS:
            raise InputError(f"`to` must be one of {', '.join(TARGETS)}, not {quoted(self.to)}")
        for name, targets in _WITH.items():
            if getattr(self, name) is not None and self.to not in targets:
                raise InputError(
                    f"`{name}` means nothing for `to={self.to!r}`; leave it out (`{name}`: {', '.join(targets)})"
                )
        if self.engine is not LOCAL and self.to != WEBDATASET:
            raise InputError(
                f"`engine='ray'` means nothing for `to={self.to!r}`, which is written in one piece; leave it out"
            )
        if self.path_prefix is not None:
            refuse_secrets(self.path_prefix)  # it is written in every line
        if self.shard_size is not None and self.shard_size < 1:
            raise InputError(f"`shard_size` must be at least 1, not {self.shard_size}")
        if self.clip_benchmark is not None:
            check_split(self.clip_benchmark)
        if self.to == OPEN_CLIP_CSV and self.caption is not None and self.caption.is_list:
            raise InputError(f"open_clip reads one caption a row; captions=list is for {SLIM} and {WEBDATASET}")
        check_shuffle(self.shuffle)
        if self.columns is not None:
            _check_columns(self.columns, _OWN.get(self.to))

    def recorded(self, own_caption: str | None) -> dict[str, Any]:
        """Return the settings for the record: all that affect the result, except the place of the images.

        `own_caption` is the template of the dataset's captions, None for a table.
        """
        told: dict[str, Any] = {"to": self.to, **self.deny.settings()}
        if self.to in _WITH["caption"] and own_caption is not None:
            told["caption"] = own_caption if self.caption is None else str(self.caption)
        if self.to == WEBDATASET:
            told |= {"seed": self.seed or 0, "shard_size": self.shard_size or SAMPLES_A_SHARD}
        for name in ("path_prefix", "clip_benchmark", "columns", "shuffle"):
            if (value := getattr(self, name)) is not None:
                told[name] = list(value) if name == "columns" else value
        return told

    def command(self, out: Place, source: str = "DATASET") -> str:
        """Return the command that makes the same export again; paths of images and denylist are as they were given.

        >>> from pathlib import Path
        >>> ExportSettings("slim").command(Path("work/slim.csv"))
        'imagenet-captions export DATASET --to slim --out slim.csv'
        """
        webdataset = self.to == WEBDATASET
        values = {
            "--images": self.images,
            "--caption": self.caption,
            "--deny": (self.deny.file or "FILE") if self.deny else None,
            "--path-prefix": self.path_prefix,
            "--seed": self.seed or 0 if webdataset else None,
            "--shard-size": self.shard_size or SAMPLES_A_SHARD if webdataset else None,
            "--clip-benchmark": self.clip_benchmark,
            "--columns": None if self.columns is None else ",".join(self.columns),
            "--shuffle": self.shuffle,
        }
        given = chain.from_iterable((flag, str(value)) for flag, value in values.items() if value is not None)
        return shlex.join(["imagenet-captions", "export", source, "--to", self.to, *given, "--out", out.name])


def _check_columns(columns: Sequence[str], own: Sequence[str] | None) -> None:
    """Check the further columns of a table; or without `own`, those of a table from which shards are made."""
    require_texts("columns", columns, "label")
    if own is None:
        if len(columns) not in (2, 3) or len(set(columns)) < len(columns):
            raise InputError(
                f"`columns` for `to={WEBDATASET!r}` are a table's columns of image paths and captions, and of labels "
                f"if any, not {quoted(','.join(columns))}"
            )
        return
    for at, name in enumerate(columns):
        if name in own or name in columns[:at]:
            raise InputError(f"`columns` names {name}, which the table has already; leave it out")
        if name not in COLUMNS:
            raise unknown_name("column", name, COLUMNS)
