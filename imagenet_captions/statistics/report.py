"""Show what `stats` measured: tables, and an HTML page that loads nothing from the network, whatever its texts are."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import textwrap
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, ImageOps

from imagenet_captions.dataset.sampling import sampling_key
from imagenet_captions.dataset.shards import Shards
from imagenet_captions.errors import aligned, first_of, markdown_table
from imagenet_captions.flickr.photos import allows_sharing, find_license
from imagenet_captions.imagenet.image_ids import wnid_of
from imagenet_captions.imagenet.published_counts import COUNTED_ROWS, PAPER_ROWS, published_counts, reconcile
from imagenet_captions.images.sources import ImageSource
from imagenet_captions.outcomes import share
from imagenet_captions.statistics.collect import ClassStats, Distribution, Stats, collect
from imagenet_captions.statistics.settings import StatsSettings, Thumbnails
from imagenet_captions.storage.faults import require
from imagenet_captions.storage.files import csv_text
from imagenet_captions.storage.outputs import producing
from imagenet_captions.storage.places import Place

Cell = str | int

_MOST_LANGUAGES, _MOST_CLASSES = 12, 5
_QUANTILES = (("p10", 0.1), ("median", 0.5), ("p90", 0.9))
_WIDEST = 100  # of a line of text
_FIGURE = re.compile(r"(?:[0-9.,]+(?: %)?(?: \(.*\))?)?")
_MARKDOWN = re.compile(r"([\\`*_\[\]{}<>|#~$&])")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")

_PAGE = Path(__file__).with_name("page")
_CARDS = 200
_COLUMNS = "image_id class_name title description tags language photo_id owner_name license photo_page".split()
_SIDE, _QUALITY = 320, 72  # of a small picture: about 12 KB
_FLICKR_PAGE = re.compile(r"https?://(?:www\.)?flickr\.com/[A-Za-z0-9@/_.%-]+")


def write_stats(dataset: Place, settings: StatsSettings, overwrite: bool = False) -> Stats:
    """Measure a dataset, and write the files that are asked for."""
    if settings.html is not None:
        require("report", "`html`", "jinja2")
    with producing(settings.outputs(), [dataset, settings.images], overwrite) as partials:
        index = None if settings.images is None else ImageSource(settings.images)
        shards = Shards(dataset)
        measured = collect(shards, index)
        tables = sections(measured)
        texts = {
            settings.csv: lambda: per_class_csv(measured),
            settings.markdown: lambda: as_markdown(tables),
            settings.counts: lambda: counts_tsv(measured),
            settings.frequencies: lambda: frequencies_tsv(measured),
            settings.html: lambda: report(shards, measured, index, settings.thumbnails),
        }
        for partial, file in zip(partials, settings.outputs(), strict=True):
            partial.write_text(texts[file](), encoding="utf-8", newline="")
    return measured


@dataclass(frozen=True)
class Section:
    """A table with a title; numbers are aligned to the right."""

    key: str  # short and stable: the funnel, the languages …
    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]
    note: str = ""
    whole: int = 0  # the total of the second column, for bars; 0 if its numbers are not parts of one

    @property
    def right(self) -> list[int]:
        """Return the columns that are aligned to the right: numbers and shares."""
        others = range(1, len(self.columns))
        return [at for at in others if all(_FIGURE.fullmatch(str(row[at])) for row in self.rows)]


def sections(stats: Stats) -> list[Section]:
    """Return all tables of a dataset's statistics, in reading order."""
    found = []
    if stats.funnel:
        total = sum(stats.funnel.values())
        ended = [*((outcome.value, count) for outcome, count in stats.funnel.items()), ("input", total)]
        found.append(_shares("funnel", "How the inputs ended", ("outcome", "inputs"), ended, total))
    counts = [*stats.filled.items(), ("names its class", stats.names_class)]
    if stats.images is not None:
        counts.insert(-1, ("image", stats.images))
    found.append(_shares("coverage", f"What the {stats.rows:,} rows have", ("field", "rows"), counts, stats.rows))
    found.append(_published(stats))
    if stats.on_disk is not None:
        with_image = stats.images or 0
        without = stats.rows - with_image
        held: list[tuple[Cell, ...]] = [
            ("images given", stats.on_disk, ""),
            ("classes among them", sum(1 for entry in stats.classes if entry.on_disk), ""),
            ("images with a caption", with_image, share(with_image, stats.on_disk)),
            ("rows without an image", without, share(without, stats.rows)),
        ]
        found.append(Section("images", "Images and captions", ("", "count", "share"), held))
    tags = (
        ("tags in all", stats.all_tags),
        ("different tags", stats.unique_tags),
        ("tags a row, on average", f"{stats.all_tags / max(1, stats.rows):.2f}"),
    )
    shared = stats.duplicates
    repeats = (
        f"{shared.rows:,} rows ({share(shared.rows, stats.rows)}) share their caption with another row; "
        f"captions that occur more than once: {shared.texts:,}."
    )
    left_over = [
        (field, *(f"{count:,} ({share(count, stats.rows)})" for count in counts.values()))
        for field, counts in stats.markup.items()
    ]
    signs = "Rows with something that looks like it; in titles and tags <b> stays as it was typed."
    return [
        *found,
        _frequencies(stats),
        _languages(stats),
        _lengths("words", "Words in a caption", stats.words),
        _lengths("characters", "Characters in a caption", stats.characters),
        _licenses(stats),
        Section("tags", "Tags", ("", "count"), tags, "Different tags: upper and lower case are the same."),
        Section("duplicates", "Duplicate captions", ("caption", "rows"), shared.most, repeats),
        Section("markup", "Markup left over", ("field", "like HTML tags", "entities", "addresses"), left_over, signs),
    ]


