"""The zero-shot classifier: an image gets the class whose sentences have the nearest embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.accuracy import Scores
from imagenet_captions.evaluation.classifiers.classifier import JOINT
from imagenet_captions.evaluation.classifiers.prompts import read_names, read_prompts
from imagenet_captions.evaluation.classifiers.prototypes import Cosine
from imagenet_captions.evaluation.protocol import sha256_of
from imagenet_captions.images.examples import Class
from imagenet_captions.models.hardware import SMALL
from imagenet_captions.models.model import Model
from imagenet_captions.storage.progress import progress

_TEXTS_AT_ONCE, _ON_A_CPU = 256, 16  # a large model takes seconds for so few on a CPU, and the bar shall move


class ZeroShot:
    """A class is the normalized mean of its sentences' normalized embeddings."""

    view = JOINT

    def __init__(self, model: Model, prompts: str = "80", names: str = "curated") -> None:
        if not model.has_text:
            raise InputError(
                f"model {model.name} has no text tower, which a zero-shot classifier needs; "
                "give `classifier` linear-probe, k-shot, prototypes or head"
            )
        self._model, self._prompts, self._names = model, prompts, names
        self._templates = read_prompts(prompts)
        self._embedded: dict[str, npt.NDArray[np.float32]] = {}  # name → its direction

    def prepare(self, classes: Sequence[Class]) -> None:
        """Embed the sentences of new classes, and refuse classes without names."""
        named = self.named(classes)
        if all(each.name.isdigit() for each in named):
            raise InputError("the test set's classes are numbers without names; give their names with `names` FILE")
        missing = list(dict.fromkeys(each.name for each in named if each.name not in self._embedded))
        if missing:
            self._embedded.update(zip(missing, embed_names(self._model, missing, self._templates), strict=True))

    def scores(self, features: npt.NDArray[np.float32], classes: Sequence[Class]) -> Scores:
        """Return the cosines `[images, classes]` between images and the classes' sentences."""
        self.prepare(classes)
        return Cosine(np.stack([self._embedded[each.name] for each in self.named(classes)])).scores(features)

    def named(self, classes: Sequence[Class]) -> Sequence[Class]:
        """Return the classes under the names that stand in the sentences."""
        return read_names(self._names, classes)

    def describe(self) -> dict[str, Any]:
        """Return how the classifier was made."""
        return {
            "prompts": self._prompts,
            "sentences": len(self._templates),
            "sentences_sha256": sha256_of(self._templates),
            "names": self._names,
        }


@torch.inference_mode()
def embed_names(model: Model, names: Sequence[str], templates: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return the direction `[names, dim]` of each name over all templates."""
    device = next(model.parameters()).device
    texts_at_once = _ON_A_CPU if device.type == "cpu" and model.spec.size > SMALL else _TEXTS_AT_ONCE
    at_once = max(1, texts_at_once // len(templates))
    directions = []
    with progress("class names", len(names) * len(templates), "sentences") as bar:
        for start in range(0, len(names), at_once):
            some = names[start : start + at_once]
            texts = [template.replace("{}", name) for name in some for template in templates]
            parts = []
            for at in range(0, len(texts), texts_at_once):
                part = texts[at : at + texts_at_once]
                parts.append(model.embed_texts(model.tokenize(part).to(device)))
                bar.update(len(part))
            mean = torch.cat(parts).float().reshape(len(some), len(templates), -1).mean(dim=1)
            directions.append(torch.nn.functional.normalize(mean, dim=-1).cpu().numpy())
    return np.concatenate(directions)
