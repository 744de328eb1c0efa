"""Show what `stats` measured: tables, and an HTML page that loads nothing from the network, whatever its texts are."""

from __future__ import annotations

import base64
import csv
import hashlib
import heapq
import io
import re
import textwrap
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, ImageOps

from imagenet_captions.dataset.sampling import sampling_key
from imagenet_captions.dataset.shards import Shards
from imagenet_captions.errors import aligned
from imagenet_captions.flickr.photos import allows_sharing, find_license
from imagenet_captions.imagenet.image_ids import wnid_of
from imagenet_captions.imagenet.published_counts import COUNTED_ROWS, PAPER_ROWS, published_counts, reconcile
from imagenet_captions.images.sources import ImageIndex
from imagenet_captions.outcomes import share
from imagenet_captions.statistics.collect import ClassStats, Distribution, Stats, collect
from imagenet_captions.statistics.settings import StatsSettings, Thumbnails
from imagenet_captions.storage.faults import require
from imagenet_captions.storage.outputs import producing
from imagenet_captions.storage.parquet import ParquetFile
from imagenet_captions.storage.places import Place
from imagenet_captions.storage.progress import progress

Cell = str | int

# Tables.
_MOST_LANGUAGES = 12
_MOST_CLASSES = 5
_MOST_EMPTY = 3
_QUANTILES = (("p10", 0.1), ("median", 0.5), ("p90", 0.9))
_WIDEST = 100  # of a line of text
_FIGURE = re.compile(r"(?:[0-9.,]+(?: %)?(?: \(.*\))?)?")
_MARKDOWN = re.compile(r"([\\`*_\[\]{}<>|#~$&])")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")

# The page.
_PAGE = Path(__file__).with_name("page")
_FIRST = ("funnel", "coverage", "images")  # the sections above the plots
_PLOTTED = ("words", "characters")
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 392.0, 14.0, 188.0  # of a plot in a drawing of 400 by 220
_CARDS = 200
_COLUMNS = "image_id class_name title description tags language photo_id owner_name license photo_page".split()
_SIDE, _QUALITY = 320, 72  # of a small picture: about 12 KB
_MOST_PIXELS = 60_000_000  # ImageNet's largest has 18 million
_LONGEST_TEXT = 2000  # of a description in the page
_IMAGES_AT_ONCE = 32  # in memory
_FLICKR_PAGE = re.compile(r"https?://(?:www\.)?flickr\.com/[A-Za-z0-9@/_.%-]+")


def write_stats(dataset: Place, settings: StatsSettings, overwrite: bool = False) -> str:
    """Measure a dataset, write the files that are asked for, and return the tables as text."""
    if settings.html is not None:
        require("report", "`html`", "jinja2")
    with producing(settings.outputs(), [dataset, settings.images], overwrite) as partials:
        index = None if settings.images is None else ImageIndex(settings.images)
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
    return as_text(tables)


# Tables, and their forms as text.


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
    def right(self) -> Sequence[bool]:
        """Return a mask of the columns that are aligned to the right: numbers and shares."""
        others = range(1, len(self.columns))
        return [False, *(all(_FIGURE.fullmatch(str(row[at])) for row in self.rows) for at in others)]


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
        found.append(_images(stats, stats.images or 0, stats.on_disk))
    found += [
        _frequencies(stats),
        _languages(stats),
        _lengths("words", "Words in a caption", stats.words),
        _lengths("characters", "Characters in a caption", stats.characters),
        _licenses(stats),
    ]
    tags = (
        ("tags in all", stats.all_tags),
        ("different tags", stats.unique_tags),
        ("tags a row, on average", f"{stats.all_tags / max(1, stats.rows):.2f}"),
    )
    found.append(Section("tags", "Tags", ("", "count"), tags, "Different tags: upper and lower case are the same."))
    shared = stats.duplicates
    note = (
        f"{shared.rows:,} rows ({share(shared.rows, stats.rows)}) share their caption with another row; "
        f"captions that occur more than once: {shared.texts:,}."
    )
    found.append(Section("duplicates", "Duplicate captions", ("caption", "rows"), shared.most, note))
    columns = ("field", "like HTML tags", "entities", "addresses")
    note = "Rows with something that looks like it; in titles and tags <b> stays as it was typed."
    left_over = [
        (field, *(f"{count:,} ({share(count, stats.rows)})" for count in counts.values()))
        for field, counts in stats.markup.items()
    ]
    found.append(Section("markup", "Markup left over", columns, left_over, note))
    return found


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
    return Section(
        "published", "Beside the published captions", ("what", "published", "here", "difference"), rows, note
    )


