"""What a dataset says of itself: the card, README.md, and `croissant.json`.

`croissant.json` has the format of MLCommons, version 1.1:
https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html. The fields that begin with `rai:` are those of its
extension for responsible AI, the minimal ones that NeurIPS asks for since 2026.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imagenet_captions.dataset.shards import VERSION, Manifest
from imagenet_captions.errors import markdown_table, printable
from imagenet_captions.flickr.photos import find_license
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.outcomes import OUTCOMES, OUTCOMES_FILE, Outcome, share

UNKNOWN_LANGUAGE = "und"
_SMALLEST_SHARE = 1000  # a language of fewer rows than one in so many is mostly errors of the detector
_BOUNDS = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")  # of the Hub's size categories
_KEYWORDS = ("imagenet", "flickr", "captions", "image-text", "clip", "robustness")
TERMS = "https://www.image-net.org/download.php"
_HEADER = """\
---
pretty_name: ImageNet-Captions
license: other
license_name: photographers-and-imagenet-terms
license_link: {terms}
{lists}
configs:
- config_name: default
  default: true
  data_files:
  - split: train
    path: data/train-*.parquet
- config_name: raw
  data_files:
  - split: train
    path: raw/train-*.parquet
---
"""
_FLICKR = "\nThis product uses the Flickr API but is not endorsed or certified by SmugMug, Inc.\n"
_YFCC = """\
- rows with `source` `yfcc100m` come from YFCC100M's metadata of 2014: the license is the one of that year, and tags
  may be normalized (Flickr turns "New York City" into "newyorkcity"); `outcomes.parquet` marks the rows in which all
  tags are normalized"""
_RIGHTS = """\
## License and removal

The texts and photos belong to the people who made them. `license` is the number of the license that Flickr stated
when it was asked about the photo. It is null without an answer, and the photographer may have changed the license
since. Name the owner and link to `photo_page` when you show a row. The images come from ImageNet; its terms of access
allow non-commercial research and education. The authors published the collection of texts under the MIT license.
{flickr}
If you own a photo and want it removed, contact the person who gave you this copy. Everyone who holds a copy must remove
a photo's text and image within 24 hours of the owner's request.
"""
BIBTEX = """\
@inproceedings{fang2022data,
  title     = {Data Determines Distributional Robustness in Contrastive Language Image Pre-training ({CLIP})},
  author    = {Fang, Alex and Ilharco, Gabriel and Wortsman, Mitchell and Wan, Yuhao and Shankar, Vaishaal
               and Dave, Achal and Schmidt, Ludwig},
  booktitle = {International Conference on Machine Learning},
  year      = {2022},
  note      = {arXiv:2205.01397}
}
"""


@dataclass(frozen=True, kw_only=True)
class DatasetFacts(Manifest):
    """The manifest of a dataset, and what else its card says; all of it depends on its inputs and settings alone."""

    rows: int
    shards_a_config: int
    by_class: Mapping[str, int]  # wnid → rows, of those that have at least one
    filled: Mapping[str, int]  # column → rows in which it is neither empty nor false; images are not among them
    languages: Mapping[str, int]
    sources: Mapping[str, int]
    licenses: Mapping[int, int]  # Flickr's number → rows
    retrieved: tuple[str, str] | None  # the first and the last day, such as 2026-11-03
    repeated: int  # rows with a caption that another row has too

    @property
    def origin(self) -> str:
        """Return the name of the part of ImageNet that the images are from."""
        return "the ILSVRC-2012 training set" if self.classes is ClassSet.ILSVRC2012 else "ImageNet (fall 2011)"

    @property
    def funnel(self) -> dict[Outcome, int]:
        """Return the number of inputs per outcome."""
        return {Outcome(name): count for name, count in self.counts.items()}

    def common_languages(self) -> list[str]:
        """Return the codes of the languages that at least one row in a thousand has, sorted; English without any."""
        common = [code for code, count in self.languages.items() if count * _SMALLEST_SHARE >= self.rows]
        return sorted({*common} - {UNKNOWN_LANGUAGE}) or ["en"]


def card(facts: DatasetFacts) -> str:
    """Return the card as Markdown, with the YAML header that `load_dataset` and the hub read.

    It depends on the facts alone and holds no date, path or machine name.
    """
    tasks = ["image-classification", "zero-shot-image-classification", "image-to-text"]
    digits = len(str(facts.rows)) - len("1000")  # of the Hub's size categories, which end at 1T
    size = "n<1K" if digits < 0 else "n>1T" if digits > 8 else f"{_BOUNDS[digits]}<n<{_BOUNDS[digits + 1]}"
    lists = {
        "tags": _KEYWORDS,
        "task_categories": ["text-classification"] if facts.images is None else tasks,
        "language": map(json.dumps, facts.common_languages()),  # quoted: YAML reads no (Norwegian) as false
        "size_categories": [size],
    }
    listed = "\n".join(f"{name}:\n" + "\n".join(f"- {value}" for value in values) for name, values in lists.items())
    header = _HEADER.format(terms=TERMS, lists=listed)
    flickr = _FLICKR if "flickr" in facts.sources else ""
    parts = [header, _summary(facts), _columns(facts), *_datasheet(facts), _how(facts)]
    return "\n".join([*parts, _RIGHTS.format(flickr=flickr), f"## Citation\n\n```bibtex\n{BIBTEX}```\n"])


def _summary(facts: DatasetFacts) -> str:
    images, image, lacking = "no images", "", ""
    if facts.images is not None:
        images, image = f"{facts.images:,} images", ", the image"
        if missing := facts.rows - facts.images:
            lacking = f"{missing:,} rows have no image, because the given images do not include it."
    made = "cleaned texts, a `caption` made from them"
    if facts.as_published:
        made = "the exact texts of the source, a `caption` joined from them"
    order = """\
