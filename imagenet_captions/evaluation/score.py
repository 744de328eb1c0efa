"""Score a dataset: a Parquet file with the similarity of each image and its caption, keyed by image id."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.captions.compose import compose_captions
from imagenet_captions.dataset.shards import Manifest, Shards
from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.settings import Reading, ScoreSettings
from imagenet_captions.imagenet.image_ids import wnid_of
from imagenet_captions.images.examples import Examples, open_examples
from imagenet_captions.outcomes import Outcome, count_outcomes, outcome_rows, outcomes_path
from imagenet_captions.schema import SCORES, provenance, with_provenance
from imagenet_captions.storage.faults import require
from imagenet_captions.storage.files import MANIFEST, alive, is_alive, private_names, replacing, sha256
from imagenet_captions.storage.outputs import producing
from imagenet_captions.storage.parquet import open_parquet_writer, read_schema, read_table, write_table
from imagenet_captions.storage.places import PlaceLike, local_place
from imagenet_captions.storage.progress import Bar, progress

if TYPE_CHECKING:
    from torch import Tensor

    from imagenet_captions.models.model import Model

_TEMPLATE_COLUMNS = ("image_id", "title", "tags", "description")


@dataclass(frozen=True)
class Pairs:
    """Images and their captions by row; `rows` are those with a caption, and `dropped` are OUTCOMES of all others."""

    images: Examples
    captions: Sequence[str]
    rows: Sequence[int]
    dropped: pa.Table


def open_pairs(dataset: Path, template: CaptionTemplate | None) -> Pairs:
    """Open a dataset's images with its captions, or with those that a template makes of its texts.

    Raises InputError for a dataset without images, and if no image has a caption.
    """
    images = open_examples(dataset)
    table = pa.concat_tables(_captioned(batch, template) for batch in _texts(dataset, template))
    ids = pa.array([images.image_id(row) for row in range(len(images))], pa.string())
    has_image = pc.is_in(table["image_id"], value_set=ids)
    pairs, without_image = table.filter(has_image), table.filter(pc.invert(has_image))
    empty = pc.equal(pc.utf8_trim_whitespace(pairs["caption"]), "")
    rows = np.flatnonzero(~empty.to_numpy()).tolist()
    if not rows:
        raise InputError(f"no image of {dataset} has a caption; give another `caption`")
    dropped = [_dropped(without_image, Outcome.NO_IMAGE), _dropped(pairs.filter(empty), Outcome.NO_TEXT)]
    return Pairs(images, pairs["caption"].to_pylist(), rows, pa.concat_tables(dropped))


def _texts(dataset: Path, template: CaptionTemplate | None) -> list[pa.RecordBatch]:
    columns = ("image_id", "caption") if template is None else _TEMPLATE_COLUMNS
    return list(Shards(dataset).read(["wnid", *columns]))


def _captioned(batch: pa.RecordBatch, template: CaptionTemplate | None) -> pa.Table:
    captions = batch["caption"] if template is None else compose_captions(template, _columns(batch))
    return pa.table({"image_id": batch["image_id"], "wnid": batch["wnid"], "caption": captions})


def _columns(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    return {name: batch[name] for name in _TEMPLATE_COLUMNS}


def _dropped(rows: pa.Table, outcome: Outcome) -> pa.Table:
    return outcome_rows(outcome, len(rows), image_id=rows["image_id"], wnid=rows["wnid"])


@dataclass(frozen=True)
class Parts:
    """A folder with one Parquet file for each finished part; its name has a digest of the settings."""

    folder: Path

    @classmethod
    @contextmanager
    def open(cls, out: Path, settings: Mapping[str, Any]) -> Iterator[Parts]:
        """Open the parts of an output, and drop those of unfinished runs with other settings."""
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        folder = out.with_name(f".{out.name}.{digest}.parts")
        folder.mkdir(exist_ok=True)
        with alive(folder):
            for other in private_names(out, "parts"):
                cls(other).remove()
            yield cls(folder)

    def path(self, number: int) -> Path:
        """Return the file of a part."""
        return self.folder / f"{number:06d}.parquet"

    def missing(self, count: int) -> list[int]:
        """Return the numbers of the parts that are not finished, of `count` in all."""
        return [number for number in range(count) if not self.path(number).is_file()]

    def write(self, number: int, table: pa.Table) -> None:
        """Write a part, whole or not at all."""
        with replacing(self.path(number)) as partial:
            write_table(table, partial)

    def remove(self) -> None:
        """Remove the folder, unless a run works with it."""
        if not is_alive(self.folder):
            shutil.rmtree(self.folder)


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
        from imagenet_captions.evaluation.extract import decoded_batches
        from imagenet_captions.images.pixels import EvalTransform

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

    def _score(self, pixels: Tensor, rows: list[int]) -> pa.Table:
        import torch

        from imagenet_captions.images.pixels import normalise

        device = next(self.model.parameters()).device
        captions = [self.pairs.captions[row] for row in rows]
        with torch.inference_mode():
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


log = logging.getLogger(__name__)

_PARTS_AT_ONCE = 8  # in a row group
_ORDER = [("wnid", "ascending"), ("image_id", "ascending")]


def score(
    dataset: PlaceLike,
    model: str,
    *,
    out: PlaceLike,
    caption: str | CaptionTemplate | None = None,
    embeddings: bool = False,
    batch_size: int = 256,
    workers: int = 1,
    device: str | None = None,
    overwrite: bool = False,
) -> dict[str, int]:
    """Write how similar a model finds each image of a dataset and its caption, to a Parquet file keyed by image id.

        ic.score("imagenet-captions", "open_clip:ViT-B-32@laion2b_s34b_b79k", out="scores.parquet")

    `caption` is a caption template; without it, the captions are those of the dataset. `embeddings` adds those of
    images and captions. Several `workers` are processes that read images.

    Returns the number of rows with a score, and of those without, by outcome.
    """
    require("train", "score")
    template = CaptionTemplate.parse(caption) if isinstance(caption, str) else caption
    settings = ScoreSettings(model, template, embeddings, Reading(batch_size, workers, device))
    counts = score_dataset(local_place(str(dataset)), local_place(str(out)), settings, overwrite)
    return {outcome.value: count for outcome, count in counts.items()}


def score_dataset(dataset: Path, out: Path, settings: ScoreSettings, overwrite: bool = False) -> dict[Outcome, int]:
    """Write the scores of a dataset to `out`, and the rows without a score beside it; return the numbers of both.

    Finished parts are kept in a folder beside `out`, so that a run that was killed goes on with the next one.
    """
    from imagenet_captions.models.hardware import cpu_threads, full_precision

    with (
        producing([out], [dataset, *settings.files()], overwrite, [outcomes_path(out)]) as new,
        Shards(dataset).unchanged() as shards,
    ):
        manifest = shards.manifest
        scorer = _open(dataset, settings, manifest)
        about = _about(scorer, dataset, manifest)
        with (
            cpu_threads(scorer.model.spec.size, settings.reading.threads),
            full_precision(),
            Parts.open(out, {**about, "part_rows": settings.part_rows}) as parts,
        ):
            count = _finish(parts, scorer)
            beside, product = new
            kept = _write(product, parts, count, with_provenance(scorer.schema, about), scorer.context_length)
            dropped = pa.concat_tables([scorer.pairs.dropped, *_broken(parts, count)]).sort_by(_ORDER)
        if not kept:
            parts.remove()
            raise InputError(f"none of the {len(scorer.pairs.rows):,} images of {dataset} can be decoded")
        write_table(dropped, beside)
    parts.remove()
    return count_outcomes(dropped.to_batches(), kept)


def _open(dataset: Path, settings: ScoreSettings, manifest: Manifest) -> Scorer:
    """Open the images and captions, and load the model to the device in evaluation mode."""
    from imagenet_captions.models.load import load_model

    pairs = open_pairs(dataset, settings.template_for(manifest))
    model = load_model(settings.model)
    if not model.has_text:
        raise InputError(
            f"{settings.model} has no text tower, which scores of captions need; give a model such as CLIP"
        )
    model.to(settings.reading.torch_device()).eval()
    return Scorer(model, pairs, settings)


def _about(scorer: Scorer, dataset: Path, manifest: Manifest) -> dict[str, Any]:
    """Return what the scores depend on, for the file's metadata."""
    from imagenet_captions.models.weights import weights_digest

    model = scorer.model
    return {
        "inputs": {"dataset": sha256(dataset / MANIFEST), "weights": weights_digest(model)},
        "settings": scorer.settings.recorded(manifest),
        "model": {
            "name": model.name,
            "context_length": scorer.context_length,
            "preprocessing": {**asdict(model.spec), "mean": list(model.spec.mean), "std": list(model.spec.std)},
        },
        "made_with": {name: version(name) for name in ("imagenet-captions", "torch")},
    }


