"""The training loader: JPEGs to 224 x 224 batches with two workers, beside other libraries and open_clip's own loader.

Every contender is a fresh process, taking turns. Beside other libraries (loader_contenders.py), all cut the same part
out of each image and give bytes, and the rate is that between the third batch and the third last. Beside open_clip,
captions are tokenized and images normalized, and the time is from asking for the first batch to having the last.
"""

from __future__ import annotations

import csv
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
from common import absent, run_program, run_words, versions

_IMAGES = 3000
_BATCH = 128
_ROUNDS = 5
_CONTENDERS = str(Path(__file__).with_name("loader_contenders.py"))

_OURS = f"""
from pathlib import Path
import open_clip, torch
from imagenet_captions.images.examples import open_examples
from imagenet_captions.images.image_spec import CLIP_224
from imagenet_captions.images.pixels import TrainTransform, normalise
from imagenet_captions.training.data import CaptionSampler
from imagenet_captions.training.batches import Loader, Samples
from imagenet_captions.training.sampler import ShardedSampler
tokenizer = open_clip.get_tokenizer("ViT-B-32")
examples = open_examples(Path(table))
samples = Samples(examples, TrainTransform(CLIP_224), 0, CaptionSampler(None, 0), tokenizer)
loader = Loader(samples, ShardedSampler(len(examples), {_BATCH}, 0), workers=2)
floats = torch.empty({_BATCH}, 3, 224, 224).contiguous(memory_format=torch.channels_last)
batches = ((normalise(batch.images, CLIP_224, floats), batch.tokens) for batch in loader)
"""
_OPEN_CLIP = f"""
import open_clip, torch
from open_clip.transform import image_transform
from open_clip_train.data import CsvDataset
dataset = CsvDataset(table, image_transform(224, is_train=True), "filepath", "title", "\\t",
                     open_clip.get_tokenizer("ViT-B-32"))
batches = torch.utils.data.DataLoader(dataset, {_BATCH}, shuffle=True, num_workers=2)
"""
_WITH_CAPTIONS = {"ours": _OURS, "open_clip": _OPEN_CLIP}
_PROGRAM = """
import sys, time, warnings
warnings.simplefilter("ignore")
table, folder = sys.argv[1:3]
{setup}
start = time.perf_counter()
count = sum(len(images) for images, _ in batches)
print(count / (time.perf_counter() - start))
"""
_LIKENESS = """
import io, sys, warnings
from pathlib import Path
import torch
from PIL import Image
from torchvision import transforms as T
from imagenet_captions.images.image_spec import CLIP_224
from imagenet_captions.images.pixels import TrainTransform, decode
from imagenet_captions.images.pixels import crop_box
warnings.simplefilter("ignore")
pipeline = T.Compose([T.RandomResizedCrop(224, (0.9, 1.0), interpolation=T.InterpolationMode.BICUBIC), T.ToTensor()])
ours, boxes, differences = TrainTransform(CLIP_224), 0, []
files = sorted(path for path in Path(sys.argv[1]).rglob("*") if path.suffix.lower() in (".jpeg", ".jpg"))
for seed, file in enumerate(files):
    data = file.read_bytes()
    image = Image.open(io.BytesIO(data)).convert("RGB")
    torch.manual_seed(seed)
    theirs = T.RandomResizedCrop.get_params(image, [0.9, 1.0], [3 / 4, 4 / 3])
    boxes += theirs == crop_box(decode(data), (0.9, 1.0), torch.Generator().manual_seed(seed))
    torch.manual_seed(seed)
    differences.append((pipeline(image) - ours(data, torch.Generator().manual_seed(seed)) / 255).abs().mean().item())
print(len(files), boxes, 255 * sum(differences) / len(differences))
"""


# The contenders of loader_contenders.py, with the packages that they need.
_PEERS: dict[str, tuple[str, ...]] = {
    "image_folder": ("torchvision",),
    "webdataset": ("webdataset", "simplejpeg"),
    "litdata": ("litdata", "simplejpeg"),
    "grain": ("grain", "simplejpeg"),
    "spdl_threads": ("spdl", "simplejpeg"),
    "spdl_ffmpeg": ("spdl-io",),  # and FFmpeg's shared libraries, from the system
    "decode_alone": ("simplejpeg",),
}


