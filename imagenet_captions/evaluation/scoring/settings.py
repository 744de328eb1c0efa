"""The settings of scores; they are checked before PyTorch is loaded, which takes seconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.evaluation.settings import Reading
from imagenet_captions.options import REQUIRED, check, nested, option

if TYPE_CHECKING:
    from imagenet_captions.dataset.manifest import Manifest

PART_ROWS = 1024


@dataclass(frozen=True)
class ScoreSettings:
    """The model (anything that `load_model` reads with a text tower), the captions, and whether to keep embeddings.

    Without `caption`, the captions are those of the dataset.
    """

    model: str = option(
        "A model with a text tower, as `evaluate` takes it: a run or model folder, a .ckpt, open_clip:NAME[@weights], "
        "or transformers:FOLDER.",
        REQUIRED,
    )
    caption: CaptionTemplate | None = option(
        'What makes the caption: fields and settings such as template="a photo of a {}". Default: the captions of the '
        "dataset."
    )
    embeddings: bool = option("Write the embeddings of images and captions too, as 16-bit numbers.", False)
    reading: Reading = nested(Reading)

    def __post_init__(self) -> None:
        check(self)

    @property
    def part_rows(self) -> int:
        """The number of rows that are scored before they are written; a killed run loses no more than these."""
        return max(PART_ROWS, self.reading.batch_size)

    def template_for(self, manifest: Manifest) -> CaptionTemplate | None:
        """Return the template for a dataset's texts; published texts keep camera names in titles."""
        if self.caption is None or not manifest.as_published:
            return self.caption
        return self.caption.with_camera_names()

    def recorded(self, manifest: Manifest) -> dict[str, Any]:
        """Return the settings that decide the result, for the file's metadata."""
        template = self.template_for(manifest)
        caption = manifest.settings.get("caption") if template is None else str(template)
        stored = {"caption": caption, "caption_stored": template is None}
        return {"model": self.model, **stored, "embeddings": self.embeddings}

    def files(self) -> list[Path]:
        """Return the files of the model on this machine."""
        return [Path(text) for text in (self.model, self.model.partition("@")[2]) if text]