def _finish(parts: Parts, scorer: Scorer) -> int:
    """Compute the parts that are missing, and return the number of all."""
    rows, each = len(scorer.pairs.rows), scorer.settings.part_rows
    count = -(-rows // each)
    missing = parts.missing(count)
    done = sum(min(each, rows - number * each) for number in set(range(count)) - set(missing))
    if done:
        log.info("%s of %s rows are scored already", f"{done:,}", f"{rows:,}")
    with progress("score", rows, "images", done) as bar:
        for number, table in scorer.parts(missing, bar):
            parts.write(number, table)
    return count


def _write(path: Path, parts: Parts, count: int, schema: pa.Schema, context_length: int) -> int:
    """Write the scores of all parts as one file, and return their number."""
    kept = cut = 0
    with open_parquet_writer(path, schema) as writer:
        for start in range(0, count, _PARTS_AT_ONCE):
            numbers = range(start, min(count, start + _PARTS_AT_ONCE))
            tables = [read_table(parts.path(number)).replace_schema_metadata() for number in numbers]
            table = pa.concat_tables(tables).combine_chunks()
            kept += len(table)
            cut += pc.sum(table["cut"]).as_py() or 0
            writer.write_table(table.cast(schema))
    if cut:
        log.info("%s of %s captions are longer than the model's %d tokens", f"{cut:,}", f"{kept:,}", context_length)
    return kept


def _broken(parts: Parts, count: int) -> Iterator[pa.Table]:
    for number in range(count):
        broken = provenance(read_schema(parts.path(number)))["broken"]
        ids = [image_id for image_id, _ in broken]
        wnids, reasons = [wnid_of(image_id) for image_id in ids], [reason for _, reason in broken]
        yield outcome_rows(Outcome.BROKEN_IMAGE, len(ids), image_id=ids, wnid=wnids, detail=reasons)
