"""The page of `stats`: what stands in it, and in a real browser, headless, what its script does."""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import subprocess
import threading
from html.parser import HTMLParser
from pathlib import Path

import pytest

import imagenet_captions as ic
from imagenet_captions.dataset.shards import Shards
from imagenet_captions.statistics.report import report
from imagenet_captions.statistics.settings import Thumbnails
from tests.command_line import HANGS_AFTER
from tests.exports.datasets import dataset as make_dataset
from tests.exports.datasets import ids
from tests.packager.made import IDS, images, train_folder
from tests.statistics.conftest import HOSTILE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    *"--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking".split(),
    *"--disable-component-update --disable-sync --disable-dev-shm-usage --no-proxy-server --hide-scrollbars".split(),
    *"--enable-logging=stderr --virtual-time-budget=5000 --window-size=1280,1000".split(),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]

# Opens the page at a search and uses it as a person would, and once more as wide as a phone; notes what is there.
DRIVEN = """<!doctype html><link rel="icon" href="data:,">
<iframe id="page" src="report.html#q=dog%20BEACH" width="1200" height="800"></iframe>
<iframe id="phone" src="report.html" width="390" height="800"></iframe><script>
const note = (name, value) => { document.body.dataset[name] = value; };
const box = (node) => node.getBoundingClientRect();
document.getElementById("page").addEventListener("load", (event) => {
  const inside = event.target.contentDocument, view = event.target.contentWindow;
  const shown = () => [...inside.querySelectorAll("#cards > li:not([hidden]) article")];
  note("address", shown().map((card) => card.id) + " " + inside.getElementById("found").textContent);
  inside.body.dispatchEvent(new view.KeyboardEvent("keydown", { key: "/", bubbles: true, cancelable: true }));
  note("focused", inside.activeElement.id);
  const type = (text) => {
    inside.activeElement.value = text;
    inside.activeElement.dispatchEvent(new view.Event("input"));
  };
  type("ZURICH script");
  note("found", shown().length + " " + view.location.hash);
  type("nothing has this");
  note("none", shown().length + " " + !inside.getElementById("nothing").hidden);
  type("");
  const rows = Map.groupBy(shown(), (card) => box(card).top);
  note("ragged", [...rows.values()].filter((row) => new Set(row.map((card) => box(card).height)).size > 1).length);
  note("all", shown().length);
  inside.querySelector("#classes details").open = true;
  inside.querySelectorAll("#classes thead button")[1].click();
  inside.querySelectorAll("#classes thead button")[1].click();
  note("most", inside.querySelector("#classes tbody tr td").textContent);
  note("title", inside.title);
});
document.getElementById("phone").addEventListener("load", (event) => {
  const inside = event.target.contentDocument;
  for (const details of inside.querySelectorAll("details")) details.open = true;
  const pressed = [...inside.querySelectorAll("nav a, button, summary, input")].map((node) => box(node).height);
  note("wide", inside.documentElement.scrollWidth);
  note("small", pressed.filter((height) => height > 0 && height < 24).length);
});</script>"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_searches_and_sorts_and_asks_for_nothing(dataset: Path, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    (tmp_path / "report.html").write_text(report(Shards(dataset), ic.stats(dataset)), encoding="utf-8")
    (tmp_path / "driven.html").write_text(DRIVEN, encoding="utf-8")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address, log = f"http://127.0.0.1:{server.server_port}", tmp_path / "net.json"
    arguments = [f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}", "--dump-dom"]
    done = subprocess.run(
        [CHROMIUM, *FLAGS, *arguments, f"{address}/driven.html"],
        capture_output=True, text=True, timeout=HANGS_AFTER, check=True,
    )  # fmt: skip
    server.shutdown()
    server.server_close()
    body = re.search(r"<body([^>]*)>", done.stdout)
    assert body is not None
    assert dict(re.findall(r'data-([a-z]+)="([^"]*)"', body[1])) == {
        "address": f"{IDS[1]} 1 row of 11", "focused": "query", "found": "1 #q=ZURICH+script", "none": "0 true",
        "ragged": "0", "all": "11", "most": "3", "title": "dataset · ImageNet-Captions", "wide": "390", "small": "0",
    }  # fmt: skip
    assert "CONSOLE" not in done.stderr
    # The browser itself asks its maker for this and that; what a page asks for names the page's origin.
    started = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    asked = {each["url"] for each in started if str(each.get("initiator", "")).startswith("http") and "url" in each}
    assert {url.partition("#")[0] for url in asked} == {f"{address}/report.html"}


class Tags(HTMLParser):
    """Collects every tag with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))


def test_the_page_names_nothing_outside_and_labels_what_it_draws(dataset: Path) -> None:
    page = report(Shards(dataset), ic.stats(dataset))
    assert HOSTILE not in page
    assert "&lt;script&gt;document.title=&#34;owned&#34;" in page
    parser = Tags()
    parser.feed(page)
    for tag, attributes in parser.found:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        if tag == "img":
            assert attributes["alt"]
            assert attributes["src"].startswith("data:image/jpeg;base64,")
        if tag == "link":
            assert attributes["href"] == "data:,"
        if tag == "a":
            assert re.match(r"#|https://www\.flickr\.com/", attributes["href"])
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes["aria-labelledby"]
    names = [tag for tag, _ in parser.found]
    assert names.count("rect") > 20
    assert names.count("img") == 11
    assert names.count("table") == names.count("caption")
    assert names.count("script") == names.count("h1") == names.count("polygon") == 1
    assert not {"iframe", "object", "embed", "base"} & set(names)
    policy = next(attributes["content"] for tag, attributes in parser.found if "http-equiv" in attributes)
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    titles = re.findall(r"<(?:caption|figcaption><h3)>(.*?)<", page.split('id="gallery"')[0])
    assert len(set(titles)) == len(titles) > 8


@pytest.fixture(scope="module")
def licensed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rows with all rights reserved, three whose license is not known, and six that may be shown."""
    folder = tmp_path_factory.mktemp("licenses")
    pictures = train_folder(folder / "train", images(ids(12)))
    return make_dataset(folder, ["a"] * 12, pictures, {"license": [0] * 3 + [None] * 3 + [4] * 3 + [9] * 3})


@pytest.mark.parametrize(
    ("thumbnails", "shown", "note"),
    [
        (Thumbnails.OPEN, 6, "Photos not shown: 3 all rights reserved, 3 license not known."),
        (Thumbnails.ALL, 12, None),
        (Thumbnails.NONE, 0, "Photos are not shown, because of <code>--thumbnails none</code>."),
    ],
)
def test_photos_are_shown_by_license(licensed: Path, thumbnails: Thumbnails, shown: int, note: str | None) -> None:
    page = report(Shards(licensed), ic.stats(licensed), thumbnails=thumbnails)
    assert page.count("data:image/jpeg;base64,") == shown
    assert ("not shown" in page) is (note is not None)
    assert note is None or note in page
    assert page.count("Not shown: all rights reserved") == (3 if thumbnails is Thumbnails.OPEN else 0)