def _shares(
    key: str, title: str, columns: tuple[str, str], counts: Iterable[tuple[str, int]], whole: int, note: str = ""
) -> Section:
    rows = [(name, count, share(count, whole)) for name, count in counts]
    return Section(key, title, (*columns, "share"), rows, note, whole)


def _published(stats: Stats) -> Section:
    """Compare the rows with the paper's number and a user's count, and list the classes that differ most."""
    classes, reasons = reconcile({entry.wnid: entry.rows for entry in stats.classes})
    furthest = sorted(classes, key=lambda count: (-abs(count.difference), count.wnid))[:_MOST_CLASSES]
    counts = [
        ("the paper's images", PAPER_ROWS, stats.rows),
        ("entries that a user counted in the public file", COUNTED_ROWS, stats.rows),
        *((f"{each.class_name} ({each.wnid})", each.published, each.ours) for each in furthest if each.difference),
    ]
    rows = [(name, published, here, f"{here - published:+,}") for name, published, here in counts]
    note = "; ".join(reasons) + ". All classes are in the CSV."
    columns = ("what", "published", "here", "difference")
    return Section("published", "Beside the published captions", columns, rows, note)


def _frequencies(stats: Stats) -> Section:
    def named(entry: ClassStats) -> str:
        return f"{entry.name} ({entry.wnid})"

    per_class = Distribution(Counter(entry.rows for entry in stats.classes))
    ordered = sorted((entry for entry in stats.classes if entry.rows), key=lambda entry: entry.rows)
    empty = [named(entry) for entry in stats.classes if not entry.rows]
    rows: list[tuple[Cell, ...]] = [
        ("classes with rows", len(ordered), ""),
        ("classes without any", len(empty), first_of(empty)),
        *((f"{name} of all classes", round(per_class.quantile(at)), "") for name, at in _QUANTILES),
        *(("rarest", entry.rows, named(entry)) for entry in ordered[:_MOST_CLASSES]),
        *(("most frequent", entry.rows, named(entry)) for entry in reversed(ordered[-_MOST_CLASSES:])),
    ]
    return Section("frequencies", "Rows per class", ("", "rows", "class"), rows)


