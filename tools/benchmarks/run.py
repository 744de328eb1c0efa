"""The bench: every bar of the project as a row, ours and a peer's figure from the same run.

tools/bench                      everything, on made-up inputs (some minutes, 3 GB of scratch space)
tools/bench clean match          some of it
tools/bench --release F --urls F --images DIR     on your own files
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import inputs

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="one of: " + ", ".join(_BENCHES))
    parser.add_argument("--release", type=Path, help="a file in the form of imagenet_captions.json")
    parser.add_argument("--urls", type=Path, help="a file in the form of fall11_urls.txt")
    parser.add_argument("--images", type=Path, help="a train folder; its files are repeated under new names")
    parser.add_argument("--scratch", type=Path, help="where to write; default: a temporary folder")
    given = parser.parse_args()
    unknown = set(given.names) - set(_BENCHES)
    if unknown:
        parser.error(f"no bench is called {sorted(unknown)[0]}; there are {', '.join(_BENCHES)}")
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        for name in given.names or _BENCHES:
            for row in _BENCHES[name](given, Path(folder)):
                print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)


def _release(given: argparse.Namespace, scratch: Path) -> Path:
    return given.release or _made(scratch / "release.json", inputs.make_release)


def _urls(given: argparse.Namespace, scratch: Path) -> Path:
    return given.urls or _made(scratch / "urls.txt", inputs.make_urls)


def _images(given: argparse.Namespace, scratch: Path) -> Path:
    return given.images or _made(scratch / "images", inputs.make_images)


def _made(path: Path, make: Callable[[Path], Path]) -> Path:
    return path if path.exists() else make(path)


def _clean(given: argparse.Namespace, scratch: Path) -> list[Row]:
    import clean

    return clean.main(_release(given, scratch), scratch)


def _match(given: argparse.Namespace, scratch: Path) -> list[Row]:
    import match

    return match.main(_urls(given, scratch), scratch)


def _crawl(given: argparse.Namespace, scratch: Path) -> list[Row]:
    import crawl

    return crawl.main(scratch)


def _package(given: argparse.Namespace, scratch: Path) -> list[Row]:
    import package

    return package.main(_images(given, scratch), scratch)


def _build(given: argparse.Namespace, scratch: Path) -> list[Row]:
    import build

    return build.main(_release(given, scratch), scratch)


def _help(given: argparse.Namespace, scratch: Path) -> list[Row]:
    import help

    return help.main(scratch)


_BENCHES: dict[str, Callable[[argparse.Namespace, Path], list[Row]]] = {
    "build": _build,
    "clean": _clean,
    "match": _match,
    "crawl": _crawl,
    "package": _package,
    "help": _help,
}

if __name__ == "__main__":
    main()
