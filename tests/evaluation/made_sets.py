"""Tiny replicas of the layouts in which people hold test sets; an image's bytes tell which one it is."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from imagenet_captions.evaluation.known_sets import devkit_order
from imagenet_captions.imagenet import classes

GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
TENCH, GOLDFISH, SHARK = "n01440764", "n01443537", "n01484850"


def picture(red: int, green: int = 0, size: int = 8, kind: str = "JPEG") -> bytes:
    """A small image of one colour, which says its colour in a comment too: JPEG makes neighbouring colours the same."""
    buffer = io.BytesIO()
    comment = {"comment": f"{red} {green}"} if kind == "JPEG" else {}
    Image.new("RGB", (size, size), (red, green, 0)).save(buffer, kind, **comment)
    return buffer.getvalue()


def write_files(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def write_tar(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def flat_val(count: int) -> dict[str, bytes]:
    """Validation images 1 to `count` as ImageNet's tar has them."""
    return {f"ILSVRC2012_val_{number:08d}.JPEG": picture(number) for number in range(1, count + 1)}


def ground_truth(wnids: list[str]) -> bytes:
    """The devkit's labels of images with these classes."""
    return "".join(f"{devkit_order().index(wnid) + 1}\n" for wnid in wnids).encode()


def write_parquet(path: Path, labels: list[int], names: list[str] | None, images: list[bytes] | None = None) -> Path:
    """A table as `datasets` writes it: image and label, with a ClassLabel if there are names."""
    images = images or [picture(number) for number in range(len(labels))]
    table = pa.table(
        {
            "image": pa.array(
                [{"bytes": data, "path": f"{number}.jpg"} for number, data in enumerate(images)],
                pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
            ),
            "label": pa.array(labels, pa.int64()),
        }
    )
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def hugging_face_names(wnids: tuple[str, ...]) -> list[str]:
    """Names as those of ILSVRC/imagenet-1k: "tench, Tinca tinca"."""
    return [", ".join(classes.by_wnid(wnid).lemmas) for wnid in wnids]
