"""`croissant.json` of a dataset: its files, columns, origin and limits in the format of MLCommons, version 1.1.

The specification is https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html; `responsible_use` has the
fields of its extension for responsible AI, the minimal ones that NeurIPS asks for since 2026.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imagenet_captions.dataset.card import BIBTEX
from imagenet_captions.dataset.facts import UNKNOWN_LANGUAGE, DatasetFacts, ShardFile
from imagenet_captions.dataset.shards import VERSION, FileEntry
from imagenet_captions.outcomes import OUTCOMES, OUTCOMES_FILE, Outcome, share

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


TERMS = "https://www.image-net.org/download.php"
_ORIGINS = {
    "flickr": ("https://www.flickr.com/", "Flickr's answers about the photos"),
    "release": ("https://github.com/mlfoundations/imagenet-captions", "the published ImageNet-Captions"),
    "yfcc100m": ("https://arxiv.org/abs/1503.01817", "the metadata of YFCC100M, of 2014"),
}
_RIGHTS = (
    "Texts and photos belong to the people who made them. `license` is the number of the license that Flickr stated "
    "when it was asked about the photo, and null without an answer."
)
_IMAGES = "The images are under ImageNet's terms of access: non-commercial research and education."
_MOST_SHOWN = 5


def usage_info(facts: DatasetFacts) -> dict[str, Any]:
    """Return the license of a dataset and the conditions of its use."""
    conditions = {"@type": "sc:CreativeWork", "name": "Conditions of use", "description": _RIGHTS}
    if facts.images is not None:
        conditions |= {"description": f"{_RIGHTS} {_IMAGES}", "url": TERMS}
    return {"license": _RIGHTS if facts.images is None else [_RIGHTS, TERMS], "usageInfo": conditions}


def provenance(facts: DatasetFacts) -> dict[str, Any]:
    """Return what a dataset was derived from, when the texts were retrieved, and what made it."""
    derived = [_entity("https://www.image-net.org/", f"{facts.origin}: images, labels and ids")]
    derived += [_entity(*_ORIGINS[name]) for name in sorted(facts.sources) if name in _ORIGINS]
    derived += [_entity(f"urn:sha256:{digest}", f"input {role}") for role, digest in sorted(facts.inputs.items())]
    made_with = " and ".join(f"{name} {version}" for name, version in sorted(facts.made_with.items()))
    activities = [{"@type": "prov:Activity", "prov:label": f"cleaned and packaged with {made_with}"}]
    if facts.settings.get("filter"):
        activities.append({"@type": "prov:Activity", "prov:label": "filtered; manifest.json has the conditions"})
    if facts.retrieved:
        first, last = facts.retrieved
        asked = {"@type": "prov:Activity", "prov:label": "retrieved from Flickr's API"}
        activities.insert(0, {**asked, "prov:startedAtTime": first, "prov:endedAtTime": last})
    return {
        "prov:wasDerivedFrom": derived,
        "prov:wasGeneratedBy": activities,
        "prov:wasAttributedTo": {"@type": "prov:Agent", "prov:label": "the photographers of the images"},
    }


def _entity(address: str, label: str) -> dict[str, str]:
    return {"@id": address, "@type": "prov:Entity", "prov:label": label}


def responsible_use(facts: DatasetFacts) -> dict[str, Any]:
    """Return the fields of the extension for responsible AI."""
    found: dict[str, Any] = {
        "rai:dataCollection": "Photographers wrote the texts for Flickr, not for this dataset; ImageNet's annotators "
        "chose the images and gave them classes.",
        "rai:dataCollectionMissingData": _missing(facts),
        "rai:dataLimitations": _limitations(facts),
        "rai:dataBiases": _biases(facts),
        "rai:personalSensitiveInformation": "Texts may name people and places. `owner`, `owner_name` and `photo_page` "
        "name the photographer, as attribution requires. Photos may show people.",
        "rai:dataUseCases": "Training and testing models of images and text, and measuring how data affects their "
        "robustness. Not for finding out about the people who are named or shown.",
        "rai:dataSocialImpact": "Research on how training data affects robustness needs texts with a known origin. "
        "Models trained on them repeat the biases above.",
        "rai:hasSyntheticData": False,
        "rai:dataReleaseMaintenancePlan": "Everyone who holds a copy must remove a photo's text and image within "
        "24 hours of the owner's request; `imagenet-captions` has a denylist for this.",
    }
    if facts.retrieved:
        found["rai:dataCollectionTimeFrame"] = list(facts.retrieved)
    return found


def _missing(facts: DatasetFacts) -> str:
    total = sum(facts.funnel.values())
    others = [(outcome, count) for outcome, count in facts.funnel.items() if outcome is not Outcome.KEPT]
    lost = [f"{count:,} {outcome.value} ({outcome.meaning})" for outcome, count in others]
    return f"{facts.rows:,} of {total:,} inputs are in the dataset. Of the others: {'; '.join(lost) or 'none'}."


def _limitations(facts: DatasetFacts) -> list[str]:
    names = [("title", "a title"), ("description", "a description"), ("tags", "tags"), ("license", "a known license")]
    have = [f"{share(facts.filled.get(name, 0), facts.rows)} {words}" for name, words in names]
    found = [f"Of the rows, {', '.join(have)}."]
    if facts.images is not None and facts.images < facts.rows:
        found.append(f"{facts.rows - facts.images:,} rows have no image.")
    if "names_class" in facts.filled:
        named = share(facts.filled["names_class"], facts.rows)
        found.append(f"Texts say what a photographer chose to say: {named} of them name the class of their image.")
        found.append(f"{share(facts.repeated, facts.rows)} of the rows have a caption that another row has too.")
    if years := facts.measured.get("survival", {}).get("years"):
        have, asked = (sum(count[at] for count in years.values()) for at in (0, 1))
        found.append(f"Of {asked:,} listed photos that Flickr was asked about, {share(have, asked)} answered.")
    return found


def _biases(facts: DatasetFacts) -> list[str]:
    found = ["The photographers are people who shared photos on Flickr before 2012, in the languages that they speak."]
    if facts.languages:
        known = {code: count for code, count in facts.languages.items() if code != UNKNOWN_LANGUAGE}
        common = sorted(known.items(), key=lambda item: (-item[1], item[0]))[:_MOST_SHOWN]
        told = ", ".join(f"{code} {share(count, facts.rows)}" for code, count in common)
        found.append(f"Most frequent languages: {told or 'none was detected'}.")
    if facts.classes:
        most, least = max(facts.classes.values()), min(facts.classes.values())
        found.append(f"Classes differ in size: the largest has {most:,} rows, the smallest {least:,}.")
    return found


COLUMNS = {
    "image_id": "ImageNet's id of the image, such as n01440764_10026; unique within the dataset.",
    "filename": "The file name of the image in ImageNet.",
    "wnid": "The WordNet id of the class that ImageNet's annotators gave the image.",
    "label": "The class as a number: the position of its wnid among the sorted wnids.",
    "label_original": "The position of the wnid among all of ImageNet's classes.",
    "class_name": "The readable name of the class; two classes may share a name.",
    "title": "The title that the photographer gave the photo.",
    "description": "The description that the photographer wrote.",
    "tags": "The tags that the photographer gave the photo.",
    "caption": "The caption, made from the texts by the caption template in manifest.json.",
    "language": "The detected language of title and description, as an ISO 639 code.",
    "language_score": "The detector's confidence, from 0 to 1.",
    "photo_id": "Flickr's id of the photo.",
    "owner": "Flickr's id of the photo's owner.",
    "owner_name": "The name of the photo's owner on Flickr.",
    "license": "The number of the license that Flickr stated for the photo.",
    "date_taken": "When the photo was taken, by the camera's clock.",
    "date_posted": "When the photo was uploaded to Flickr.",
    "photo_page": "The address of the photo's page on Flickr.",
    "source": "The origin of the texts: flickr, release or yfcc100m.",
    "retrieved_at": "When Flickr was asked about the photo.",
    "mentions": "The labels of all classes that the texts name, in ascending order, a space around each.",
    "names_class": "Whether the texts name the row's own class.",
    "image": "The bytes of the image file, unchanged.",
    "outcome": "How the input ended; `kept` is in the dataset.",
    "detail": "A remark about the outcome.",
    "count": "The number of inputs that the row stands for.",
}
