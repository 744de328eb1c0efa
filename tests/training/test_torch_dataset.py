"""The dataset and the sampler for a training loop of one's own."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import imagenet_captions as ic
from tests.dataset.made import make_dataset, rows

Batches = list[dict[str, Any]]


def noisy(image: Image.Image) -> torch.Tensor:
    """A random transform; it can be sent to a process."""
    return torch.rand(3) + image.width


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 rows, of which 90 have an image."""
    return make_dataset(tmp_path_factory.mktemp("images"), rows(20), images=True)


def batches(data: Any, sampler: ic.ResumableSampler, workers: int = 0) -> Iterator[Any]:
    return sampler.counted(DataLoader(data, batch_sampler=sampler, num_workers=workers))


def epoch(*given: Any) -> Batches:
    return list(batches(*given))


def equal(one: Batches, other: Batches) -> bool:
    return all(
        a["image_id"] == b["image_id"] and a["caption"] == b["caption"] and torch.equal(a["image"], b["image"])
        for a, b in zip(one, other, strict=True)
    )


def test_an_item_is_a_row_with_its_image(dataset: Path) -> None:
    data = ic.torch_dataset(dataset, size=16)
    held = {row["image_id"]: row for row in ic.load(dataset).with_format("arrow")[:].to_pylist() if row["image"]}
    assert len(data) == len(held) == 90
    assert len(data.classes) == 1000
    for row in (0, 17, -1):
        item = data[row]
        wanted = held[item["image_id"]]
        assert (item["caption"], item["label"]) == (wanted["caption"], wanted["label"])
        assert (item["image"].dtype, tuple(item["image"].shape)) == (torch.uint8, (3, 16, 16))
    with pytest.raises(IndexError):
        data[90]
    assert [item["image_id"] for item in data] == list(held)
    seen = ic.torch_dataset(dataset, transform=np.asarray, caption="class_name")[3]
    with Image.open(io.BytesIO(held[seen["image_id"]]["image"]["bytes"])) as image:
        assert np.abs(seen["image"].astype(int) - np.asarray(image.convert("RGB"), int)).max() <= 2
    assert seen["caption"] == held[seen["image_id"]]["class_name"]


def test_random_transforms_depend_on_seed_epoch_and_row(dataset: Path) -> None:
    data = ic.torch_dataset(dataset, transform=noisy)
    sampler = ic.ResumableSampler(data, 30)  # 3 batches an epoch, which leave nothing out
    before = torch.get_rng_state()
    first, second = epoch(data, sampler), epoch(data, sampler)
    drawn: list[dict[str, torch.Tensor]] = [{}, {}]
    for images, part in zip(drawn, (first, second), strict=True):
        for batch in part:
            images.update(zip(batch["image_id"], batch["image"], strict=True))
    assert drawn[0].keys() == drawn[1].keys()
    assert not any(torch.equal(drawn[0][key], drawn[1][key]) for key in drawn[0])
    assert len({tuple(each.frac().tolist()) for each in drawn[0].values()}) == 90
    for row in (0, 50):
        assert torch.equal(data[row]["image"], drawn[0][data[row]["image_id"]])
    other = ic.torch_dataset(dataset, transform=noisy, seed=1)
    assert not torch.equal(other[0]["image"], data[0]["image"])
    # A loader draws one number of its own for its workers, and nothing else was drawn.
    torch.set_rng_state(before)
    data[0]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_loop_goes_on_in_the_middle_of_an_epoch(dataset: Path, workers: int) -> None:
    data = ic.torch_dataset(dataset, transform=noisy, caption="title|tags")
    unbroken = ic.ResumableSampler(data, 16, seed=3)
    whole = [*epoch(data, unbroken), *epoch(data, unbroken), *epoch(data, unbroken)]
    a_part = len(whole) // 3 + 2
    sampler, seen, state = ic.ResumableSampler(data, 16, seed=3), [], {}
    while len(seen) < a_part:
        for batch in islice(batches(data, sampler, workers), a_part - len(seen)):
            seen.append(batch)
            state = sampler.state_dict()
    resumed = ic.ResumableSampler(data, 16, seed=3)
    resumed.load_state_dict(state)
    assert (resumed.epoch, resumed.step) == (1, 2)
    while resumed.epoch < 3:
        seen += epoch(data, resumed, workers)
    assert equal(seen, whole)


def test_a_state_after_the_last_batch_is_the_next_epochs_first() -> None:
    sampler = ic.ResumableSampler(range(10), 5)
    assert [sampler.state_dict()["step"] for _ in sampler.counted(sampler)] == [1, 0]
    assert sampler.state_dict() == {"rows": 10, "batch_size": 5, "seed": 0, "epoch": 1, "step": 0}


def test_the_number_of_processes_may_change() -> None:
    alone = list(ic.ResumableSampler(range(101), 12, seed=1))
    shares = [ic.ResumableSampler(range(101), 12, seed=1, rank=rank, world_size=3) for rank in range(3)]
    assert [list(chain.from_iterable(parts)) for parts in zip(*shares, strict=True)] == alone
    one = ic.ResumableSampler(range(101), 12, seed=1, rank=1, world_size=3)
    list(islice(one.counted(one), 4))
    other = ic.ResumableSampler(range(101), 12, seed=1)
    other.load_state_dict(one.state_dict())
    assert list(other) == alone[4:]


def test_what_would_go_wrong_in_silence_is_refused() -> None:
    sampler = ic.ResumableSampler(range(10), 5)
    state = sampler.state_dict()
    next(iter(sampler))
    with pytest.raises(ic.InputError, match="read without `counted`"):
        sampler.state_dict()
    sampler.set_epoch(1)
    assert sampler.state_dict()["epoch"] == 1
    for other in (ic.ResumableSampler(range(11), 5), ic.ResumableSampler(range(10), 5, seed=1)):
        with pytest.raises(ic.InputError, match=r"the state is of a sampler with (rows 10|seed 0), and this one has"):
            other.load_state_dict(state)
    with pytest.raises(ic.InputError, match="`rank` must be at least 0 and below `world_size`, 2, not 2"):
        ic.ResumableSampler(range(10), 4, rank=2, world_size=2)


def test_a_dataset_of_texts_and_a_broken_image(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ic.InputError, match="holds texts without images"):
        ic.torch_dataset(make_dataset(tmp_path, rows(2)))
    (tmp_path / "folder" / "n01440764").mkdir(parents=True)
    (tmp_path / "folder" / "n01440764" / "n01440764_1.JPEG").write_bytes(b"<html>")
    data = ic.torch_dataset(tmp_path / "folder", caption="class_name")
    with pytest.raises(ic.InputError, match=r"the image n01440764_1 of .* cannot be used .*filter it out"):
        data[0]
