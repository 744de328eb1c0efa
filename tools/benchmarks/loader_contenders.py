"""The contenders of the bench `loader`: each yields batches of 224 x 224 images as bytes, and the images' numbers.

A program for one contender: python loader_contenders.py NAME FOLDER OUT. It prints images per second and CPU
milliseconds per image. Without OUT it writes the images of FOLDER in the contender's own format, beside FOLDER.

All cut the same part out of the same image: the part that our loader draws for it in the first epoch. All but
torchvision's and spdl's own decoder decode by simplejpeg, so that what differs is how images are moved and collated.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F  # noqa: N812

from imagenet_captions.images.image_spec import CLIP_224
from imagenet_captions.images.pixels import Box, crop_box
from imagenet_captions.training.batches import sample_seed

BATCH, WORKERS, SIZE = 64, 2, 224
_SHARDS = 4
SCALE = (0.9, 1.0)

Batches = Iterable[tuple[torch.Tensor, Any]]
Sample = tuple[torch.Tensor, int]


def number_of(path: str | Path) -> int:
    """Return the number that a file is named for."""
    return int(Path(path).stem)


def box_of(number: int, image: torch.Tensor) -> Box:
    """Return the part that our loader cuts out of an image [3, height, width] in the first epoch, with seed 0."""
    return crop_box(image, SCALE, torch.Generator().manual_seed(sample_seed(0, 0, number)))


def resized(number: int, image: torch.Tensor) -> torch.Tensor:
    return F.resized_crop(image, *box_of(number, image), [SIZE, SIZE], InterpolationMode.BICUBIC, antialias=True)


def decoded(data: bytes) -> torch.Tensor:
    """Return the pixels [3, height, width] of a JPEG."""
    import simplejpeg

    return torch.from_numpy(simplejpeg.decode_jpeg(data, strict=False)).permute(2, 0, 1)


def sample(path: str) -> Sample:
    number = number_of(path)
    return resized(number, decoded(Path(path).read_bytes())), number


def paths_in(folder: Path) -> list[str]:
    return sorted(map(str, folder.glob("*/*.JPEG")), key=number_of)


def shuffled(paths: list[str]) -> list[str]:
    return [paths[place] for place in np.random.default_rng(0).permutation(len(paths))]


def stacked(samples: list[Sample]) -> tuple[torch.Tensor, list[int]]:
    return torch.stack([image for image, _ in samples]), [number for _, number in samples]


def ours(folder: Path) -> Batches:
    from imagenet_captions.images.examples import open_examples
    from imagenet_captions.images.pixels import TrainTransform
    from imagenet_captions.training.batches import Loader, Samples
    from imagenet_captions.training.sampler import ShardedSampler

    examples = open_examples(folder.parent / "loader.csv")
    samples = Samples(examples, TrainTransform(CLIP_224, SCALE), 0)
    for batch in Loader(samples, ShardedSampler(len(examples), BATCH, 0), workers=WORKERS):
        yield batch.images, batch.indices


def image_folder(folder: Path) -> Batches:
    from torchvision.datasets import ImageFolder
    from torchvision.io import ImageReadMode, decode_image, read_file

    def load(path: str) -> Sample:
        return resized(number_of(path), decode_image(read_file(path), ImageReadMode.RGB)), number_of(path)

    for (images, numbers), _ in _torch_loader(ImageFolder(str(folder), loader=load), shuffle=True):
        yield images, numbers


def webdataset(folder: Path) -> Batches:
    import webdataset as wds

    urls = sorted(map(str, (folder.parent / "loader.tars").glob("*.tar")))

    def view(row: dict[str, Any]) -> Sample:
        number = int(row["__key__"])
        return resized(number, decoded(row["jpg"])), number

    dataset = wds.WebDataset(urls, shardshuffle=len(urls), seed=0).shuffle(100).map(view)
    return wds.WebLoader(dataset.batched(BATCH, collation_fn=stacked), batch_size=None, num_workers=WORKERS)


def litdata(folder: Path) -> Batches:
    from litdata import StreamingDataLoader, StreamingDataset

    def view(row: dict[str, Any]) -> Sample:
        return resized(row["number"], decoded(row["jpeg"])), row["number"]

    dataset = StreamingDataset(str(folder.parent / "loader.litdata"), shuffle=True, transform=view)
    return StreamingDataLoader(dataset, batch_size=BATCH, num_workers=WORKERS)


def grain(folder: Path) -> Batches:
    import grain.python as pygrain

    dataset = pygrain.MapDataset.source(paths_in(folder)).shuffle(seed=0).map(grains_sample).batch(BATCH)
    options = pygrain.MultiprocessingOptions(num_workers=WORKERS)
    reading = pygrain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    for images, numbers in dataset.to_iter_dataset(reading).mp_prefetch(options, one_thread):
        yield torch.from_numpy(images).permute(0, 3, 1, 2), numbers


def one_thread(worker: int, workers: int) -> None:
    torch.set_num_threads(1)


def grains_sample(path: str) -> tuple[np.ndarray, int]:
    image, number = sample(path)
    return image.permute(1, 2, 0).numpy(), number


def spdl_threads(folder: Path) -> Batches:
    return _spdl(folder, sample)


def spdl_ffmpeg(folder: Path) -> Batches:
    import spdl.io

    def view(path: str) -> Sample:
        packets = spdl.io.demux_image(path)
        number = number_of(path)
        top, left, height, width = box_of(number, torch.empty(3, packets.codec.height, packets.codec.width))
        cut = f"crop=w={width}:h={height}:x={left}:y={top}:exact=1"
        scale = f"{cut},scale=w={SIZE}:h={SIZE}:flags=bicubic,format=pix_fmts=rgb24"
        frames = spdl.io.decode_packets(packets, filter_desc=scale)
        return spdl.io.to_torch(spdl.io.convert_frames(frames)).permute(2, 0, 1), number

    return _spdl(folder, view)


def _spdl(folder: Path, view: Callable[[str], Sample]) -> Batches:
    from spdl.pipeline import PipelineBuilder

    builder = PipelineBuilder().add_source(shuffled(paths_in(folder))).pipe(view, concurrency=WORKERS)
    pipeline = builder.aggregate(BATCH).pipe(stacked).add_sink(2).build(num_threads=WORKERS)
    with pipeline.auto_stop():
        yield from pipeline.get_iterator()


def decode_alone(folder: Path) -> Batches:
    """Decode from memory, without a look at the pixels: the limit that no loader on this decoder passes."""
    paths = paths_in(folder)
    files = {path: Path(path).read_bytes() for path in {str(Path(path).resolve()) for path in paths}}
    stored = [files[str(Path(path).resolve())] for path in paths]

    def nothing(samples: list[tuple[bytes, int]]) -> tuple[torch.Tensor, list[int]]:
        for data, _ in samples:
            decoded(data)
        return torch.zeros(len(samples), 3, 1, 1), [number for _, number in samples]

    for empty, numbers in _torch_loader(list(zip(stored, map(number_of, paths), strict=True)), collate_fn=nothing):
        yield empty.expand(-1, -1, SIZE, SIZE), numbers


def _torch_loader(dataset: Any, **settings: Any) -> Any:
    return torch.utils.data.DataLoader(dataset, BATCH, num_workers=WORKERS, **settings)


def prepare_webdataset(folder: Path) -> None:
    import webdataset as wds

    shards, paths = folder.parent / "loader.tars", paths_in(folder)
    shards.mkdir()
    for first in range(_SHARDS):
        with wds.TarWriter(str(shards / f"{first}.tar")) as writer:
            for path in paths[first::_SHARDS]:
                writer.write({"__key__": Path(path).stem, "jpg": Path(path).read_bytes()})


def prepare_litdata(folder: Path) -> None:
    # By default it empties $TMPDIR/data and $TMPDIR/chunks, whatever lies there.
    os.environ["DATA_OPTIMIZER_CACHE_FOLDER"] = str(folder.parent / "litdata.chunks")
    os.environ["DATA_OPTIMIZER_DATA_CACHE_FOLDER"] = str(folder.parent / "litdata.data")
    from litdata import optimize

    # One process: two wrote no chunks, and an index without any, when a program of ours ran it (litdata 0.2.76).
    shards = str(folder.parent / "loader.litdata")
    optimize(numbered_file, paths_in(folder), shards, chunk_bytes="32MB", num_workers=1)


def numbered_file(path: str) -> dict[str, Any]:
    return {"number": number_of(path), "jpeg": Path(path).read_bytes()}


PREPARE = {"webdataset": prepare_webdataset, "litdata": prepare_litdata}
CONTENDERS: dict[str, Callable[[Path], Batches]] = {
    function.__name__: function
    for function in (ours, image_folder, webdataset, litdata, grain, spdl_threads, spdl_ffmpeg, decode_alone)
}


def measure(batches: Batches, out: Path) -> tuple[float, float]:
    """Return images per second, and milliseconds of all processes' CPU time per image.

    Both are counted between the third batch and the third last, when all workers are at work. Every 16th pixel of each
    16th row is saved in `out`, to compare the contenders.
    """
    seen, pixels = [], {}
    for images, numbers in batches:
        seen.append((len(images), time.perf_counter(), _cpu_seconds()))
        pixels.update(zip(map(int, numbers), np.asarray(images[:, :, ::16, ::16]).copy(), strict=True))
    np.save(out, np.array([pixels[number] for number in sorted(pixels)], np.uint8))
    (_, start, start_cpu), *_, (_, end, end_cpu) = steady = seen[2:-2]
    count = sum(size for size, _, _ in steady[1:])
    return count / (end - start), 1000 * (end_cpu - start_cpu) / count


def _cpu_seconds() -> float:
    this = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (this, *this.children(recursive=True)))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    called, images, out = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    if out:
        print(*measure(CONTENDERS[called](images), Path(out[0])))
    else:
        PREPARE[called](images)
