"""`croissant.json` of a dataset: its files, columns, origin and limits in the format of MLCommons, version 1.1.

The specification is https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html; `responsible` has the fields of
its extension for responsible AI.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imagenet_captions.dataset.describing.card import BIBTEX
from imagenet_captions.dataset.describing.columns import COLUMNS
from imagenet_captions.dataset.describing.facts import DatasetFacts
from imagenet_captions.dataset.describing.responsible import provenance, responsible_use, usage_info
from imagenet_captions.dataset.manifest import VERSION, FileEntry
from imagenet_captions.dataset.shard import ShardFile
from imagenet_captions.outcomes import OUTCOMES, OUTCOMES_FILE

COLLECTION = "https://github.com/mlfoundations/imagenet-captions"
_COLLECTED = "2022-05-03"  # the paper that published the collection
_PARQUET = "application/x-parquet"
_CR = (
    "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileProperty",
    "fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5", "parentField",
    "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator", "source",
    "subField", "transform",
)  # fmt: skip
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    **{name: f"cr:{name}" for name in _CR},
}
_TYPES = {"string": "sc:Text", "bool": "sc:Boolean", "float": "sc:Float"}  # the others by how they begin
_CONFIGS = {
    "default": ("data", "One row for each image: texts, caption, labels and origin."),
    "raw": ("raw", "The same rows, with the texts exactly as the source gave them."),
}


def croissant(facts: DatasetFacts, shards: Sequence[ShardFile], outcomes: FileEntry) -> dict[str, Any]:
    """Return the description of a dataset whose shards and outcomes are written; paths in it are those in the folder.

    It depends on the facts and the files alone: no clock, path or machine name is in it.
    """
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": "ImageNet-Captions",
        "description": _description(facts),
        "url": COLLECTION,
        "version": f"{VERSION}.0.0",
        "datePublished": facts.retrieved[1] if facts.retrieved else _COLLECTED,
        "creator": {"@type": "sc:Organization", "name": "Fang et al., and the photographers of the images"},
        "citeAs": BIBTEX,
        "inLanguage": facts.common_languages(),
        "keywords": ["ImageNet", "Flickr", "captions", "image-text pairs", "CLIP", "robustness"],
        "isLiveDataset": False,
        **usage_info(facts),
        **provenance(facts),
        **responsible_use(facts),
        "distribution": _distribution(shards, outcomes),
        "recordSet": _record_sets(shards),
    }


def _description(facts: DatasetFacts) -> str:
    images = "without the images" if facts.images is None else f"with {facts.images:,} images"
    return (
        f"Images of {facts.origin} with what their photographers wrote about them on Flickr: {facts.rows:,} rows, "
        f"{images}, in {len(facts.classes):,} of {facts.among.shown}."
    )


def _distribution(shards: Sequence[ShardFile], outcomes: FileEntry) -> list[dict[str, Any]]:
    """List every Parquet file with its SHA-256, and for each config the set of its files, which its fields read."""
    files = [(shard.name, shard.sha256, shard.bytes) for shard in shards]
    files.append((OUTCOMES_FILE, outcomes.sha256, outcomes.bytes))
    objects = [
        {
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            "contentUrl": name,
            "contentSize": f"{size} B",
            "encodingFormat": _PARQUET,
            "sha256": digest,
        }
        for name, digest, size in sorted(files)
    ]
    return objects + [
        {
            "@type": "cr:FileSet",
            "@id": f"{config}-files",
            "name": f"{config}-files",
            "encodingFormat": _PARQUET,
            "includes": f"{folder}/train-*.parquet",
        }
        for config, (folder, _) in _CONFIGS.items()
    ]


def _record_sets(shards: Sequence[ShardFile]) -> list[dict[str, Any]]:
    found = []
    for config, (folder, about) in _CONFIGS.items():
        columns = next(shard.columns for shard in shards if shard.name.startswith(f"{folder}/"))
        found.append(_record_set(config, about, columns, {"fileSet": {"@id": f"{config}-files"}}))
        found[-1]["key"] = {"@id": f"{config}/image_id"}
    columns = {field.name: str(field.type) for field in OUTCOMES}
    source = {"fileObject": {"@id": OUTCOMES_FILE}}
    return [*found, _record_set("outcomes", "How every input ended, the kept ones included.", columns, source)]


def _record_set(name: str, about: str, columns: Mapping[str, str], source: dict[str, Any]) -> dict[str, Any]:
    fields = [_field(f"{name}/{column}", column, kind, source) for column, kind in columns.items()]
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "description": about, "field": fields}


def _field(name: str, column: str, kind: str, source: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": name,
        "name": name,
        "description": COLUMNS[column],
        "source": {**source, "extract": {"column": column}},
    }
    if kind.startswith("struct"):
        found["dataType"] = "sc:ImageObject"
        found["source"]["transform"] = {"jsonPath": "bytes"}
    elif kind.startswith("list"):
        found.update(dataType="sc:Text", isArray=True, arrayShape="-1")
    else:
        other = "sc:DateTime" if kind.startswith("timestamp") else "sc:Integer"
        found["dataType"] = _TYPES.get(kind, other)
    return found
