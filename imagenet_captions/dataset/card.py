"""The dataset card, README.md: what a dataset is, how it was made, what it lacks, and who owns it."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imagenet_captions.dataset.shards import shuffled_with
from imagenet_captions.errors import printable
from imagenet_captions.flickr.photos import find_license
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.outcomes import Outcome, share

UNKNOWN_LANGUAGE = "und"
_SMALLEST_SHARE = 1000  # a language of fewer rows than one in so many is mostly errors of the detector
_BOUNDS = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")  # of the Hub's size categories
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


@dataclass(frozen=True)
class DatasetFacts:
    """The facts about one dataset; they depend on its inputs and settings alone."""

    rows: int
    shards: int  # of each config
    classes: Mapping[str, int]  # wnid → rows, of those that have at least one
    images: int | None  # None without an image column
    filled: Mapping[str, int]
    languages: Mapping[str, int]
    sources: Mapping[str, int]
    retrieved: tuple[str, str] | None  # the first and the last day, such as 2026-11-03
    funnel: Mapping[Outcome, int]
    inputs: Mapping[str, str]
    settings: Mapping[str, Any]
    made_with: Mapping[str, str]
    licenses: Mapping[int, int] = field(default_factory=dict)  # Flickr's number → rows
    repeated: int = 0  # rows with a caption that another row has too
    measured: Mapping[str, Any] = field(default_factory=dict)  # of `Origin`

    @property
    def origin(self) -> str:
        """Return the name of the part of ImageNet that the images are from."""
        return "the ILSVRC-2012 training set" if self.among is ClassSet.ILSVRC2012 else "ImageNet (fall 2011)"

    @property
    def among(self) -> ClassSet:
        """Return the set of classes that `label` counts over."""
        return ClassSet.recorded(self.settings)

    def common_languages(self) -> list[str]:
        """Return the codes of the languages that at least one row in a thousand has, sorted; English without any."""
        common = [code for code, count in self.languages.items() if count * _SMALLEST_SHARE >= self.rows]
        return sorted({*common} - {UNKNOWN_LANGUAGE}) or ["en"]


def card(facts: DatasetFacts) -> str:
    """Return the card as Markdown, with the YAML header that `load_dataset` and the hub read.

    It depends on the facts alone and holds no date, path or machine name.
    """
    flickr = _FLICKR if "flickr" in facts.sources else ""
    parts = [_header(facts), _summary(facts), _columns(facts), *_datasheet(facts), _funnel(facts), _how(facts)]
    return "\n".join([*parts, _RIGHTS.format(flickr=flickr), f"## Citation\n\n```bibtex\n{BIBTEX}```\n"])


def size_category(rows: int) -> str:
    """Return the Hub's name for a number of rows.

    >>> [size_category(rows) for rows in (999, 1000, 463_622, 14_197_122, 10**12)]
    ['n<1K', '1K<n<10K', '100K<n<1M', '10M<n<100M', 'n>1T']
    """
    at = len(str(rows)) - len("1000")
    if at < 0:
        return f"n<{_BOUNDS[0]}"
    return f"{_BOUNDS[at]}<n<{_BOUNDS[at + 1]}" if at + 1 < len(_BOUNDS) else f"n>{_BOUNDS[-1]}"


def _header(facts: DatasetFacts) -> str:
    tasks = ["image-classification", "zero-shot-image-classification", "image-to-text"]
    lines = [
        "---",
        "pretty_name: ImageNet-Captions",
        "license: other",
        "license_name: photographers-and-imagenet-terms",
        "task_categories:",
        *[f"- {task}" for task in (["text-classification"] if facts.images is None else tasks)],
        "language:",
        *[f"- {json.dumps(code)}" for code in facts.common_languages()],  # quoted: YAML reads no (Norwegian) as false
        "size_categories:",
        f"- {size_category(facts.rows)}",
        "configs:",
        "- config_name: default",
        "  default: true",
        "  data_files:",
        "  - split: train",
        "    path: data/train-*.parquet",
        "- config_name: raw",
        "  data_files:",
        "  - split: train",
        "    path: raw/train-*.parquet",
        "---",
        "",
    ]
    return "\n".join(lines)


def _summary(facts: DatasetFacts) -> str:
    images, image, lacking = "no images", "", ""
    if facts.images is not None:
        images, image = f"{facts.images:,} images", ", the image"
        if missing := facts.rows - facts.images:
            lacking = f"{missing:,} rows have no image, because the given images do not include it."
    made = "cleaned texts, a `caption` made from them"
    if facts.settings.get("as_published"):
        made = "the exact texts of the source, a `caption` joined from them"
    order = """\
