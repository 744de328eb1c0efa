"""Score a dataset: a Parquet file with the similarity of each image and its caption, keyed by image id."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.dataset.manifest import Manifest, read_manifest, unchanged
from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.scoring.pairs import open_pairs
from imagenet_captions.evaluation.scoring.parts import Parts
from imagenet_captions.evaluation.scoring.settings import ScoreSettings
from imagenet_captions.evaluation.settings import Reading
from imagenet_captions.imagenet.image_ids import wnid_of
from imagenet_captions.outcomes import Outcome, count_outcomes, outcome_rows, outcomes_path
from imagenet_captions.schema import provenance, with_provenance
from imagenet_captions.storage.faults import require
from imagenet_captions.storage.files import MANIFEST, sha256
from imagenet_captions.storage.outputs import producing
from imagenet_captions.storage.parquet import open_parquet_writer, read_schema, read_table, write_table
from imagenet_captions.storage.places import PlaceLike, local_place
from imagenet_captions.storage.progress import progress

if TYPE_CHECKING:
    from imagenet_captions.evaluation.scoring.compute import Scorer

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

    with producing([out], [dataset, *settings.files()], overwrite, [outcomes_path(out)]) as new, unchanged(dataset):
        manifest = read_manifest(dataset)
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
    from imagenet_captions.evaluation.scoring.compute import Scorer
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
