"""Score a dataset: how similar each image is to its caption, and to the nearest image of test sets, by image id."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.captions.compose import TEMPLATE_COLUMNS, compose_captions
from imagenet_captions.dataset.shards import Shards
from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.settings import Reading, ScoreSettings
from imagenet_captions.imagenet.image_ids import wnid_of
from imagenet_captions.images.examples import Examples, open_examples
from imagenet_captions.outcomes import Outcome, count_outcomes, outcome_rows, outcomes_path
from imagenet_captions.schema import SCORES, provenance, with_provenance
from imagenet_captions.storage.faults import require
from imagenet_captions.storage.files import alive, is_alive, private_names, replacing
from imagenet_captions.storage.outputs import producing
from imagenet_captions.storage.parquet import open_parquet_writer, read_schema, read_table, write_table
from imagenet_captions.storage.places import PlaceLike, local_place
from imagenet_captions.storage.progress import progress

if TYPE_CHECKING:
    from torch import Tensor

    from imagenet_captions.models.model import Model

log = logging.getLogger(__name__)

_EMBEDDINGS = ("image_embedding", "text_embedding")
TEST_IMAGES_AT_ONCE = 8192
_PARTS_AT_ONCE = 8  # in a row group
_ORDER = [("wnid", "ascending"), ("image_id", "ascending")]


def score(
    dataset: PlaceLike,
    model: str,
    *,
    out: PlaceLike,
    caption: str | CaptionTemplate | None = None,
    embeddings: bool = False,
    against: Mapping[str, PlaceLike] | None = None,
    batch_size: int = 256,
    workers: int = 1,
    device: str | None = None,
    overwrite: bool = False,
) -> dict[str, int]:
    """Write how similar a model finds each image of a dataset and its caption, to a Parquet file keyed by image id.

        ic.score("imagenet-captions", "open_clip:ViT-B-32@laion2b_s34b_b79k", out="scores.parquet")

    `caption` is a caption template; without it, the captions are those of the dataset. `embeddings` adds those of
    images and captions. `against` are test sets, as {"imagenet-v2": "v2"}: each adds a column of its name with the
    highest similarity to one of its images, and one with that image. Several `workers` are processes that read images.

    Returns the number of rows with a score, and of those without, by outcome.
    """
    require("train", "score")
    template = CaptionTemplate.parse(caption) if isinstance(caption, str) else caption
    test_sets = tuple((name, local_place(str(path))) for name, path in (against or {}).items())
    settings = ScoreSettings(model, template, embeddings, test_sets, Reading(batch_size, workers, device))
    counts = score_dataset(local_place(str(dataset)), local_place(str(out)), settings, overwrite)
    return {outcome.value: count for outcome, count in counts.items()}


def score_dataset(dataset: Path, out: Path, settings: ScoreSettings, overwrite: bool = False) -> dict[Outcome, int]:
    """Write the scores of a dataset to `out`, and the rows without a score beside it; return the numbers of both.

    Finished parts are kept in a folder beside `out`, so that a run that was killed goes on with the next one.
    """
    from imagenet_captions.models.hardware import cpu_threads, full_precision
    from imagenet_captions.models.load import load_model

    with (
        producing([out], [dataset, *settings.files()], overwrite, [outcomes_path(out)]) as (outcomes_file, scores_file),
        Shards(dataset).unchanged() as shards,
    ):
        pairs = open_pairs(shards, settings.template_for(shards.manifest))
        model = load_model(settings.model)
        if not model.has_text:
            raise InputError(
                f"{settings.model} has no text tower, which scores of captions need; give a model such as CLIP"
            )
        model.to(settings.reading.torch_device()).eval()
        with cpu_threads(model.spec.size, settings.reading.threads), full_precision():
            scorer = Scorer(model, pairs, settings, open_targets(model, settings))
            about = _about(scorer, shards)
            with open_parts(out, {**about, "part_rows": settings.part_rows}) as parts:
                files = scorer.write_parts(parts)
                kept = scorer.write(scores_file, files, about)
                dropped = pa.concat_tables([pairs.dropped, *map(_broken_rows, files)]).sort_by(_ORDER)
        if not kept:
            remove_parts(parts)
            raise InputError(f"none of the {len(pairs.rows):,} images of {dataset} can be decoded")
        write_table(dropped, outcomes_file)
    remove_parts(parts)
    return count_outcomes(dropped.to_batches(), kept)


@dataclass(frozen=True)
class Pairs:
    """Images and their captions by row; `rows` are those with a caption, and `dropped` are OUTCOMES of all others."""

    images: Examples
    captions: Sequence[str]
    rows: Sequence[int]
    dropped: pa.Table


def open_pairs(shards: Shards, template: CaptionTemplate | None) -> Pairs:
    """Open a dataset's images with its captions, or with those that a template makes of its texts.

    Raises InputError for a dataset without images, and if no image has a caption.
    """
    images = open_examples(shards.dataset)
    columns = ("image_id", "caption") if template is None else TEMPLATE_COLUMNS
    tables = []
    for batch in shards.read(["wnid", *columns]):
        texts = {name: batch[name] for name in columns}
        captions = batch["caption"] if template is None else compose_captions(template, texts)
        tables.append(pa.table({"image_id": batch["image_id"], "wnid": batch["wnid"], "caption": captions}))
    table = pa.concat_tables(tables)
    ids = pa.array([images.image_id(row) for row in range(len(images))], pa.string())
    has_image = pc.is_in(table["image_id"], value_set=ids)
    pairs = table.filter(has_image)
    is_empty = pc.equal(pc.utf8_trim_whitespace(pairs["caption"]), "")
    rows = np.flatnonzero(~is_empty.to_numpy()).tolist()
    if not rows:
        raise InputError(f"no image of {shards.dataset} has a caption; give another `caption`")
    without = {Outcome.NO_IMAGE: table.filter(pc.invert(has_image)), Outcome.NO_TEXT: pairs.filter(is_empty)}
    dropped = [
        outcome_rows(outcome, len(gone), image_id=gone["image_id"], wnid=gone["wnid"])
        for outcome, gone in without.items()
    ]
    return Pairs(images, pairs["caption"].to_pylist(), rows, pa.concat_tables(dropped))


@contextmanager
def open_parts(out: Path, settings: Mapping[str, Any]) -> Iterator[Path]:
    """Open the folder for the finished parts of an output, and drop those of unfinished runs with other settings."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    folder = out.with_name(f".{out.name}.{digest}.parts")
    folder.mkdir(exist_ok=True)
    with alive(folder):
        for other in private_names(out, "parts"):
            remove_parts(other)
        yield folder