def _images(stats: Stats, images: int, on_disk: int) -> Section:
    without = stats.rows - images
    rows: list[tuple[Cell, ...]] = [
        ("images given", on_disk, ""),
        ("classes among them", sum(1 for entry in stats.classes if entry.on_disk), ""),
        ("images with a caption", images, share(images, on_disk)),
        ("rows without an image", without, share(without, stats.rows)),
    ]
    return Section("images", "Images and captions", ("", "count", "share"), rows)


def _frequencies(stats: Stats) -> Section:
    spread, ordered = stats.per_class, stats.rarest_first
    empty = [_named(entry) for entry in stats.classes if not entry.rows]
    more = f" and {len(empty) - _MOST_EMPTY:,} more" if len(empty) > _MOST_EMPTY else ""
    rows: list[tuple[Cell, ...]] = [
        ("classes with rows", len(ordered), ""),
        ("classes without any", len(empty), ", ".join(empty[:_MOST_EMPTY]) + more),
        *((f"{name} of all classes", round(spread.quantile(at)), "") for name, at in _QUANTILES),
        *(("rarest", entry.rows, _named(entry)) for entry in ordered[:_MOST_CLASSES]),
        *(("most frequent", entry.rows, _named(entry)) for entry in reversed(ordered[-_MOST_CLASSES:])),
    ]
    return Section("frequencies", "Rows per class", ("", "rows", "class"), rows)


def _named(entry: ClassStats) -> str:
    return f"{entry.name} ({entry.wnid})"


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
    figures = [("mean", lengths.mean), *((name, lengths.quantile(at)) for name, at in _QUANTILES)]
    note = ", ".join(f"{name} {value:,.1f}" for name, value in figures) + f", most {lengths.largest:,}."
    counts = [
        (f"{first:,}" if first == last else f"{first:,} to {last:,}", count) for first, last, count in lengths.bins()
    ]
    return _shares(key, title, (key, "rows"), counts, lengths.total, note.capitalize())


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
            left = [at for at, to_right in enumerate(section.right) if not to_right]
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
            lines.append("| " + " | ".join(section.columns) + " |")
            lines.append("|" + "|".join("---:" if to_right else "---" for to_right in section.right) + "|")
            lines += ["| " + " | ".join(map(_escaped, row)) + " |" for row in section.rows]
            lines.append("")
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
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*names, "average_tags", "captioned", "published"])
    for entry in stats.classes:
        average = f"{entry.all_tags / entry.rows:.2f}" if entry.rows else ""
        captioned = f"{(entry.images or 0) / entry.on_disk:.4f}" if entry.on_disk else ""
        published = published_counts().get(entry.wnid, "")
        writer.writerow([*(getattr(entry, name) for name in names), average, captioned, published])
    return out.getvalue()


def counts_tsv(stats: Stats) -> str:
    """Return the rows per class in the format that `filter` reads for `like`: a header, then wnid and count."""
    return "wnid\tcount\n" + "".join(f"{entry.wnid}\t{entry.rows}\n" for entry in stats.classes)


def frequencies_tsv(stats: Stats) -> str:
    """Return the rows per class as name and count, in the order of the labels, without a header."""
    return "".join(f"{entry.name}\t{entry.rows}\n" for entry in stats.classes)


# The page.


