"""Compute the similarities of images and captions, in batches, part by part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.extract import decoded_batches
from imagenet_captions.evaluation.scoring.pairs import Pairs
from imagenet_captions.evaluation.scoring.settings import ScoreSettings
from imagenet_captions.images.pixels import EvalTransform, normalise
from imagenet_captions.models.model import Model
from imagenet_captions.schema import SCORES, with_provenance
from imagenet_captions.storage.progress import Bar

_EMBEDDINGS = ("image_embedding", "text_embedding")


def scores_schema(dim: int | None) -> pa.Schema:
    """Return the schema of scores, with embeddings of `dim` 16-bit numbers if it is given."""
    if dim is None:
        return SCORES
    vector = pa.list_(pa.float16(), dim)
    return pa.schema([*SCORES, *(pa.field(name, vector, nullable=False) for name in _EMBEDDINGS)])


@dataclass(frozen=True)
class Scorer:
    """A model, and the images and captions that it scores."""

    model: Model
    pairs: Pairs
    settings: ScoreSettings

    @property
    def schema(self) -> pa.Schema:
        """The schema of the scores."""
        return scores_schema(self.model.config.dim if self.settings.embeddings else None)

    @property
    def context_length(self) -> int:
        """The number of tokens that the model reads."""
        assert self.model.config.tokenizer is not None
        return self.model.config.tokenizer.context_length

    def parts(self, numbers: Iterable[int], bar: Bar) -> Iterator[tuple[int, pa.Table]]:
        """Yield the scores of some parts, with the images that cannot be decoded in the metadata of the schema."""
        plan = [(number, rows) for number in numbers for rows in self._batches(number)]
        if not plan:
            return
        transform = EvalTransform(self.model.spec)
        decoded = decoded_batches(self.pairs.images, transform, self.settings.reading, [rows for _, rows in plan])
        for number, group in groupby(zip(plan, decoded, strict=True), key=lambda pair: pair[0][0]):
            tables, broken = [self.schema.empty_table()], []
            for _, (pixels, good, bad) in group:
                if good:
                    tables.append(self._score(pixels, good))
                broken += [[self.pairs.images.image_id(row), reason] for row, reason in bad]
                bar.update(len(good) + len(bad))
            yield number, pa.concat_tables(tables).cast(with_provenance(self.schema, {"broken": broken}))

    def _batches(self, number: int) -> Iterator[list[int]]:
        size, whole = self.settings.reading.batch_size, self.settings.part_rows
        rows = self.pairs.rows[number * whole : (number + 1) * whole]
        yield from (list(rows[at : at + size]) for at in range(0, len(rows), size))

    @torch.inference_mode()
    def _score(self, pixels: Tensor, rows: list[int]) -> pa.Table:
        device = next(self.model.parameters()).device
        captions = [self.pairs.captions[row] for row in rows]
        images = self.model.embed_images(normalise(pixels.to(device), self.model.spec)).float()
        texts = self.model.embed_texts(self.model.tokenize(captions).to(device)).float()
        similarity = (images * texts).sum(dim=-1).cpu().numpy()
        ids = [self.pairs.images.image_id(row) for row in rows]
        if not np.isfinite(similarity).all():
            wrong = ids[int(np.flatnonzero(~np.isfinite(similarity))[0])]
            raise InputError(f"the similarity of {wrong} is not a number; check the weights of {self.settings.model}")
        lengths = self.model.count_tokens(captions)
        columns = [ids, similarity, lengths, [length > self.context_length for length in lengths]]
        if self.settings.embeddings:
            columns += [_halves(images), _halves(texts)]
        return pa.table(columns, schema=self.schema)


def _halves(vectors: Tensor) -> pa.FixedSizeListArray:
    halves = vectors.cpu().numpy().astype(np.float16)
    return pa.FixedSizeListArray.from_arrays(pa.array(halves.reshape(-1)), halves.shape[1])