def _languages(stats: Stats) -> Section:
    counts = [("not detected" if code is None else code, count) for code, count in stats.languages.items()]
    note = "und: title and description have fewer than three letters."
    if set(stats.languages) <= {None}:
        counts = []
        note = "The languages were not detected when this dataset was made." if stats.rows else ""
    if rest := counts[_MOST_LANGUAGES:]:
        counts[_MOST_LANGUAGES:] = [(f"{len(rest):,} others", sum(count for _, count in rest))]
    return _shares("languages", "Languages", ("language", "rows"), counts, stats.rows, note)


def _lengths(key: str, title: str, lengths: Distribution) -> Section:
    total = sum(lengths.counts.values())
    mean = sum(value * count for value, count in lengths.counts.items()) / max(1, total)
    figures = [("mean", mean), *((name, lengths.quantile(at)) for name, at in _QUANTILES)]
    most = max(lengths.counts, default=0)
    note = ", ".join(f"{name} {value:,.1f}" for name, value in figures) + f", most {most:,}."
    counts = [
        (f"{first:,}" if first == last else f"{first:,} to {last:,}", count) for first, last, count in lengths.bins()
    ]
    return _shares(key, title, (key, "rows"), counts, total, note.capitalize())


def _licenses(stats: Stats) -> Section:
    counts = []
    for number, count in stats.licenses.items():
        known = find_license(number)
        unknown = "not known" if number is None else f"Flickr's number {number}"
        counts.append((known.name if known else unknown, count))
    note = "As Flickr stated them when it was asked." if set(stats.licenses) - {None} else ""
    return _shares("licenses", "Licenses", ("license", "rows"), counts, stats.rows, note)