def report(
    shards: Shards, stats: Stats, images: ImageIndex | None = None, thumbnails: Thumbnails = Thumbnails.OPEN
) -> str:
    """Return the HTML report of a dataset, with a sample of its rows and small pictures of their images, if it has any.

    The page contains copies of photos; by default it shows only photos whose license allows that. jinja2 escapes all
    texts, and a content security policy allows only the scripts and images of the page itself.
    """
    import jinja2
    from markupsafe import Markup

    style, script = ((_PAGE / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["share"] = share
    tables = {section.key: section for section in sections(stats)}
    cards = gallery(shards, images, _CARDS, thumbnails)
    page = environment.get_template("report.html").render(
        name=shards.dataset.resolve().name,
        made_with=shards.manifest.made_with.get("imagenet-captions", ""),
        stats=stats,
        cards=cards,
        left_out=_note([card["left_out"] for card in cards]),
        policy=f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'",
        style=Markup(style),
        script=Markup(script),
        first=[tables[key] for key in tables if key in _FIRST],
        frequencies=tables["frequencies"],
        last=[tables[key] for key in tables if key not in (*_FIRST, "frequencies", *_PLOTTED)],
        curve=_curve(stats),
        lengths=[(tables[key], _columns(getattr(stats, key))) for key in _PLOTTED],
    )
    return page + "\n"


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


class Plot(NamedTuple):
    """Numbers as positions in a drawing. A tick is a position along its axis, and its label."""

    across: Sequence[tuple[float, str]]
    up: Sequence[tuple[float, str]]
    bars: Sequence[tuple[float, float, float, float]] = ()  # x, y, width, height
    area: str = ""  # an SVG path
    marks: Sequence[tuple[float, float, str]] = ()  # x, y, label


def _columns(lengths: Distribution) -> Plot:
    """Return a histogram in percent; its bins double in width, which makes the horizontal axis logarithmic."""
    bins = lengths.bins()
    percents = [100 * count / lengths.total if lengths.total else 0.0 for _, _, count in bins]
    steps = _steps(max(percents, default=0))
    wide = (_RIGHT - _LEFT) / max(1, len(bins))
    across, bars = [], []
    for number, ((first, _, _), percent) in enumerate(zip(bins, percents, strict=True)):
        x, y = _LEFT + number * wide, _height(percent, steps[-1])
        bars.append((round(x + 1, 1), y, round(wide - 2, 1), round(_BOTTOM - y, 1)))
        across.append((round(x, 1), f"{first // 1024}k" if first >= 1024 else str(first)))
    return Plot(across, [(_height(step, steps[-1]), f"{step:g} %") for step in steps], bars)


def _curve(stats: Stats) -> Plot:
    """Return the rows of each class, from the most frequent class to the rarest, with some marked values."""
    ordered = sorted((entry.rows for entry in stats.classes), reverse=True)
    steps = _steps(ordered[0])
    wide = (_RIGHT - _LEFT) / len(ordered)
    # One step per value; a line is drawn only where the height changes.
    path, last = [f"M{_LEFT:g},{_BOTTOM:g}"], None
    for number, value in enumerate(ordered):
        if value != last:
            path.append(f"{'' if last is None else f'H{_LEFT + number * wide:.1f}'}V{_height(value, steps[-1]):g}")
            last = value
    path.append(f"H{_RIGHT:g}V{_BOTTOM:g}Z")
    marks = []
    for name, part in reversed(_QUANTILES):
        at = min(len(ordered) - 1, int((1 - part) * len(ordered)))
        label = f"{name} {stats.per_class.quantile(part):,.0f}"
        marks.append((round(_LEFT + at * wide, 1), _height(ordered[at], steps[-1]), label))
    ranks = (0, len(ordered) // 2, len(ordered))
    across = [(round(_LEFT + rank * wide, 1), f"{rank:,}") for rank in ranks]
    up = [(_height(step, steps[-1]), f"{step:,.0f}") for step in steps]
    return Plot(across, up, area="".join(path), marks=marks)


def _height(value: float, largest: float) -> float:
    return round(_BOTTOM - (_BOTTOM - _TOP) * value / largest, 1)


def _steps(largest: float) -> list[float]:
    """Return three to five round numbers from 0 to at least the largest.

    >>> _steps(961), _steps(36.2), _steps(0)
    ([0.0, 250.0, 500.0, 750.0, 1000.0], [0.0, 10.0, 20.0, 30.0, 40.0], [0.0, 1.0])
    """
    if largest <= 1:
        return [0.0, 1.0]
    power = 10.0 ** (len(str(int(largest))) - 1)
    step = next(power * part for part in (0.25, 0.5, 1, 2.5, 5) if largest <= 4 * power * part)
    step = max(1.0, step)
    return [step * number for number in range(int(-(-largest // step)) + 1)]


def gallery(shards: Shards, images: ImageIndex | None, count: int, thumbnails: Thumbnails) -> list[dict[str, Any]]:
    """Choose rows by a hash of their ids, spread over the classes; only rows with an image, if any has one.

    `thumbnails` decides which of them show their photo; the others show the reason.
    """
    every, held = [], []
    own = images is None and "image" in shards.schema().names
    names = ["image_id", *(["image.path"] if own else ["photo_id"] if images else [])]
    for batch in shards.read(names):
        every += batch["image_id"].to_pylist()
        if images is not None:
            found = pc.or_(*(pc.is_in(batch[name], images.keys) for name in ("image_id", "photo_id")))
            held += batch["image_id"].filter(found).to_pylist()
        elif own:
            held += batch["image_id"].filter(pc.is_valid(batch["image"])).to_pylist()
    chosen = choose(held or every, count)
    wanted, rows = pa.array(chosen, pa.string()), {}
    for batch in shards.read(_COLUMNS):
        for row in batch.filter(pc.is_in(batch["image_id"], wanted)).to_pylist():
            row["left_out"] = _refusal(thumbnails, row["license"]) if held else ""
            rows[row["image_id"]] = row
    shown = {image_id: row for image_id, row in rows.items() if held and not row["left_out"]}
    pictures = _pictures(shards, shown, images)
    return [_card(rows[each], pictures.get(each)) for each in chosen]


def choose(image_ids: Iterable[str], count: int) -> list[str]:
    """Choose from ids: one of every class, then a second one, and so on.

    A hash of the id decides the order within a class and within a round, so the choice is the same everywhere.

    >>> choose(["n01440764_1", "n01440764_2", "n01443537_7"], 2)
    ['n01440764_1', 'n01443537_7']
    """
    ranked: list[tuple[int, bytes, str]] = []
    for _, ids in groupby(sorted(image_ids), wnid_of):
        first = heapq.nsmallest(count, ((sampling_key(image_id, 0), image_id) for image_id in ids))
        ranked = heapq.nsmallest(count, [*ranked, *((rank, *entry) for rank, entry in enumerate(first))])
    return [image_id for _, _, image_id in ranked]


def _refusal(thumbnails: Thumbnails, license_id: int | None) -> str:
    """Return the reason for leaving out a photo with this license; "" if it is shown.

    A page is a copy, and most photographers have reserved all rights.
    """
    if thumbnails is Thumbnails.NONE:
        return "not wanted"
    if thumbnails is Thumbnails.ALL or allows_sharing(license_id):
        return ""
    return "license not known" if license_id is None else "all rights reserved"


def _note(left_out: Sequence[str]) -> str:
    """Return a sentence about the photos left out, given the reason for each; "" if all are shown."""
    counts = Counter(filter(None, left_out))
    if not counts:
        return ""
    if counts["not wanted"]:
        return "Photos are not shown, because of --thumbnails none."
    why = ", ".join(f"{count:,} {reason}" for reason, count in sorted(counts.items()))
    return f"Photos not shown: {counts.total():,} of {len(left_out):,} ({why})."


class Picture(NamedTuple):
    """A small JPEG, as a data URL."""

    uri: str
    width: int
    height: int


def _pictures(shards: Shards, rows: Mapping[str, Mapping[str, Any]], images: ImageIndex | None) -> dict[str, Picture]:
    if images is None:
        held = _in_dataset(shards, pa.array(rows, pa.string()))
    else:
        keys = {key: image_id for image_id, row in rows.items() for key in (row["photo_id"], image_id) if key}
        held = ((keys[key], data) for key, data in images.read(keys))
    made: dict[str, Picture] = {}
    with progress("pictures", len(rows), "images") as bar:
        for image_id, data in held:
            if image_id not in made and (small := picture(data)) is not None:
                made[image_id] = small
                bar.update()
    return made


def _in_dataset(shards: Shards, wanted: pa.StringArray) -> Iterator[tuple[str, bytes]]:
    """Yield the images of these rows; a row group is read up to the last wanted row."""
    for file in shards.files() if len(wanted) else ():
        with ParquetFile(file) as opened:
            for group in range(opened.num_row_groups):
                ids = opened.read_row_group(group, columns=["image_id"])["image_id"]
                left = pc.sum(pc.is_in(ids, wanted)).as_py() or 0
                batches = opened.iter_batches(_IMAGES_AT_ONCE, row_groups=[group], columns=["image_id", "image.bytes"])
                while left:
                    batch = next(batches)
                    found = batch.filter(pc.is_in(batch["image_id"], wanted)).to_pylist()
                    left -= len(found)
                    yield from ((row["image_id"], row["image"]["bytes"]) for row in found)


def picture(data: bytes) -> Picture | None:
    """Return a small picture, or None for an image that cannot be decoded or is too large."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit follows
            opened = Image.open(io.BytesIO(data))
        if opened.width * opened.height > _MOST_PIXELS:
            return None
        opened.draft("RGB", (2 * _SIDE, 2 * _SIDE))
        small = ImageOps.exif_transpose(opened).convert("RGB")
        small.thumbnail((_SIDE, _SIDE))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    out = io.BytesIO()
    small.save(out, "JPEG", quality=_QUALITY, optimize=True)
    return Picture("data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode(), *small.size)


def _card(row: dict[str, Any], small: Picture | None) -> dict[str, Any]:
    """Return a row as the page shows it; only addresses of Flickr become links."""
    page, description, title = row["photo_page"], row["description"], row["title"]
    return {
        **row,
        "description": description if len(description) <= _LONGEST_TEXT else description[: _LONGEST_TEXT - 1] + "…",
        "language": None if row["language"] == "und" else row["language"],
        "license": find_license(row["license"]),
        "page": page if page and _FLICKR_PAGE.fullmatch(page) else None,
        "picture": small,
        "alt": f"{row['class_name']}: {title[:120]}" if title else f"Photo of class {row['class_name']}",
    }
