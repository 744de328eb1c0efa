"""The micro experiments as a user runs them: CLIP, cross-entropy, SimCLR before 400 labels, on real 32 x 32 images."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from imagenet_captions.ablations.micro_sets import write_micro_dataset
from imagenet_captions.dataset.sampling import sampling_key

SEEDS = (0, 1, 2)
LABELS_A_CLASS = 40
TEST = "micro"


def main(train: Path, test: Path, scratch: Path) -> list[dict[str, Any]]:
    """`train` and `test` are Parquet files with image, label and class_name, such as 4,000 and 1,000 of CIFAR-10."""
    data = scratch / "micro.parquet"
    write_micro_dataset(train, data)
    captions = ["--objective", "contrastive", "--caption", "title|description tags"]
    clip = [_trained(data, test, scratch / f"clip{seed}", seed, *captions) for seed in SEEDS]
    labels = [_trained(data, test, scratch / f"labels{seed}", seed, "--objective", "supervised") for seed in SEEDS]
    return [
        _row("micro CLIP, zero-shot", clip, ">= 50 % in <= 300 s"),
        _row("micro supervised", labels, ">= 60 %"),
        _few_labels(data, test, scratch),
    ]


def _row(what: str, runs: list[tuple[float, float]], bar: str) -> dict[str, Any]:
    return {
        "what": what,
        "top1": " ".join(f"{100 * accuracy:.1f}" for accuracy, _ in runs),
        "seconds": " ".join(f"{seconds:.0f}" for _, seconds in runs),
        "bar": bar,
    }


def _few_labels(data: Path, test: Path, scratch: Path) -> dict[str, Any]:
    """SimCLR on all images and then 400 labels, against these labels alone: the same images, recipe and seed."""
    gains, seconds = [], []
    for seed in SEEDS:
        ids = _some_of_each_class(data, scratch / f"ids{seed}.txt", seed)
        before = time.perf_counter()
        pretrained = scratch / f"simclr{seed}"
        _train(data, pretrained, seed, "--objective", "simclr", "--preset", "micro")
        tuning = ["--recipe", "micro-finetune", "--ids", str(ids)]
        after, _ = _trained(data, test, scratch / f"tuned{seed}", seed, *tuning, "--init", str(pretrained))
        seconds.append(time.perf_counter() - before)
        scratch_accuracy, _ = _trained(data, test, scratch / f"scratch{seed}", seed, *tuning)
        gains.append((after, scratch_accuracy))
    gain = statistics.mean(100 * (after - without) for after, without in gains)
    return {
        "what": "SimCLR and 400 labels, minus 400 labels alone",
        "top1": " ".join(f"{100 * after:.1f}-{100 * without:.1f}" for after, without in gains),
        "points": f"{gain:+.1f}",
        "seconds": " ".join(f"{each:.0f}" for each in seconds),
        "bar": ">= +3 points, mean of 3 seeds",
    }


def _some_of_each_class(data: Path, ids: Path, seed: int) -> Path:
    rows = pq.read_table(data, columns=["image_id", "class_name"]).to_pylist()
    kept: dict[str, int] = {}
    lines = []
    for row in sorted(rows, key=lambda row: sampling_key(row["image_id"], seed)):
        kept[row["class_name"]] = kept.get(row["class_name"], 0) + 1
        if kept[row["class_name"]] <= LABELS_A_CLASS:
            lines.append(row["image_id"] + "\n")
    ids.write_text("".join(lines))
    return ids


def _trained(data: Path, test: Path, out: Path, seed: int, *flags: str) -> tuple[float, float]:
    """Top-1 accuracy on the test set and the wall seconds of the whole command, measuring included."""
    preset = [] if "--recipe" in flags else ["--preset", "micro"]
    seconds = _train(data, out, seed, *flags, *preset, "--on", f"{TEST}={test}")
    metrics = json.loads((out / "metrics.json").read_bytes())
    return metrics["test_sets"][TEST]["top1"], seconds


def _train(data: Path, out: Path, seed: int, *flags: str) -> float:
    command = ["train", str(data), "--out", str(out), "--seed", str(seed), "--workers", "1", *flags]
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "imagenet_captions", *command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {done.returncode}:\n{done.stderr[-2000:]}")
    return time.perf_counter() - start