def remove_parts(folder: Path) -> None:
    """Remove the folder, unless a run works with it."""
    if not is_alive(folder):
        shutil.rmtree(folder)


class Target(NamedTuple):
    """The images of a test set that can be decoded: their ids, and their unit vectors on the model's device."""

    name: str
    ids: pa.Array
    vectors: Tensor


def open_targets(model: Model, settings: ScoreSettings) -> list[Target]:
    """Embed the test sets that the settings name."""
    import torch

    from imagenet_captions.evaluation.classifiers import JOINT
    from imagenet_captions.evaluation.extract import extract
    from imagenet_captions.evaluation.testsets import open_test_set

    targets = []
    with tempfile.TemporaryDirectory() as scratch:
        for test_set in [open_test_set(name, path, Path(scratch)) for name, path in settings.test_sets]:
            images = test_set.images
            found = extract(model, images, JOINT, settings.reading, border=test_set.border, what=test_set.name)
            ids = pa.array(map(images.image_id, found.indices.tolist()), pa.string())
            vectors = torch.from_numpy(found.values).to(settings.reading.torch_device())
            targets.append(Target(test_set.name, ids, vectors))
    return targets


def nearest(vectors: Tensor, among: Tensor) -> tuple[Tensor, Tensor]:
    """Return the highest product of each vector with one of `among`, and its row there; not all products at once."""
    values, rows = (vectors @ among[:TEST_IMAGES_AT_ONCE].T).max(dim=1)
    for start in range(TEST_IMAGES_AT_ONCE, len(among), TEST_IMAGES_AT_ONCE):
        higher, at = (vectors @ among[start : start + TEST_IMAGES_AT_ONCE].T).max(dim=1)
        rows = (at + start).where(higher > values, rows)
        values = values.maximum(higher)
    return values, rows


