"""The training loader: JPEGs to normalised 224 x 224 batches with two workers, beside open_clip's and torchvision's.

Every contender is a fresh process that has imported what it needs, taking turns; the time is from asking for the first
batch to having the last, captions tokenized by open_clip's tokenizer in ours and in its own.
"""

from __future__ import annotations

import csv
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from common import run_program

_IMAGES = 3000
_BATCH = 128
_ROUNDS = 5

_OURS = f"""
from pathlib import Path
import open_clip, torch
from imagenet_captions.images.examples import open_examples
from imagenet_captions.images.pixels import CLIP_224, TrainTransform, normalise
from imagenet_captions.training.data.captions import CaptionSampler
from imagenet_captions.training.data.batches import Loader, Samples
from imagenet_captions.training.data.sampler import ShardedSampler
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
_FOLDER = f"""
import torch
from torchvision import datasets, transforms as T
pipeline = T.Compose([T.RandomResizedCrop(224, (0.9, 1.0), interpolation=T.InterpolationMode.BICUBIC), T.ToTensor(),
                      T.Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))])
dataset = datasets.ImageFolder(folder, pipeline)
batches = torch.utils.data.DataLoader(dataset, {_BATCH}, shuffle=True, num_workers=2)
"""
_CONTENDERS = {"ours": _OURS, "open_clip CSV": _OPEN_CLIP, "torchvision ImageFolder": _FOLDER}
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
from imagenet_captions.images.pixels import CLIP_224, TrainTransform, decode
from imagenet_captions.images.pixels.transforms import crop_box
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


def main(images: Path, scratch: Path) -> list[dict[str, Any]]:
    """`images` is a train folder, whose files are read again and again up to 3,000."""
    files = sorted(path for path in images.rglob("*") if path.suffix.lower() in (".jpeg", ".jpg"))
    table, folder = scratch / "loader.csv", scratch / "loader.images"
    with table.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened, delimiter="\t")
        writer.writerow(["filepath", "title"])
        for number in range(_IMAGES):
            file = files[number % len(files)].resolve()
            writer.writerow([file, f"photo {number} of something on a summer morning"])
            link = folder / file.parent.name / f"{number}.JPEG"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
    seen: dict[str, list[float]] = {name: [] for name in _CONTENDERS}
    for _ in range(_ROUNDS):
        for name, setup in _CONTENDERS.items():
            seen[name].append(float(run_program(_PROGRAM.format(setup=setup), table, folder)[0]))
    speed = {name: statistics.median(all_) for name, all_ in seen.items()}
    bars = {"open_clip CSV": ">= 1.6", "torchvision ImageFolder": ""}
    rows = [
        {
            "what": "loader, images/s on 2 workers",
            "ours": round(speed["ours"]),
            "peer": peer,
            "peers": round(speed[peer]),
            "ratio": round(speed["ours"] / speed[peer], 2),
            "bar": bar,
        }
        for peer, bar in bars.items()
    ]
    count, boxes, difference = run_program(_LIKENESS, images)
    return [
        *rows,
        {"what": "same crop boxes as torchvision", "ours": int(boxes), "peer": "images", "peers": int(count),
         "ratio": int(boxes) / int(count), "bar": "= 1"},
        {"what": "mean difference to Pillow's pipeline, of 255", "ours": round(float(difference), 3), "bar": "<= 2"},
    ]  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(main(*map(Path, sys.argv[1:3])), indent=1))
