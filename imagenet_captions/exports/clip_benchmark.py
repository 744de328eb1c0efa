"""The layout of a WebDataset that CLIP_benchmark reads: `SPLIT/0.tar`, and files with shards, classes and sentences.

Seen in clip-benchmark 1.6.2, `datasets/builder.py`: it opens `{0..N-1}.tar` in the folder of a split, N being the
number in `nshards.txt`, and formats every sentence with `c`, the name of a class.
"""

from __future__ import annotations

from collections.abc import Sequence

from imagenet_captions.captions.caption_template import open_clip_templates
from imagenet_captions.dataset.features import local_labels
from imagenet_captions.dataset.manifest import Manifest, shard_files
from imagenet_captions.imagenet import classes
from imagenet_captions.storage.files import sha256, write_text
from imagenet_captions.storage.parquet import read_schema
from imagenet_captions.storage.places import Place


def class_names(dataset: Place, manifest: Manifest) -> list[str]:
    """Return the names of a dataset's classes, in the order of their labels."""
    wnids = local_labels(read_schema(shard_files(dataset)[0])) or classes.wnids(manifest.classes)
    return [classes.by_wnid(wnid, manifest.classes).name for wnid in wnids]


def write_class_files(folder: Place, split: str, shards: int, names: Sequence[str]) -> dict[str, str]:
    """Write the files about shards, classes and sentences; return the SHA-256 of each."""
    files = {
        f"{split}/nshards.txt": [str(shards)],
        "classnames.txt": names,
        "zeroshot_classification_templates.txt": [text.replace("{}", "{c}") for text in open_clip_templates()],
    }
    for name, lines in files.items():
        write_text(folder / name, "".join(f"{line}\n" for line in lines))
    return {name: sha256(folder / name) for name in files}
