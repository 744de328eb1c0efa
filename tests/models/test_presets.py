from __future__ import annotations

from pathlib import Path

from imagenet_captions.images.pixels import resize_for
from imagenet_captions.models.build import preset_table
from imagenet_captions.models.config import PRESETS, config_from_dict, config_of

PAGE = Path(__file__).parents[2] / "docs" / "design" / "presets.md"


def test_the_page_shows_the_table() -> None:
    """Every preset can be built, at its full size too, and the page says what comes out."""
    assert preset_table() in PAGE.read_text(encoding="utf-8"), "write preset_table() into docs/design/presets.md"


def test_every_description_survives_a_file() -> None:
    for name in PRESETS:
        config = config_of(name)
        assert config.name == name
        assert config_from_dict(config.to_dict()).to_dict() == config.to_dict()


def test_aligns_batch_statistics_are_of_many_batches() -> None:
    import torch
    from torch import nn

    from imagenet_captions.models.build import build

    with torch.device("meta"):
        model = build(config_of("align"))
    momenta = {module.momentum for module in model.image.modules() if isinstance(module, nn.BatchNorm2d)}
    assert max(momenta) <= 0.1  # transformers has some at torch's own 0.1, and gives 0.99 to the others


def test_aligns_images_are_squares_of_346_pixels_of_which_it_takes_289() -> None:
    import torch

    image = torch.zeros(3, 400, 700, dtype=torch.uint8)
    for name in ("align", "align-large"):
        spec = config_of(name).spec
        assert resize_for(spec, image).shape == (3, 346, 346)
        assert (spec.size, spec.interpolation, spec.mean) == (289, "bilinear", (0.5, 0.5, 0.5))
