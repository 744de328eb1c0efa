"""The bench: every bar of the project as a row, ours and a peer's figure from the same run.

tools/bench                      everything, on made-up inputs (some minutes, 5 GB of scratch space)
tools/bench clean match          some of it
tools/bench --release F --urls F --images DIR     on your own files
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import inputs

# What each bench's `main` takes before the scratch folder; a bench is the module of its name beside this file.
_BENCHES: dict[str, tuple[str, ...]] = {
    "build": ("release",),
    "clean": ("release",),
    "match": ("urls",),
    "crawl": (),
    "package": ("images",),
    "load": ("release", "images"),
    "mentions": ("release",),
    "export": ("release", "images"),
    "yfcc": (),
    "engines": ("release", "urls"),
    "robustness": (),
    "help": (),
    "waits": ("release", "urls"),
    "loader": ("images",),
    "step": (),
    "micro": ("micro_train", "micro_test"),
    "scale": ("release", "figure"),
}

_INPUTS: dict[str, Callable[[Path], Path]] = {
    "release": inputs.make_release,
    "urls": inputs.make_urls,
    "images": inputs.make_images,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="one of: " + ", ".join(_BENCHES))
    parser.add_argument("--release", type=Path, help="a file in the form of imagenet_captions.json")
    parser.add_argument("--urls", type=Path, help="a file in the form of fall11_urls.txt")
    parser.add_argument("--images", type=Path, help="a train folder; its files are repeated under new names")
    parser.add_argument("--micro-train", type=Path, help="Parquet with image, label, class_name: some of CIFAR-10's")
    parser.add_argument("--micro-test", type=Path, help="the same of its test images")
    parser.add_argument("--figure", type=Path, default=Path("scale.svg"), help="where scale draws what it measured")
    parser.add_argument("--scratch", type=Path, help="where to write; default: a temporary folder")
    given = parser.parse_args()
    unknown = set(given.names) - set(_BENCHES)
    if unknown:
        parser.error(f"no bench is called {sorted(unknown)[0]}; there are {', '.join(_BENCHES)}")
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        scratch = Path(folder)
        for name in given.names or _BENCHES:
            lacking = [role for role in _BENCHES[name] if role not in _INPUTS and getattr(given, role) is None]
            if lacking:
                print(f"{name} is left out: it needs --{lacking[0].replace('_', '-')}", flush=True)
                continue
            paths = [getattr(given, role) or _made(scratch / f"made_{role}", role) for role in _BENCHES[name]]
            for row in importlib.import_module(name).main(*paths, scratch):
                print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)


def _made(path: Path, role: str) -> Path:
    return path if path.exists() else _INPUTS[role](path)


if __name__ == "__main__":
    main()
