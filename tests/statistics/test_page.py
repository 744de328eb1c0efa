"""The page in a real browser, headless: what stands on it after its script ran."""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import imagenet_captions as ic
from imagenet_captions.dataset.shards import Shards
from imagenet_captions.packager.package import PackageSettings, package
from imagenet_captions.statistics.report import report
from imagenet_captions.statistics.settings import Thumbnails
from tests.command_line import HANGS_AFTER
from tests.packager.made import IDS, images, train_folder, write_captions
from tests.statistics.conftest import HOSTILE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    *"--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking".split(),
    *"--disable-component-update --disable-sync --disable-dev-shm-usage --no-proxy-server --hide-scrollbars".split(),
    *"--enable-logging=stderr --virtual-time-budget=5000 --window-size=1280,1000".split(),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]

browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

# Put beside the page: loads it into a frame of a phone's width and notes how wide it and its parts become.
PHONE = """<!doctype html><link rel="icon" href="data:,">
<iframe id="phone" src="report.html" width="390" height="800"></iframe><script>
document.getElementById("phone").addEventListener("load", (event) => {
  const inside = event.target.contentDocument;
  for (const details of inside.querySelectorAll("details")) details.open = true;
  const small = [...inside.querySelectorAll("nav a, button, summary, input")].filter((node) => {
    const box = node.getBoundingClientRect();
    return box.height > 0 && box.height < 24;
  });
  document.body.dataset.wide = inside.documentElement.scrollWidth;
  document.body.dataset.small = small.length;
});</script>"""

# Types into the search as a user would, and turns a page, then copies what is there.
DRIVEN = """<!doctype html><link rel="icon" href="data:,">
<iframe id="page" src="report.html" width="1200" height="800"></iframe><script>
document.getElementById("page").addEventListener("load", (event) => {
  const inside = event.target.contentDocument, view = event.target.contentWindow;
  const shown = () => inside.querySelectorAll("#cards > li:not([hidden])").length;
  const note = (name, value) => { document.body.dataset[name] = value; };
  note("all", shown());
  inside.body.dispatchEvent(new view.KeyboardEvent("keydown", { key: "/", bubbles: true, cancelable: true }));
  note("focused", inside.activeElement.id);
  const type = (text) => {
    inside.activeElement.value = text;
    inside.activeElement.dispatchEvent(new view.Event("input"));
  };
  type("ZURICH script");
  note("found", shown());
  note("hash", view.location.hash);
  type("nothing has this");
  note("none", shown() + " " + !inside.getElementById("nothing").hidden);
  inside.querySelector("#classes details").open = true;
  inside.querySelectorAll("#classes thead button")[1].click();
  inside.querySelectorAll("#classes thead button")[1].click();
  note("most", inside.querySelector("#classes tbody tr td").textContent);
  note("title", inside.title);
  const box = (node) => node.getBoundingClientRect();
  type("");
  const cards = [...inside.querySelectorAll(".card")].filter((card) => box(card).height > 0);
  const rows = Map.groupBy(cards, (card) => box(card).top);
  note("ragged", [...rows.values()].filter((row) => new Set(row.map((card) => box(card).height)).size > 1).length);
  note("rows", rows.size > 1);
  note("apart", box(inside.querySelector("footer")).top - box(inside.querySelector("main")).bottom >= 48);
});</script>"""


