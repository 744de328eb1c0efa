"""The dataset card, README.md: what a dataset is, how it was made, what it lacks, and who owns it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imagenet_captions.imagenet.class_sets import ClassSet
from imagenet_captions.outcomes import Outcome, share

_SIZES = (("n<1K", 1_000), ("1K<n<10K", 10_000), ("10K<n<100K", 100_000), ("100K<n<1M", 1_000_000))
_FLICKR = "\nThis product uses the Flickr API but is not endorsed or certified by SmugMug, Inc.\n"
_YFCC = """\
- rows whose `source` is `yfcc100m` have what YFCC100M's metadata of 2014 says of the photo: the licence is that of
  then, and tags may be normalised (Flickr makes "newyorkcity" of "New York City"); `outcomes.parquet` marks the rows
  whose tags all are"""
_RIGHTS = """\
## Licence and removal

The texts and the photos belong to the people who made them. `license` is the number of the licence that Flickr stated
for a photo when it was asked (null where nobody asked); a photographer may have changed it since. Name the owner and
link to `photo_page` when you show a row. The images are those of ImageNet, under ImageNet's terms of access: research
and education that earns nothing. The collection of texts was published under MIT by its authors.
{flickr}
If you are the owner of a photo and want it out, tell whoever gave you this copy. Whoever holds one has to take a
photo's text and image out within 24 hours of its owner's request.
"""
_CITATION = """\
## Citation

```bibtex
@inproceedings{fang2022data,
  title     = {Data Determines Distributional Robustness in Contrastive Language Image Pre-training ({CLIP})},
  author    = {Fang, Alex and Ilharco, Gabriel and Wortsman, Mitchell and Wan, Yuhao and Shankar, Vaishaal
               and Dave, Achal and Schmidt, Ludwig},
  booktitle = {International Conference on Machine Learning},
  year      = {2022},
  note      = {arXiv:2205.01397}
}
```
"""


@dataclass(frozen=True)
class CardFacts:
    """The facts about one dataset that a card states."""

    rows: int
    classes: int  # that have at least one row
    images: int | None  # None without an image column
    filled: Mapping[str, int]
    languages: Mapping[str, int]
    sources: Mapping[str, int]
    funnel: Mapping[Outcome, int]
    inputs: Mapping[str, str]
    settings: Mapping[str, Any]
    made_with: Mapping[str, str]


def card(facts: CardFacts) -> str:
    """Return the card as Markdown, with the YAML header that `load_dataset` and the hub read.

    It depends on the facts alone and holds no date, path or machine name.
    """
    flickr = _FLICKR if "flickr" in facts.sources else ""
    parts = [_header(facts), _summary(facts), _columns(facts), _funnel(facts), _how(facts)]
    return "\n".join([*parts, _RIGHTS.format(flickr=flickr), _CITATION])


def _header(facts: CardFacts) -> str:
    size = next((name for name, limit in _SIZES if facts.rows < limit), "n>1M")
    tasks = ["image-classification", "zero-shot-image-classification", "image-to-text"]
    found = [code for code in facts.languages if code != "und"] or ["en"]
    return "\n".join(
        [
            "---",
            "pretty_name: ImageNet-Captions",
            "license: other",
            "license_name: photographers-and-imagenet-terms",
            "task_categories:",
            *[f"- {task}" for task in (tasks if facts.images is not None else ["text-classification"])],
            "language:",
            *[f'- "{code}"' for code in sorted(found)],  # quoted, because YAML reads no (Norwegian) as false
            "size_categories:",
            f"- {size}",
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
    )


def _summary(facts: CardFacts) -> str:
    among = ClassSet.recorded(facts.settings)
    origin = "the ILSVRC-2012 training set" if among is ClassSet.ILSVRC2012 else "ImageNet (fall 2011)"
    images = "no images" if facts.images is None else f"{facts.images:,} images"
    image = "" if facts.images is None else ", the image"
    made = "the texts cleaned, a `caption` made of them"
    if facts.settings.get("as_published"):
        made = "the texts as the source gave them, a `caption` joined of them"
    lacking = 0 if facts.images is None else facts.rows - facts.images
    return f"""\
# ImageNet-Captions

Images of {origin} with what their photographers wrote about them on Flickr: title, description
and tags. {facts.rows:,} rows with {images}, in {facts.classes:,} of {among.shown}.
{f"{lacking:,} rows have no image: the images given did not have it." if lacking else ""}
- config `default`: {made}, the language{image}
- config `raw`: the same rows, the texts exactly as the source gave them

`label` is the rank of the sorted wnids, and its names are the wnids, since several classes may have one name;
`class_name` is the name for people. `outcomes.parquet` says of every input how it ended, `manifest.json` holds the
SHA-256 of every file.
"""


def _columns(facts: CardFacts) -> str:
    lines = ["## What the columns hold", "", "| column | rows with a value | share |", "|---|---:|---:|"]
    filled = dict(facts.filled) if facts.images is None else {**facts.filled, "image": facts.images}
    lines += [f"| `{name}` | {count:,} | {share(count, facts.rows)} |" for name, count in filled.items()]
    lines.append("")
    if facts.languages:
        common = sorted(facts.languages.items(), key=lambda item: (-item[1], item[0]))[:10]
        lines.append("Most frequent languages: " + ", ".join(f"`{code}` {count:,}" for code, count in common) + ".")
        lines.append("`und` are rows whose title and description have under three letters.")
    else:
        lines.append("`language` and `language_score` are null throughout: the languages were not told.")
    lines.append("`mentions` has the labels of all classes that title, description and tags name, each between blanks;")
    lines.append("`names_class` is true where the row's own class is among them.")
    return "\n".join([*lines, ""])


def _funnel(facts: CardFacts) -> str:
    total = sum(facts.funnel.values())
    lines = ["## Where the inputs went", "", "| outcome | inputs | share | meaning |", "|---|---:|---:|---|"]
    lines += [
        f"| `{outcome.value}` | {count:,} | {share(count, total)} | {outcome.meaning} |"
        for outcome, count in facts.funnel.items()
    ]
    return "\n".join([*lines, f"| input | {total:,} | {share(total, total)} | |", ""])


def _how(facts: CardFacts) -> str:
    lines = ["## How it was made", ""]
    sources = ", ".join(f"`{name}` {count:,}" for name, count in sorted(facts.sources.items()))
    lines.append(f"- texts from: {sources or 'nowhere'}")
    if "yfcc100m" in facts.sources:
        lines.append(_YFCC)
    lines += [f"- input `{role}`: SHA-256 `{digest}`" for role, digest in sorted(facts.inputs.items())]
    lines += [f"- setting `{name}`: `{value}`" for name, value in sorted(facts.settings.items())]
    lines += [f"- made with {name} {version}" for name, version in sorted(facts.made_with.items())]
    return "\n".join([*lines, ""])