Rows are sorted by `image_id`, and so by class. A stream in this order shows few classes at a time, so shuffle
the rows for training."""
    if facts.shuffled is not None:
        order = f"Rows are shuffled for training with the seed {facts.shuffled}, over {facts.shards_a_config:,} shards."
    return f"""\
# ImageNet-Captions

Images of {facts.origin} with what their photographers wrote about them on Flickr: title, description
and tags. {facts.rows:,} rows with {images}, in {len(facts.by_class):,} of {facts.classes.shown}.
{lacking}
- config `default`: {made}, the language{image}
- config `raw`: the same rows with the exact texts of the source

`label` is the position of the class's wnid among the sorted wnids. The names of the labels are the wnids, because two
classes may share a name; `class_name` is the readable name. `outcomes.parquet` says how each input ended, and
`manifest.json` holds the SHA-256 of each file.

{order}
"""


def _columns(facts: DatasetFacts) -> str:
    filled = {**facts.filled, **({} if facts.images is None else {"image": facts.images})}
    rows = [(f"`{name}`", f"{count:,}", share(count, facts.rows)) for name, count in filled.items()]
    table = markdown_table(("column", "rows with a value", "share"), rows, right=(1, 2))
    lines = ["## What the columns hold", "", table, ""]
    if facts.languages:
        told = ", ".join(f"{_code(code)} {count:,}" for code, count in _most(facts.languages)[:10])
        lines.append(f"Most frequent languages: {told}.")
        lines.append("`und` marks rows whose title and description have fewer than three letters.")
    else:
        lines.append("`language` and `language_score` are null in every row, because languages were not detected.")
    lines.append("`mentions` lists the labels of all classes that title, description and tags name, between spaces;")
    lines.append("`names_class` is true if the row's own class is among them.")
    return "\n".join([*lines, ""])


def _datasheet(facts: DatasetFacts) -> Iterator[str]:
    """Yield the lines of the section; a table says where the dataset's sources lack its numbers."""
    survival = facts.measured.get("survival", {})
    yield from ("## Datasheet", "")
    if facts.measured and facts.settings.get("filter"):
        yield from ("Survival was counted before this dataset was filtered.", "")

    yield from ("Survival of the listed photos, by year of upload:", "")
    years: Mapping[str, Sequence[int]] = survival.get("years", {})
    rows = [(html.escape(year), f"{asked:,}", f"{have:,}", share(have, asked)) for year, (have, asked) in years.items()]
    have, asked = (sum(count[at] for count in years.values()) for at in (0, 1))
    unknown = "not known: Flickr was not asked about photos, so none is known to be gone"
    rows.append(("all", f"{asked:,}", f"{have:,}", share(have, asked)) if years else (unknown, "", "", ""))
    columns = ("uploaded", "listed photos that Flickr was asked about", "that answer", "share")
    yield from (markdown_table(columns, rows, right=(1, 2, 3)), "")
    if years:
        yield "Flickr numbers photos in order of upload, so a deleted photo counts for the year of nearby numbers."
        yield ""

    yield from ("Licenses as the source stated them; a deleted photo has none:", "")
    survived: Mapping[str, int] = survival.get("licenses", {})
    licenses = {int(number): count for number, count in survived.items()} or facts.licenses
    total = sum(licenses.values())
    stated = []
    for number, count in sorted(licenses.items()):
        known = find_license(number)
        stated.append((f"{number} {known.name}" if known else f"{number}", f"{count:,}", share(count, total)))
    unknown = "not known: the source states no licenses"
    what = "listed photos that answer" if survived else "rows"
    yield from (markdown_table(("license", what, "share"), stated or [(unknown, "", "")], right=(1, 2)), "")

    names_class = facts.filled.get("names_class", 0)
    texts = [
        ("name their own class", f"{names_class:,}", share(names_class, facts.rows)),
        ("have a caption that another row has too", f"{facts.repeated:,}", share(facts.repeated, facts.rows)),
    ]
    yield from (markdown_table(("rows that", "rows", "share"), texts, right=(1, 2)), "")
    if facts.as_published:
        yield "The texts are those of the source: no cleaning rule was applied."
    else:
        yield "The texts were cleaned by fixed rules; the config `raw` holds them as the source gave them."
    yield ""