@dataclass
class Seen:
    """The page as the browser left it, what it logged, and the addresses that it asked for by itself."""

    dom: str
    console: list[str]
    asked: list[str]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def served(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("page")
    (folder / "report.html").write_text(report(Shards(dataset), ic.stats(dataset)), encoding="utf-8")
    (folder / "phone.html").write_text(PHONE, encoding="utf-8")
    (folder / "driven.html").write_text(DRIVEN, encoding="utf-8")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def open_page(address: str, folder: Path) -> Seen:
    """Open an address in a browser of its own."""
    assert CHROMIUM is not None
    log = folder / "net.json"
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", "--dump-dom", address],
        capture_output=True,
        text=True,
        timeout=HANGS_AFTER,
        check=True,
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    # The browser itself asks its maker for this and that; what a page asks for names the page's origin.
    started = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    asked = {
        params["url"] for params in started if str(params.get("initiator", "")).startswith("http") and "url" in params
    }
    return Seen(done.stdout, console, sorted(asked))


def noted(dom: str) -> dict[str, str]:
    """What a page beside the report wrote on its body."""
    body = re.search(r"<body([^>]*)>", dom)
    assert body is not None
    return dict(re.findall(r'data-([a-z]+)="([^"]*)"', body[1]))


def shown_cards(dom: str) -> list[str]:
    """The ids of the cards that are not hidden."""
    return re.findall(r'<li><article class="card" id="([^"]+)"', dom)


@browser
def test_the_gallery_shows_all_texts_and_runs_none(served: str, tmp_path: Path) -> None:
    seen = open_page(f"{served}/report.html", tmp_path)
    assert seen.console == []
    assert seen.asked == []
    assert len(shown_cards(seen.dom)) == 11
    assert "<title>dataset · ImageNet-Captions</title>" in seen.dom
    assert '&lt;script&gt;document.title="owned"' in seen.dom
    assert seen.dom.count("<script") == 1
    assert "onerror" not in "".join(re.findall(r"<img[^>]*>", seen.dom))
    assert "javascript:" not in seen.dom


@browser
def test_the_address_fills_the_search(served: str, tmp_path: Path) -> None:
    seen = open_page(f"{served}/report.html#q=dog%20BEACH", tmp_path)
    assert shown_cards(seen.dom) == [IDS[1]]
    assert re.search(r'<output id="found"[^>]*>1 row of 11</output>', seen.dom)


@browser
def test_search_keys_and_sorting(served: str, tmp_path: Path) -> None:
    seen = open_page(f"{served}/driven.html", tmp_path)
    assert noted(seen.dom) == {
        "all": "11",
        "focused": "query",
        "found": "1",
        "hash": "#q=ZURICH+script",
        "none": "0 true",
        "most": "3",
        "title": "dataset · ImageNet-Captions",
        "ragged": "0",
        "rows": "true",
        "apart": "true",
    }
    assert seen.console == []
    assert seen.asked == [f"{served}/report.html"]  # of the page around it, so what a page asks for is seen


@browser
def test_a_phone_scrolls_one_way_only(served: str, tmp_path: Path) -> None:
    seen = open_page(f"{served}/phone.html", tmp_path)
    assert noted(seen.dom) == {"wide": "390", "small": "0"}


class Tags(HTMLParser):
    """Collects every tag with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_names_nothing_outside_and_labels_what_it_draws(dataset: Path) -> None:
    page = report(Shards(dataset), ic.stats(dataset))
    assert HOSTILE not in page
    parser = Tags()
    parser.feed(page)
    for tag, attributes in parser.found:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        if tag == "img":
            assert attributes["alt"]
            assert str(attributes["src"]).startswith("data:image/jpeg;base64,")
        if tag == "link":
            assert attributes["href"] == "data:,"
        if tag == "a":
            assert re.match(r"#|https://www\.flickr\.com/", str(attributes["href"]))
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes["aria-labelledby"]
        if tag == "rect" and "x" in attributes:
            x, y, width, height = (float(str(attributes[name])) for name in ("x", "y", "width", "height"))
            assert 40 <= x < x + width <= 392
            assert 14 <= y <= y + height <= 188
    names = [tag for tag, _ in parser.found]
    assert names.count("rect") > 20
    assert names.count("table") == names.count("caption")
    assert names.count("script") == names.count("h1") == 1
    assert not {"iframe", "object", "embed", "base"} & set(names)
    policy = next(
        attributes["content"] for tag, attributes in parser.found if tag == "meta" and "http-equiv" in attributes
    )
    assert str(policy).startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "http://" not in re.sub(r">[^<]*<", "><", page).replace("http-equiv", "")


def test_no_two_parts_share_a_title(dataset: Path) -> None:
    page = report(Shards(dataset), ic.stats(dataset))
    titles = re.findall(r"<(?:caption|figcaption><h3)>(.*?)<", page.split('id="gallery"')[0])
    assert len(titles) > 8
    assert len(set(titles)) == len(titles)


@pytest.fixture(scope="module")
def licensed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes of three rows: all rights reserved, license not known, and two that may be shown."""
    folder = tmp_path_factory.mktemp("licenses")
    captions = write_captions(folder / "captions.parquet")
    table = pq.read_table(captions)
    numbers = pa.array([0] * 3 + [None] * 3 + [4] * 3 + [9] * 3, pa.int32())
    column = table.schema.get_field_index("license")
    pq.write_table(
        table.set_column(column, table.schema.field(column), numbers.cast(table.schema.field(column).type)), captions
    )
    source = train_folder(folder / "train", images())
    package(captions, folder / "dataset", PackageSettings(images=source, workers=1))
    return folder / "dataset"


@pytest.mark.parametrize(
    ("thumbnails", "shown", "note"),
    [
        (Thumbnails.OPEN, 6, "Photos not shown: 6 of 12 (3 all rights reserved, 3 license not known)."),
        (Thumbnails.ALL, 12, None),
        (Thumbnails.NONE, 0, "Photos are not shown, because of --thumbnails none."),
    ],
)
def test_photos_are_shown_by_license(licensed: Path, thumbnails: Thumbnails, shown: int, note: str | None) -> None:
    page = report(Shards(licensed), ic.stats(licensed), thumbnails=thumbnails)
    assert page.count("data:image/jpeg;base64,") == shown
    assert ("not shown" in page) is (note is not None)
    assert note is None or note in page
    assert page.count("Not shown: all rights reserved") == (3 if thumbnails is Thumbnails.OPEN else 0)