Rows are sorted by `image_id`, and so by class. A stream in this order shows few classes at a time, so shuffle
the rows for training."""
    if (seed := shuffled_with(facts.settings)) is not None:
        order = f"Rows are shuffled for training with the seed {seed}, over {facts.shards:,} shards."
    return f"""\
# ImageNet-Captions

Images of {facts.origin} with what their photographers wrote about them on Flickr: title, description
and tags. {facts.rows:,} rows with {images}, in {len(facts.classes):,} of {facts.among.shown}.
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
    lines = ["## What the columns hold", "", *_table(("column", "rows with a value", "share"), rows)]
    if facts.languages:
        common = sorted(facts.languages.items(), key=lambda item: (-item[1], item[0]))[:10]
        told = ", ".join(f"{_code(code)} {count:,}" for code, count in common)
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
    yield from _table(("uploaded", "listed photos that Flickr was asked about", "that answer", "share"), rows)
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
    yield from _table(("license", what, "share"), stated or [(unknown, "", "")])

    names_class = facts.filled.get("names_class", 0)
    texts = [
        ("name their own class", f"{names_class:,}", share(names_class, facts.rows)),
        ("have a caption that another row has too", f"{facts.repeated:,}", share(facts.repeated, facts.rows)),
    ]
    yield from _table(("rows that", "rows", "share"), texts)
    if facts.settings.get("as_published"):
        yield "The texts are those of the source: no cleaning rule was applied."
    else:
        yield "The texts were cleaned by fixed rules; the config `raw` holds them as the source gave them."
    yield ""


def _funnel(facts: DatasetFacts) -> str:
    total = sum(facts.funnel.values())
    lines = ["## Where the inputs went", "", "| outcome | inputs | share | meaning |", "|---|---:|---:|---|"]
    for outcome, count in facts.funnel.items():
        lines.append(f"| `{outcome.value}` | {count:,} | {share(count, total)} | {outcome.meaning} |")
    return "\n".join([*lines, f"| input | {total:,} | {share(total, total)} | |", ""])


def _how(facts: DatasetFacts) -> str:
    sources = ", ".join(f"{_code(name)} {count:,}" for name, count in sorted(facts.sources.items()))
    lines = ["## How it was made", "", f"- texts from: {sources or 'nowhere'}"]
    if "yfcc100m" in facts.sources:
        lines.append(_YFCC)
    lines += [f"- input {_code(role)}: SHA-256 {_code(digest)}" for role, digest in sorted(facts.inputs.items())]
    lines += [f"- setting {_code(name)}: {_code(value)}" for name, value in sorted(facts.settings.items())]
    lines += [f"- made with {name} {version}" for name, version in sorted(facts.made_with.items())]
    return "\n".join([*lines, ""])


def _code(value: object) -> str:
    """Return a value of a stranger's file as code, from which it cannot break out."""
    text = printable(str(value)).replace("\n", " ").replace("`", "'")
    return f"`{text}`"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    rule = "|---|" + "---:|" * (len(head) - 1)
    return [f"| {' | '.join(head)} |", rule, *(f"| {' | '.join(row)} |" for row in rows), ""]