def as_text(sections: Iterable[Section]) -> str:
    """Return the sections for a terminal, separated by blank lines."""
    parts = []
    for section in sections:
        lines = [section.title]
        if section.rows:
            left = set(range(len(section.columns))).difference(section.right)
            table = aligned([section.columns, *(tuple(map(_shown, row)) for row in section.rows)], left)
            lines += [f"  {line}" for line in table]
        if section.note:
            lines.append(textwrap.fill(section.note, _WIDEST, initial_indent="  ", subsequent_indent="  "))
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def as_markdown(sections: Iterable[Section]) -> str:
    """Return the sections as a Markdown page; texts of photographers are escaped."""
    lines = ["# ImageNet-Captions: statistics", ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        if section.rows:
            rows = [[*map(_escaped, row)] for row in section.rows]
            lines += [markdown_table(section.columns, rows, section.right), ""]
        if section.note:
            lines += [_escaped(section.note), ""]
    return "\n".join(lines)


def _shown(cell: Cell) -> str:
    return f"{cell:,}" if isinstance(cell, int) else _UNPRINTABLE.sub(" ", cell)


def _escaped(cell: Cell) -> str:
    return _MARKDOWN.sub(r"\\\1", _shown(cell))


def per_class_csv(stats: Stats) -> str:
    """Return a CSV with one line per class; unknown counts are empty."""
    names = [field.name for field in fields(ClassStats)]
    rows: list[list[object]] = [[*names, "average_tags", "captioned", "published"]]
    for entry in stats.classes:
        average = f"{entry.all_tags / entry.rows:.2f}" if entry.rows else ""
        captioned = f"{(entry.images or 0) / entry.on_disk:.4f}" if entry.on_disk else ""
        published = published_counts().get(entry.wnid, "")
        rows.append([*(getattr(entry, name) for name in names), average, captioned, published])
    return csv_text(rows)


def counts_tsv(stats: Stats) -> str:
    """Return the rows per class in the format that `filter` reads for `like`: a header, then wnid and count."""
    return "wnid\tcount\n" + "".join(f"{entry.wnid}\t{entry.rows}\n" for entry in stats.classes)


def frequencies_tsv(stats: Stats) -> str:
    """Return the rows per class as name and count, in the order of the labels, without a header."""
    return "".join(f"{entry.name}\t{entry.rows}\n" for entry in stats.classes)


def report(
    shards: Shards, stats: Stats, images: ImageSource | None = None, thumbnails: Thumbnails = Thumbnails.OPEN
) -> str:
    """Return the HTML report of a dataset, with a sample of its rows and small pictures of their images, if it has any.

    The page contains copies of photos; by default it shows only photos whose license allows that. jinja2 escapes all
    texts, and a content security policy allows only the scripts and images of the page itself.
    """
    import jinja2
    from markupsafe import Markup

    style, script = ((_PAGE / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    loader = jinja2.FileSystemLoader(_PAGE)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["share"] = share
    cards = gallery(shards, images, thumbnails)
    left_out = Counter(card["left_out"] for card in cards if card["left_out"])
    page = environment.get_template("report.html").render(
        name=shards.dataset.resolve().name,
        made_with=shards.manifest.made_with.get("imagenet-captions", ""),
        stats=stats,
        sections=sections(stats),
        cards=cards,
        hidden=thumbnails is Thumbnails.NONE,
        left_out=", ".join(f"{count:,} {reason}" for reason, count in sorted(left_out.items())),
        policy=f"default-src 'none'; img-src data:; style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'; "
        "base-uri 'none'; form-action 'none'",
        style=Markup(style),
        script=Markup(script),
        curve=sorted((entry.rows for entry in stats.classes), reverse=True),
    )
    return page + "\n"


def gallery(shards: Shards, images: ImageSource | None, thumbnails: Thumbnails) -> list[dict[str, Any]]:
    """Choose rows by a hash of their ids, spread over the classes; only rows with an image, if any has one.

    `thumbnails` decides which of them show their photo; the others show the reason.
    """
    if images is None and "image" in shards.schema().names:
        images = ImageSource(shards.dataset)
    every, held = [], []
    for batch in shards.read(["image_id", "photo_id"]):
        every += batch["image_id"].to_pylist()
        if images is not None:
            found = pc.or_(*(pc.is_in(batch[name], images.keys) for name in ("image_id", "photo_id")))
            held += batch["image_id"].filter(found).to_pylist()
    wanted, cards = pa.array(choose(held or every, _CARDS), pa.string()), {}
    for batch in shards.read(_COLUMNS):
        for row in batch.filter(pc.is_in(batch["image_id"], wanted)).to_pylist():
            number, page, left_out = row["license"], row["photo_page"], ""
            if held and thumbnails is Thumbnails.OPEN and not allows_sharing(number):  # a page is a copy
                left_out = "license not known" if number is None else "all rights reserved"
            cards[row["image_id"]] = row | {
                "left_out": left_out,
                "language": None if row["language"] == "und" else row["language"],
                "license": find_license(number),
                "page": page if page and _FLICKR_PAGE.fullmatch(page) else None,
                "picture": None,
            }
    if images is not None and thumbnails is not Thumbnails.NONE:
        shown = [card for card in cards.values() if not card["left_out"]]
        keys = {key: card for card in shown for key in (card["photo_id"], card["image_id"]) if key}
        for key, data in images.read(keys):
            keys[key]["picture"] = keys[key]["picture"] or picture(data)
    return [cards[image_id] for image_id in wanted.to_pylist()]


def choose(image_ids: Iterable[str], count: int) -> list[str]:
    """Choose from ids: one of every class, then a second one, and so on.

    A hash of the id decides the order within a class and within a round, so the choice is the same everywhere.
    """
    rounds, earlier = {}, Counter[str]()
    for image_id in sorted(image_ids, key=lambda each: sampling_key(each, 0)):
        rounds[image_id] = earlier[wnid_of(image_id)]
        earlier[wnid_of(image_id)] += 1
    return sorted(rounds, key=rounds.__getitem__)[:count]


def picture(data: bytes) -> tuple[str, int, int] | None:
    """Return a small JPEG as a data URL, its width and its height; None for an image that cannot be decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            opened = Image.open(io.BytesIO(data))
        opened.draft("RGB", (2 * _SIDE, 2 * _SIDE))
        small = ImageOps.exif_transpose(opened).convert("RGB")
        small.thumbnail((_SIDE, _SIDE))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None
    out = io.BytesIO()
    small.save(out, "JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode(), *small.size