def main(images: Path, scratch: Path) -> list[dict[str, Any]]:
    """`images` is a train folder, whose files are read again and again up to 3,000."""
    table, folder = scratch / "loader.csv", scratch / "loader.images"
    _repeat(images, table, folder)
    count, boxes, difference = run_program(_LIKENESS, images)
    return [
        *_beside_peers(folder),
        *_beside_open_clip(table, folder),
        {"what": "same crop boxes as torchvision", "ours": int(boxes), "peer": "images", "peers": int(count),
         "ratio": int(boxes) / int(count), "bar": "= 1"},
        {"what": "mean difference to Pillow's pipeline, of 255", "ours": round(float(difference), 3), "bar": "<= 2"},
    ]  # fmt: skip


def _repeat(images: Path, table: Path, folder: Path) -> None:
    files = sorted(path for path in images.rglob("*") if path.suffix.lower() in (".jpeg", ".jpg"))
    with table.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened, delimiter="\t")
        writer.writerow(["filepath", "title"])
        for number in range(_IMAGES):
            file = files[number % len(files)].resolve()
            writer.writerow([file, f"photo {number} of something on a summer morning"])
            link = folder / file.parent.name / f"{number}.JPEG"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)


def _beside_peers(folder: Path) -> list[dict[str, Any]]:
    """Bytes of images on both sides; medians over the rounds."""
    what = "loader without captions, images/s on 2 workers"
    found = {name: versions(*packages) for name, packages in _PEERS.items()}
    if not _has_ffmpeg(next(folder.glob("*/*.JPEG"))):
        found["spdl_ffmpeg"] = None
    for name in ("webdataset", "litdata"):
        if found[name]:
            run_words(_CONTENDERS, name, str(folder))
    seen: dict[str, list[tuple[float, float]]] = {"ours": [], **{name: [] for name in _PEERS if found[name]}}
    for _ in range(_ROUNDS):
        for name, measured in seen.items():
            words = run_words(_CONTENDERS, name, str(folder), str(folder.parent / f"{name}.npy"))
            measured.append((float(words[-2]), float(words[-1])))
    rows = [absent(what, *packages) for name, packages in _PEERS.items() if name not in seen]
    return rows + [_peers_row(what, name, found[name], seen, folder) for name in seen if name != "ours"]


def _peers_row(
    what: str, name: str, version: str | None, seen: dict[str, list[tuple[float, float]]], folder: Path
) -> dict[str, Any]:
    (ours, our_cpu), (peer, peer_cpu) = (map(statistics.median, zip(*seen[who], strict=True)) for who in ("ours", name))
    rates = {"what": what, "ours": round(ours), "peer": f"{name} ({version})", "peers": round(peer)}
    cpu = {"ratio": round(ours / peer, 2), "cpu_ms": round(our_cpu, 2), "peers_cpu_ms": round(peer_cpu, 2)}
    if name == "decode_alone":
        return {**rates, **cpu, "bar": ">= 0.7"}
    pixels = [np.load(folder.parent / f"{who}.npy").astype(int) for who in ("ours", name)]
    return {**rates, **cpu, "difference_of_255": round(np.abs(pixels[0] - pixels[1]).mean(), 2), "bar": ">= 0.95"}


def _has_ffmpeg(image: Path) -> bool:
    """Whether spdl finds FFmpeg's libraries, which its wheel does not hold."""
    try:
        run_program("import sys, spdl.io; spdl.io.demux_image(sys.argv[1])", image)
    except SystemExit:
        return False
    return True


def _beside_open_clip(table: Path, folder: Path) -> list[dict[str, Any]]:
    what = "loader with captions, normalized, images/s on 2 workers"
    seen: dict[str, list[float]] = {name: [] for name in _WITH_CAPTIONS}
    for _ in range(_ROUNDS):
        for name, setup in _WITH_CAPTIONS.items():
            seen[name].append(float(run_program(_PROGRAM.format(setup=setup), table, folder)[0]))
    ours, peer = (statistics.median(seen[name]) for name in ("ours", "open_clip"))
    return [
        {"what": what, "ours": round(ours), "peer": f"CSV loader ({versions('open_clip_torch')})",
         "peers": round(peer), "ratio": round(ours / peer, 2), "bar": ">= 1.6"}
    ]  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(main(*map(Path, sys.argv[1:3])), indent=1))
