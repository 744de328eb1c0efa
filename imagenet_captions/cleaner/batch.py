"""Clean one batch of raw records into dataset rows: the pure core of `clean`."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.captions import mentions
from imagenet_captions.captions.camera_names import without_camera_names
from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.captions.compose import compose_captions, join_filled
from imagenet_captions.cleaner.columns import clean_descriptions, clean_tags, clean_titles
from imagenet_captions.cleaner.language import detect_languages
from imagenet_captions.cleaner.settings import CleanSettings
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.class_sets import ClassSet
from imagenet_captions.outcomes import Outcome
from imagenet_captions.schema import CAPTIONS

# A dataset row, or one that becomes a drop: `outcome` tells.
CLEANED = CAPTIONS.append(pa.field("outcome", pa.string(), nullable=False))


def clean_batch(batch: pa.RecordBatch, settings: CleanSettings) -> pa.RecordBatch:
    """Clean a RAW batch into a CLEANED one, row by row in the same order.

    A record without title, tags and description is `no_text`, whatever the template; a camera's file name is not
    a title here. As published, every record has its row. Records on the denylist are dropped before this function.
    """
    texts = (_published_texts if settings.as_published else clean_texts)(batch, settings.template)
    titles, descriptions, tags = texts["title"], texts["description"], texts["tags"]
    telling = without_camera_names(titles)
    nothing = pc.and_(pc.equal(telling, ""), pc.equal(descriptions, ""))
    nothing = pc.and_(nothing, pc.equal(pc.list_value_length(tags), 0))
    nothing = pc.and_(nothing, not settings.as_published)
    labels, names = _classes(batch["wnid"], settings.classes)
    mentioned = mentions.matcher(among=settings.classes).find(mentions.join_fields([titles, descriptions, tags]))
    if settings.language:
        languages, scores = detect_languages(join_filled([telling, descriptions]))
    else:
        languages, scores = pa.nulls(len(batch), pa.string()), pa.nulls(len(batch), pa.float32())
    made = {
        "filename": pc.binary_join_element_wise(batch["image_id"], ".JPEG", ""),
        "label": labels,
        "class_name": names,
        **texts,
        "language": languages,
        "language_score": scores,
        "mentions": mentions.as_text(mentioned),
        "names_class": mentions.contains(mentioned, labels),
        "raw_title": batch["title"],
        "raw_description": batch["description"],
        "raw_tags": batch["tags"],
        "outcome": _outcomes(labels, nothing),
        "detail": _details(batch["detail"], titles, nothing),
    }
    columns = [made[name] if name in made else batch[name] for name in CLEANED.names]
    return pa.RecordBatch.from_arrays(
        [column.cast(field.type) for column, field in zip(columns, CLEANED, strict=True)], schema=CLEANED
    )


def clean_texts(batch: pa.RecordBatch, template: CaptionTemplate) -> dict[str, pa.Array]:
    """Return the cleaned `title`, `description`, `tags` and `caption` of a RAW batch."""
    texts = {
        "title": clean_titles(batch["title"]),
        "description": clean_descriptions(batch["description"]),
        "tags": clean_tags(batch["tags"]),
    }
    return {**texts, "caption": compose_captions(template, {"image_id": batch["image_id"], **texts})}


def _published_texts(batch: pa.RecordBatch, template: CaptionTemplate) -> dict[str, pa.Array]:
    """Return the texts of a RAW batch as they are, and their caption."""
    texts = {"title": batch["title"], "description": batch["description"], "tags": batch["tags"]}
    return {**texts, "caption": compose_captions(template, {"image_id": batch["image_id"], **texts})}


def _classes(wnids: pa.Array, among: ClassSet) -> tuple[pa.Array, pa.Array]:
    encoded = wnids.dictionary_encode()
    present = encoded.dictionary.to_pylist()
    known = [classes.by_wnid(wnid, among) if classes.is_class(wnid, among) else None for wnid in present]
    labels = pa.array([-1 if found is None else found.index for found in known], pa.int64())
    names = pa.array(["" if found is None else found.name for found in known], pa.string())
    return labels.take(encoded.indices), names.take(encoded.indices)


def _outcomes(labels: pa.Array, nothing: pa.Array) -> pa.Array:
    outcome = pc.if_else(nothing, Outcome.NO_TEXT.value, Outcome.KEPT.value)
    return pc.if_else(pc.less(labels, 0), Outcome.UNKNOWN_CLASS.value, outcome)


def _details(remarks: pa.Array, titles: pa.Array, nothing: pa.Array) -> pa.Array:
    """Return the source's remark, followed by the reason where a row has no text."""
    why = pc.if_else(pc.equal(titles, ""), "nothing in title, tags, description", "nothing but a camera's file name")
    return pc.if_else(nothing, join_filled([pc.fill_null(remarks, ""), why], "; "), remarks)