def _how(facts: DatasetFacts) -> str:
    total = sum(facts.funnel.values())
    lines = ["## Where the inputs went", "", "| outcome | inputs | share | meaning |", "|---|---:|---:|---|"]
    for outcome, count in facts.funnel.items():
        lines.append(f"| `{outcome.value}` | {count:,} | {share(count, total)} | {outcome.meaning} |")
    lines += [f"| input | {total:,} | {share(total, total)} | |", ""]
    sources = ", ".join(f"{_code(name)} {count:,}" for name, count in sorted(facts.sources.items()))
    lines += ["## How it was made", "", f"- texts from: {sources or 'nowhere'}"]
    if "yfcc100m" in facts.sources:
        lines.append(_YFCC)
    lines += [f"- input {_code(role)}: SHA-256 {_code(digest)}" for role, digest in sorted(facts.inputs.items())]
    lines += [f"- setting {_code(name)}: {_code(value)}" for name, value in sorted(facts.settings.items())]
    lines += [f"- made with {name} {version}" for name, version in sorted(facts.made_with.items())]
    return "\n".join([*lines, ""])


def _most(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _code(value: object) -> str:
    """Return a value of a stranger's file as code, from which it cannot break out."""
    text = printable(str(value)).replace("\n", " ").replace("`", "'")
    return f"`{text}`"


COLLECTION = "https://github.com/mlfoundations/imagenet-captions"
_OF_FLICKR = "https://www.flickr.com/creativecommons/"
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

# Of each source of texts: its address, what it is, and its license.
_SOURCES = {
    "flickr": ("https://www.flickr.com/", "Flickr's answers about the photos", _OF_FLICKR),
    "release": (COLLECTION, "the published ImageNet-Captions", f"{COLLECTION}/blob/main/license.md"),
    "yfcc100m": ("https://arxiv.org/abs/1503.01817", "the metadata of YFCC100M, of 2014", _OF_FLICKR),
}
_TERMS_OF_TEXTS = (
    "Texts and photos belong to the people who made them. `license` is the number of the license that Flickr stated "
    "when it was asked about the photo, and null without an answer."
)
_IMAGES = "The images are under ImageNet's terms of access: non-commercial research and education."
_MOST_SHOWN = 5


def croissant(facts: DatasetFacts, columns: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return the description of a dataset whose facts list its Parquet files; paths in it are those in the folder.

    `columns` has the Arrow type of each column of the configs `data` and `raw`. The description depends on the facts
    alone: no clock, path or machine name is in it.
    """
    images = "without the images" if facts.images is None else f"with {facts.images:,} images"
    terms = [] if facts.images is None else [TERMS]
    conditions = {"@type": "sc:CreativeWork", "name": "Conditions of use", "description": _TERMS_OF_TEXTS}
    if terms:
        conditions |= {"description": f"{_TERMS_OF_TEXTS} {_IMAGES}", "url": TERMS}
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
        for name, entry in sorted(facts.files.items())
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
        f"{facts.rows:,} rows, {images}, in {len(facts.by_class):,} of {facts.classes.shown}.",
        "url": COLLECTION,
        "version": f"{VERSION}.0.0",
        "datePublished": facts.retrieved[1] if facts.retrieved else _COLLECTED,
        "creator": {"@type": "sc:Organization", "name": "Fang et al., and the photographers of the images"},
        "citeAs": BIBTEX,
        "inLanguage": facts.common_languages(),
        "keywords": [*_KEYWORDS],
        "isLiveDataset": False,
        "license": [*sorted({_SOURCES[name][2] for name in facts.sources if name in _SOURCES}), *terms],
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
    derived += [_SOURCES[name][:2] for name in sorted(facts.sources) if name in _SOURCES]
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
        common = [each for each in _most(facts.languages) if each[0] != UNKNOWN_LANGUAGE]
        told = ", ".join(f"{code} {share(count, facts.rows)}" for code, count in common[:_MOST_SHOWN])
        biases.append(f"Most frequent languages: {told or 'none was detected'}.")
    if facts.by_class:
        most, least = max(facts.by_class.values()), min(facts.by_class.values())
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
