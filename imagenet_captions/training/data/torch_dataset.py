"""Images, captions and labels for a training loop of your own: a dataset that torch's DataLoader reads by row."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.errors import InputError, shortened
from imagenet_captions.images.examples import Examples, open_examples
from imagenet_captions.storage.faults import require
from imagenet_captions.storage.places import local_place
from imagenet_captions.training.data.captions import CaptionSampler, captions_of, make_sampler, with_captions

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image


@dataclass(frozen=True)
class TorchDataset:
    """A map-style dataset; item `row` is a dictionary with `image`, `caption`, `label` and `image_id`.

    `label` counts the classes in `classes`; it is -1 where it is unknown. Whatever a transform draws from torch's
    generator depends on the seed, the epoch and the row alone, and so do captions of a template with choices. The epoch
    is that of a `ResumableSampler`, or else 0.
    """

    examples: Examples
    captions: CaptionSampler
    transform: Callable[[Image], Any] | None
    size: int
    seed: int

    @property
    def classes(self) -> list[str]:
        """Return the names of the classes, in the order of the labels."""
        return [class_.name for class_ in self.examples.classes or ()]

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return self.__getitems__([range(len(self))[row]])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return the items of a batch; torch's loader calls this, in a worker if it has any."""
        epoch = getattr(rows, "epoch", 0)
        labels = self.examples.labels
        return [
            {
                "image": self._image(row, epoch),
                "caption": caption,
                "label": int(labels[row]),
                "image_id": self.examples.image_id(row),
            }
            for row, caption in zip(rows, captions_of(self.examples, self.captions, rows, epoch), strict=True)
        ]

    def _image(self, row: int, epoch: int) -> Any:
        from imagenet_captions.images.pixels import BrokenImage

        data = self.examples.image(row)
        try:
            return self._test_view(data) if self.transform is None else self._transformed(data, row, epoch)
        except BrokenImage as error:
            raise InputError(
                f"the image {shortened(self.examples.image_id(row))} of {self.examples.source} cannot be used "
                f"({error}); repair it, or filter it out"
            ) from None

    def _test_view(self, data: bytes) -> torch.Tensor:
        from imagenet_captions.images.image_spec import ImageSpec
        from imagenet_captions.images.pixels import EvalTransform

        return EvalTransform(ImageSpec(size=self.size))(data)

    def _transformed(self, data: bytes, row: int, epoch: int) -> Any:
        import torch
        from PIL import Image

        from imagenet_captions.images.pixels import decode
        from imagenet_captions.training.data.batches import sample_seed

        assert self.transform is not None
        image = Image.fromarray(decode(data).permute(1, 2, 0).numpy())
        before = torch.get_rng_state()  # of the CPU: a loop in this process draws from it too
        torch.default_generator.manual_seed(sample_seed(self.seed, epoch, row))
        try:
            return self.transform(image)
        finally:
            torch.set_rng_state(before)


def torch_dataset(
    data: str | os.PathLike[str],
    *,
    transform: Callable[[Image], Any] | None = None,
    caption: str | CaptionTemplate | None = None,
    size: int = 224,
    seed: int = 0,
) -> TorchDataset:
    """Open a dataset with images for torch's DataLoader, without the rows that have no image or no caption.

        data = ic.torch_dataset("imagenet-captions", transform=transform, caption="title tags")
        sampler = ic.ResumableSampler(data, batch_size=256)
        loader = DataLoader(data, batch_sampler=sampler, num_workers=8)

    `data` is anything that `train` reads. `transform` takes a PIL image in RGB; without it, an image is bytes
    [3, size, size] of its center. `caption` is a caption template; without it, captions are those of the dataset.
    Raises InputError if torch is missing, or there are no images.
    """
    require("train", "`torch_dataset`", "torch", "torchvision")
    template = CaptionTemplate.parse(caption) if isinstance(caption, str) else caption
    examples = open_examples(local_place(str(data)))
    captions = make_sampler(examples, template, seed)
    return TorchDataset(with_captions(examples, captions), captions, transform, size, seed)
