"""Decoding beside Pillow, crops and sizes beside torchvision's on Pillow images."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F  # noqa: N812

from imagenet_captions.errors import InputError, StoppedEarly
from imagenet_captions.images.image_spec import CLIP_224, ImageSpec
from imagenet_captions.images.pixels import (
    BrokenImage,
    EvalTransform,
    RandAugment,
    TrainTransform,
    TwoViews,
    chance,
    crop_box,
    decode,
    normalise,
    read_batches,
)
from imagenet_captions.images.reading import read_header
from tests.images.pictures import encoded, photos, picture


def by_pillow(data: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize(
    "options",
    [{"subsampling": 0}, {"subsampling": 1}, {"progressive": True}, {"quality": 10}, {"restart_marker_rows": 1}],
)
def test_a_jpeg_is_what_pillow_has(options: dict[str, int]) -> None:
    data = encoded(picture(173, 131), **options)
    pixels = decode(data)
    assert pixels.stride() == (1, 173 * 3, 3)
    assert read_header(memoryview(data))[:3] == (None, (173, 131), 3)
    assert np.abs(pixels.permute(1, 2, 0).numpy().astype(int) - by_pillow(data)).mean() < 0.5


@pytest.mark.parametrize(
    "stored", "JPEG-L JPEG-CMYK PNG-RGB PNG-RGBA PNG-P PNG-LA PNG-I;16 WEBP-RGB GIF-P BMP-RGB".split()
)
def test_other_forms_and_modes(stored: str) -> None:
    form, mode = stored.split("-")
    drawn = picture(40, 30)
    data = encoded(Image.new(mode, (40, 30), 700) if mode == "I;16" else drawn.convert(mode), form)
    pixels = decode(data).permute(1, 2, 0).numpy()
    assert pixels.shape == (30, 40, 3)
    assert np.abs(pixels.astype(int) - by_pillow(data)).max() <= 2


def test_what_is_no_image_is_said() -> None:
    whole, small = photos(1)[0], encoded(Image.new("L", (1, 1)), "PNG")
    size = struct.pack(">II", 60_000, 60_000) + small[24:29]
    bomb = small[:16] + size + struct.pack(">I", zlib.crc32(b"IHDR" + size)) + small[33:]
    for data, words in [
        (b"", "zero bytes"),
        (b"<html>", "not an image"),
        (whole[: len(whole) // 2], "cut off"),
        (encoded(picture(40, 30), "PNG")[:-30], "cut off|truncated"),
        (bomb, "pixels"),
    ]:
        with pytest.raises(BrokenImage, match=words):
            decode(data)
    with pytest.raises(BrokenImage, match="long and thin"):
        EvalTransform(CLIP_224)(encoded(Image.new("RGB", (60_000, 1)), "PNG"))


def test_a_damaged_jpeg_is_decoded_as_far_as_it_goes() -> None:
    whole = photos(1)[0]
    scan = whole.index(b"\xff\xda")
    for data in (whole[: len(whole) // 2] + b"\xff\xd9", whole[: scan + 200] + b"\xff\xd3" + whole[scan + 202 :]):
        assert decode(data).shape == decode(whole).shape
        assert torch.equal(decode(data)[:, :8, :8], decode(whole)[:, :8, :8])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("scale", [(0.9, 1.0), (0.08, 1.0), (1.0, 1.0)])
@pytest.mark.parametrize("size", [(500, 375), (333, 500), (600, 40), (40, 600)])
def test_crop_boxes_are_torchvisions(scale: tuple[float, float], size: tuple[int, int]) -> None:
    image = torch.zeros(3, size[1], size[0], dtype=torch.uint8)
    for seed in range(50):
        torch.manual_seed(seed)
        theirs = transforms.RandomResizedCrop.get_params(image, list(scale), [3 / 4, 4 / 3])
        following = torch.rand(1).item()
        generator = seeded(seed)
        assert crop_box(image, scale, generator) == tuple(theirs)
        assert chance(generator) == following


def test_training_images_are_near_pillows() -> None:
    crop = transforms.RandomResizedCrop(224, scale=(0.9, 1.0), interpolation=InterpolationMode.BICUBIC)
    differences = []
    for seed, data in enumerate(photos(12)):
        torch.manual_seed(seed)
        theirs = F.to_tensor(crop(Image.open(io.BytesIO(data)).convert("RGB")))
        made = TrainTransform(CLIP_224)(data, seeded(seed))
        assert (made.shape, made.dtype) == ((3, 224, 224), torch.uint8)
        differences.append((made / 255 - theirs).abs().mean().item())
    assert np.mean(differences) <= 2 / 255
    assert max(differences) <= 4 / 255


@pytest.mark.parametrize(
    "spec",
    [
        *(CLIP_224, ImageSpec(interpolation="bilinear", crop_fraction=0.875), ImageSpec(32)),
        ImageSpec(64, crop_fraction=0.8, resize_mode="squash"),
    ],
)
def test_test_images_are_near_pillows(spec: ImageSpec) -> None:
    mode = InterpolationMode(spec.interpolation)
    for data in photos(6):
        image = Image.open(io.BytesIO(data)).convert("RGB")
        side = int(spec.size / spec.crop_fraction)
        resized = F.resize(image, [side, side] if spec.resize_mode == "squash" else [side], mode)
        image = F.center_crop(resized, [spec.size])
        made = EvalTransform(spec)(data)
        assert made.shape == (3, spec.size, spec.size)
        assert (made / 255 - F.to_tensor(image)).abs().mean() <= 2 / 255


def test_a_border_is_cut_off_first() -> None:
    inner = picture(100, 80)
    framed = Image.new("RGB", (104, 84), (255, 0, 0))
    framed.paste(inner, (2, 2))
    spec = ImageSpec(64)
    with_border = EvalTransform(spec, border=2)(encoded(framed, "PNG"))
    assert torch.equal(with_border, EvalTransform(spec)(encoded(inner, "PNG")))


def test_the_generator_alone_decides() -> None:
    data = photos(1)[0]
    for transform in (TrainTransform(CLIP_224, (0.5, 1.0), flip=True), TwoViews(ImageSpec(32))):
        torch.manual_seed(1)
        first = transform(data, seeded(3))
        torch.manual_seed(2)
        again, other = transform(data, seeded(3)), transform(data, seeded(4))
        same = [torch.equal(one, two) for one, two in zip(first, again, strict=True)]
        assert all(same)
        assert not torch.equal(first[0], other[0])


def test_half_of_the_images_are_flipped() -> None:
    data = encoded(picture(32, 32), "PNG")
    plain = decode(data)
    made = [TrainTransform(ImageSpec(32), (1.0, 1.0), flip=True)(data, seeded(seed)) for seed in range(100)]
    flipped = sum(torch.equal(image, plain.flip(-1)) for image in made)
    whole = sum(torch.equal(image, plain) for image in made)
    assert 25 < flipped < 75
    assert flipped + whole >= 60  # the others are cropped to another shape


def test_two_views_differ_in_place_and_colour() -> None:
    data = photos(1)[0]
    one, two = TwoViews(ImageSpec(64))(data, seeded(0))
    assert one.shape == two.shape == (3, 64, 64)
    assert (one.float() - two.float()).abs().mean() > 5
    views = [view for seed in range(60) for view in TwoViews(ImageSpec(16), blur=False)(data, seeded(seed))]
    grey = sum(torch.equal(view[0], view[1]) and torch.equal(view[0], view[2]) for view in views)
    assert 10 < grey < 45


def test_two_views_without_colours_keep_them() -> None:
    plain = encoded(Image.new("RGB", (40, 40), (200, 100, 50)), "PNG")
    for view in TwoViews(ImageSpec(16), strength=0, blur=False)(plain, seeded(0)):
        assert view.flatten(1).T.unique(dim=0).tolist() == [[200, 100, 50]]


def test_normalising_a_batch_is_what_torchvision_does() -> None:
    batch = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    theirs = F.normalize(batch / 255, list(CLIP_224.mean), list(CLIP_224.std))
    for stored in (batch, batch.contiguous(memory_format=torch.channels_last)):
        torch.testing.assert_close(normalise(stored, CLIP_224), theirs, rtol=1e-5, atol=1e-5)
        for order in (torch.contiguous_format, torch.channels_last):
            out = torch.zeros(6, 3, 8, 8).contiguous(memory_format=order)
            made = normalise(stored, CLIP_224, out)
            torch.testing.assert_close(made, theirs, rtol=1e-5, atol=1e-5)
            assert made.data_ptr() == out.data_ptr()
            assert not out[4:].any()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TrainTransform(CLIP_224, (0.0, 1.0)), "not 0.0 to 1.0"),
        (lambda: TrainTransform(CLIP_224, crop="left"), "the crop must be .*, not 'left'"),
        (lambda: RandAugment(2, 31, 64, (0, 0, 0)), "RandAugment needs 1 operation"),
        (lambda: ImageSpec(0), "1 pixel or more, not 0"),
        (lambda: ImageSpec(interpolation="lanczos"), "lanczos"),
    ],
)
def test_settings_that_are_not_possible(make: Callable[[], object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()


def test_a_placed_crop_is_a_square_of_the_image_as_it_is_resized_for_testing() -> None:
    spec = ImageSpec(28, interpolation="bilinear", crop_fraction=28 / 34, resize_mode="squash")
    data = encoded(picture(60, 40), "PNG")
    whole = EvalTransform(replace(spec, size=34, crop_fraction=1.0))(data)
    placed = TrainTransform(spec, crop="placed")
    places = set()
    for seed in range(40):
        found = placed(data, seeded(seed))
        spots = [(top, left) for top in range(7) for left in range(7)]
        here = [(top, left) for top, left in spots if found.equal(whole[:, top : top + 28, left : left + 28])]
        assert len(here) == 1
        places |= set(here)
    assert len(places) > 20
    assert {top for top, _ in places} == {left for _, left in places} == set(range(7)), "the edges too"


def test_randaugment_follows_the_generator_alone_and_is_as_strong_as_asked() -> None:
    data = encoded(picture(64, 64), "PNG")
    strong, weak = (TrainTransform(ImageSpec(64), augment=RandAugment(2, at, 64, (124, 116, 104))) for at in (15, 3))

    def changes(transform: TrainTransform) -> float:
        plain = TrainTransform(ImageSpec(64))
        apart = [transform(data, seeded(at)).float() - plain(data, seeded(at)) for at in range(60)]
        return float(torch.stack(apart).abs().mean())

    random.seed(5)
    np.random.seed(5)
    before = random.getstate(), np.random.get_state()[1].tolist()
    one, again = (strong(data, seeded(7)) for _ in range(2))
    assert torch.equal(one, again)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    assert one.shape == (3, 64, 64)
    assert one.dtype == torch.uint8
    ten = TrainTransform(ImageSpec(64), augment=RandAugment(2, 10, 64, (124, 116, 104)))
    assert changes(strong) > changes(ten) > changes(weak) > 0, "a strength above 10 is not cut down to it"


@pytest.mark.parametrize(
    ("words", "kind"),
    [("DataLoader worker (pid 12) is killed by signal: Killed.", StoppedEarly), ("shapes differ", RuntimeError)],
)
def test_a_killed_worker_is_told_apart_from_a_fault(words: str, kind: type[Exception]) -> None:
    def batches() -> Iterator[None]:
        yield None
        raise RuntimeError(words)

    with pytest.raises(kind) as caught:
        list(read_batches(batches()))  # type: ignore[arg-type]
    assert type(caught.value) is kind
