"""The HTML report: one page that loads nothing from the network, whatever its texts contain."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imagenet_captions.dataset.manifest import read_manifest
from imagenet_captions.images.sources import ImageIndex
from imagenet_captions.outcomes import share
from imagenet_captions.statistics.gallery import Card, gallery
from imagenet_captions.statistics.plots import Columns, Curve, columns, curve
from imagenet_captions.statistics.render import right_columns
from imagenet_captions.statistics.result import Stats
from imagenet_captions.statistics.sections import Section, sections
from imagenet_captions.statistics.thumbnails import Thumbnails, note
from imagenet_captions.storage.faults import require
from imagenet_captions.storage.places import Place

_PAGE = Path(__file__).with_name("page")
_CARDS = 200


@dataclass(frozen=True)
class ReportPage:
    """The content of the HTML report."""

    name: str  # of the dataset's folder
    stats: Stats
    cards: Sequence[Card]
    made_with: str


def report(
    dataset: Place, stats: Stats, images: ImageIndex | None = None, thumbnails: Thumbnails = Thumbnails.OPEN
) -> str:
    """Return the HTML report of a dataset, with a sample of its rows and small pictures of their images, if it has any.

    The page contains copies of photos; by default it shows only photos whose license allows that.

    Raises InputError if jinja2 is not installed.
    """
    check_installed()
    version = read_manifest(dataset).made_with.get("imagenet-captions", "")
    return render(ReportPage(dataset.resolve().name, stats, gallery(dataset, images, _CARDS, thumbnails), version))


def check_installed() -> None:
    """Raise InputError if jinja2 is not installed."""
    require("report", "`html`", "jinja2")


def render(shown: ReportPage) -> str:
    """Return the page as HTML.

    jinja2 escapes all texts, and a content security policy allows only the scripts and images of the page itself.
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
    made = {section.key: section for section in sections(shown.stats)}
    page = environment.get_template("report.html").render(
        report=shown,
        stats=shown.stats,
        left_out=note(card.left_out for card in shown.cards),
        policy=f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'",
        style=Markup(style),
        script=Markup(script),
        first=[_Shown(made[key]) for key in made if key in _FIRST],
        classes=_Shown(made["frequencies"]),
        last=[_Shown(made[key]) for key in made if key not in (*_FIRST, *_PLOTTED)],
        frequencies=_frequencies(shown.stats),
        lengths=[
            _Length("words", "Words in a caption", columns(shown.stats.words), made["words"].note),
            _Length("characters", "Characters in a caption", columns(shown.stats.characters), made["characters"].note),
        ],
    )
    return page + "\n"


_FIRST = ("funnel", "coverage", "images")
_PLOTTED = ("frequencies", "words", "characters")


@dataclass(frozen=True)
class _Shown:
    """A section with the layout of its table."""

    section: Section

    @property
    def right(self) -> Sequence[bool]:
        return right_columns(self.section)


@dataclass(frozen=True)
class _Length:
    """A histogram with its title and note."""

    key: str
    title: str
    plot: Columns
    note: str


def _frequencies(stats: Stats) -> Curve:
    spread = stats.per_class
    marked = [
        (1 - at, f"{name} {spread.quantile(at):,.0f}") for name, at in (("p90", 0.9), ("median", 0.5), ("p10", 0.1))
    ]
    return curve([entry.rows for entry in stats.classes], marked)


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
