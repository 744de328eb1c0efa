"""`croissant.json` of a dataset: its files, columns, origin and limits in the format of MLCommons, version 1.1.

The specification is https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html; `responsible_use` has the
fields of its extension for responsible AI, the minimal ones that NeurIPS asks for since 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imagenet_captions.dataset.card import BIBTEX, UNKNOWN_LANGUAGE, DatasetFacts
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


def croissant(
    facts: DatasetFacts, files: Mapping[str, FileEntry], columns: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    """Return the description of a dataset with these Parquet files; paths in it are those in the folder.

    `columns` has the Arrow type of each column of the configs `data` and `raw`. The description depends on the facts
    and the files alone: no clock, path or machine name is in it.
    """
    images = "without the images" if facts.images is None else f"with {facts.images:,} images"
    conditions = {"@type": "sc:CreativeWork", "name": "Conditions of use", "description": _RIGHTS}
    if facts.images is not None:
        conditions |= {"description": f"{_RIGHTS} {_IMAGES}", "url": TERMS}
    distribution = [
        {
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            "contentUrl": name,
            "contentSize": f"{entry.bytes} B",
            "encodingFormat": _PARQUET,
            "sha256": entry.sha256,
        }
        for name, entry in sorted(files.items())
    ]
    outcomes = {column.name: str(column.type) for column in OUTCOMES}
    records = []
    for config, (folder, about) in _CONFIGS.items():
        files_of_config = {
            "@type": "cr:FileSet",
            "@id": f"{config}-files",
            "name": f"{config}-files",
            "encodingFormat": _PARQUET,
            "includes": f"{folder}/train-*.parquet",
        }
        distribution.append(files_of_config)
        record = _record_set(config, about, columns[folder], {"fileSet": {"@id": f"{config}-files"}})
        records.append({**record, "key": {"@id": f"{config}/image_id"}})
    about = "How every input ended, the kept ones included."
    records.append(_record_set("outcomes", about, outcomes, {"fileObject": {"@id": OUTCOMES_FILE}}))
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": "ImageNet-Captions",
        "description": f"Images of {facts.origin} with what their photographers wrote about them on Flickr: "
        f"{facts.rows:,} rows, {images}, in {len(facts.classes):,} of {facts.among.shown}.",
        "url": COLLECTION,
        "version": f"{VERSION}.0.0",
        "datePublished": facts.retrieved[1] if facts.retrieved else _COLLECTED,
        "creator": {"@type": "sc:Organization", "name": "Fang et al., and the photographers of the images"},
        "citeAs": BIBTEX,
        "inLanguage": facts.common_languages(),
        "keywords": ["ImageNet", "Flickr", "captions", "image-text pairs", "CLIP", "robustness"],
        "isLiveDataset": False,
        "license": _RIGHTS if facts.images is None else [_RIGHTS, TERMS],
        "usageInfo": conditions,
        **_provenance(facts),
        **_responsible_use(facts),
        "distribution": distribution,
        "recordSet": records,
    }


def _record_set(name: str, about: str, columns: Mapping[str, str], source: dict[str, Any]) -> dict[str, Any]:
    fields = []
    for column, kind in columns.items():
        found: dict[str, Any] = {
            "@type": "cr:Field",
            "@id": f"{name}/{column}",
            "name": f"{name}/{column}",
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
        fields.append(found)
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "description": about, "field": fields}


def _provenance(facts: DatasetFacts) -> dict[str, Any]:
    """Return what a dataset was derived from, when the texts were retrieved, and what made it."""
    derived = [("https://www.image-net.org/", f"{facts.origin}: images, labels and ids")]
    derived += [_ORIGINS[name] for name in sorted(facts.sources) if name in _ORIGINS]
    derived += [(f"urn:sha256:{digest}", f"input {role}") for role, digest in sorted(facts.inputs.items())]
    made_with = " and ".join(f"{name} {version}" for name, version in sorted(facts.made_with.items()))
    activities = [{"@type": "prov:Activity", "prov:label": f"cleaned and packaged with {made_with}"}]
    if facts.settings.get("filter"):
        activities.append({"@type": "prov:Activity", "prov:label": "filtered; manifest.json has the conditions"})
    if facts.retrieved:
        first, last = facts.retrieved
        asked = {"@type": "prov:Activity", "prov:label": "retrieved from Flickr's API"}
        activities.insert(0, {**asked, "prov:startedAtTime": first, "prov:endedAtTime": last})
    return {
        "prov:wasDerivedFrom": [{"@id": at, "@type": "prov:Entity", "prov:label": label} for at, label in derived],
        "prov:wasGeneratedBy": activities,
        "prov:wasAttributedTo": {"@type": "prov:Agent", "prov:label": "the photographers of the images"},
    }


def _responsible_use(facts: DatasetFacts) -> dict[str, Any]:
    """Return the fields of the extension for responsible AI."""
    total = sum(facts.funnel.values())
    others = [(outcome, count) for outcome, count in facts.funnel.items() if outcome is not Outcome.KEPT]
    lost = "; ".join(f"{count:,} {outcome.value} ({outcome.meaning})" for outcome, count in others)
    names = [("title", "a title"), ("description", "a description"), ("tags", "tags"), ("license", "a known license")]
    have = [f"{share(facts.filled.get(name, 0), facts.rows)} {words}" for name, words in names]
    limits = [f"Of the rows, {', '.join(have)}."]
    if facts.images is not None and facts.images < facts.rows:
        limits.append(f"{facts.rows - facts.images:,} rows have no image.")
    if "names_class" in facts.filled:
        named = share(facts.filled["names_class"], facts.rows)
        limits.append(f"Texts say what a photographer chose to say: {named} of them name the class of their image.")
        limits.append(f"{share(facts.repeated, facts.rows)} of the rows have a caption that another row has too.")
    if years := facts.measured.get("survival", {}).get("years"):
        answered, asked = (sum(count[at] for count in years.values()) for at in (0, 1))
        limits.append(f"Of {asked:,} listed photos that Flickr was asked about, {share(answered, asked)} answered.")
    biases = ["The photographers are people who shared photos on Flickr before 2012, in the languages that they speak."]
    if facts.languages:
        known = {code: count for code, count in facts.languages.items() if code != UNKNOWN_LANGUAGE}
        common = sorted(known.items(), key=lambda item: (-item[1], item[0]))[:_MOST_SHOWN]
        told = ", ".join(f"{code} {share(count, facts.rows)}" for code, count in common)
        biases.append(f"Most frequent languages: {told or 'none was detected'}.")
    if facts.classes:
        most, least = max(facts.classes.values()), min(facts.classes.values())
        biases.append(f"Classes differ in size: the largest has {most:,} rows, the smallest {least:,}.")
    found: dict[str, Any] = {
        "rai:dataCollection": "Photographers wrote the texts for Flickr, not for this dataset; ImageNet's annotators "
        "chose the images and gave them classes.",
        "rai:dataCollectionMissingData": f"{facts.rows:,} of {total:,} inputs are in the dataset. "
        f"Of the others: {lost or 'none'}.",
        "rai:dataLimitations": limits,
        "rai:dataBiases": biases,
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