@dataclass(frozen=True)
class Scorer:
    """A model, the images and captions that it scores in parts, and the test sets to compare the images with."""

    model: Model
    pairs: Pairs
    settings: ScoreSettings
    targets: Sequence[Target]

    @property
    def schema(self) -> pa.Schema:
        """The schema of the scores, with what was asked for beside: embeddings as 16-bit numbers, and test sets."""
        vector = pa.list_(pa.float16(), self.model.config.dim)
        beside = [(name, vector) for name in _EMBEDDINGS if self.settings.embeddings]
        for target in self.targets:
            beside += [(target.name, pa.float32()), (f"{target.name}_image", pa.string())]
        return pa.schema([*SCORES, *(pa.field(name, kind, nullable=False) for name, kind in beside)])

    @property
    def context_length(self) -> int:
        """The number of tokens that the model reads."""
        assert self.model.config.tokenizer is not None
        return self.model.config.tokenizer.context_length

    def write_parts(self, folder: Path) -> list[Path]:
        """Compute the parts that are missing; return the files of all.

        Images that cannot be decoded stand in the metadata of a part's schema.
        """
        from imagenet_captions.evaluation.extract import decoded_batches
        from imagenet_captions.images.pixels import EvalTransform

        rows, size, batch = self.pairs.rows, self.settings.part_rows, self.settings.reading.batch_size
        batches: dict[Path, list[list[int]]] = {}
        for number, start in enumerate(range(0, len(rows), size)):
            part = rows[start : start + size]
            batches[folder / f"{number:06d}.parquet"] = [
                list(part[at : at + batch]) for at in range(0, len(part), batch)
            ]
        missing = {path: plan for path, plan in batches.items() if not path.is_file()}
        left = [*chain.from_iterable(missing.values())]
        done = len(rows) - sum(map(len, left))
        if done:
            log.info("%s of %s rows are scored already", f"{done:,}", f"{len(rows):,}")
        decoded = decoded_batches(self.pairs.images, EvalTransform(self.model.spec), self.settings.reading, left)
        with progress("score", len(rows), "images", done) as bar:
            for path, plan in missing.items():
                tables, broken = [self.schema.empty_table()], []
                for pixels, good, bad in islice(decoded, len(plan)):
                    if good:
                        tables.append(self._score(pixels, good))
                    broken += [[self.pairs.images.image_id(row), reason] for row, reason in bad]
                    bar.update(len(good) + len(bad))
                with replacing(path) as partial:
                    schema = with_provenance(self.schema, {"broken": broken})
                    write_table(pa.concat_tables(tables).cast(schema), partial)
        return [*batches]

    def _score(self, pixels: Tensor, rows: list[int]) -> pa.Table:
        import torch

        from imagenet_captions.images.pixels import normalise

        device = next(self.model.parameters()).device
        captions = [self.pairs.captions[row] for row in rows]
        with torch.inference_mode():
            images = self.model.embed_images(normalise(pixels.to(device), self.model.spec)).float()
            texts = self.model.embed_texts(self.model.tokenize(captions).to(device)).float()
            similarity = (images * texts).sum(dim=-1).cpu().numpy()
            near = [nearest(images, target.vectors) for target in self.targets]
        ids = [self.pairs.images.image_id(row) for row in rows]
        if not np.isfinite(similarity).all():
            wrong = ids[int(np.isfinite(similarity).argmin())]
            raise InputError(f"the similarity of {wrong} is not a number; check the weights of {self.settings.model}")
        lengths = self.model.count_tokens(captions)
        columns = [ids, similarity, lengths, [length > self.context_length for length in lengths]]
        if self.settings.embeddings:
            for vectors in (images, texts):
                halves = pa.array(vectors.cpu().numpy().astype(np.float16).reshape(-1))
                columns.append(pa.FixedSizeListArray.from_arrays(halves, vectors.shape[1]))
        for target, (values, at) in zip(self.targets, near, strict=True):
            columns += [values.cpu().numpy(), target.ids.take(at.cpu().numpy())]
        return pa.table(columns, schema=self.schema)

    def write(self, path: Path, files: Sequence[Path], about: Mapping[str, Any]) -> int:
        """Write the scores of all parts as one file, and return their number."""
        schema = with_provenance(self.schema, about)
        kept = cut = 0
        with open_parquet_writer(path, schema) as writer:
            for start in range(0, len(files), _PARTS_AT_ONCE):
                some = files[start : start + _PARTS_AT_ONCE]
                table = pa.concat_tables(read_table(file).replace_schema_metadata() for file in some).combine_chunks()
                kept += len(table)
                cut += pc.sum(table["cut"]).as_py() or 0
                writer.write_table(table.cast(schema))
        if cut:
            words = "%s of %s captions are longer than the model's %d tokens"
            log.info(words, f"{cut:,}", f"{kept:,}", self.context_length)
        return kept


def _broken_rows(part: Path) -> pa.Table:
    broken = provenance(read_schema(part))["broken"]
    ids, reasons = [image_id for image_id, _ in broken], [reason for _, reason in broken]
    return outcome_rows(Outcome.BROKEN_IMAGE, len(ids), image_id=ids, wnid=[*map(wnid_of, ids)], detail=reasons)


def _about(scorer: Scorer, shards: Shards) -> dict[str, Any]:
    """Return what the scores depend on, for the file's metadata."""
    from imagenet_captions.models.weights import weights_digest

    model = scorer.model
    ids = {
        target.name: hashlib.sha256("\n".join(target.ids.to_pylist()).encode()).hexdigest() for target in scorer.targets
    }
    return {
        "inputs": {"dataset": shards.digest, "weights": weights_digest(model), **({"against": ids} if ids else {})},
        "settings": scorer.settings.recorded(shards.manifest),
        "model": {
            "name": model.name,
            "context_length": scorer.context_length,
            "preprocessing": {**asdict(model.spec), "mean": list(model.spec.mean), "std": list(model.spec.std)},
        },
        "made_with": {name: version(name) for name in ("imagenet-captions", "torch")},
    }
