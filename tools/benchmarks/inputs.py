"""Inputs of the published sizes, made up for people without real ones; the same seed gives the same bytes."""

from __future__ import annotations

import io
import json
import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from imagenet_captions.imagenet import classes
from imagenet_captions.outcomes import OUTCOMES, outcomes_path
from imagenet_captions.schema import CAPTIONS, MATCHES, with_provenance

GIVEN = {
    "release": "a file in the form of imagenet_captions.json",
    "urls": "a file in the form of fall11_urls.txt",
    "images": "a train folder; its files are repeated under new names",
    "micro_train": "Parquet with image, label, class_name: some of CIFAR-10's",
    "micro_test": "the same of its test images",
}

WORDS = """a the of in at with my from river bridge garden window morning winter harbour market street museum old
new red blue green little wild two three portrait macro detail shadow light rain snow dog cat bird fish flower tree
train boat car house church family friends holiday walk weekend zoo farm lake forest mountain island lens""".split()
ODD = [
    *["café", "niño", "зима", "猫", "🐟", "cafÃ©", "Itâ€™s", "&amp;", "<b>bold</b>", "\n", "\t"],
    '<a href="http://example.org/{n}">here</a>',
    "http://www.example.com/{n}.html",
    "me{n}@example.com",
]


class Inputs:
    """The paths that commands name in braces; what is not given is made when a command first needs it."""

    def __init__(self, folder: Path, given: dict[str, Path | None]) -> None:
        self.folder = folder
        self._paths = {name: path.resolve() for name, path in given.items() if path}

    def missing(self, command: str) -> str | None:
        """Return the first input of a command that is neither given nor made up."""
        names = set(re.findall(r"{(\w+)}", command)) - {"new", "scratch"}
        return next((name for name in sorted(names) if name not in self._paths and name not in _MAKERS), None)

    def filled(self, word: str, new: Path = Path()) -> Path:
        """Return a word of a command with its paths."""
        names = set(re.findall(r"{(\w+)}", word)) - {"new", "scratch"}
        return Path(word.format(new=new, scratch=self.folder, **{name: self._path(name) for name in names}))

    def _path(self, name: str) -> Path:
        if name not in self._paths:
            after = [self._path(other) for other in _AFTER.get(name, ())]
            self._paths[name] = _MAKERS[name](self.folder / f"made_{name}", *after)
        return self._paths[name]


def make_release(path: Path, rows: int = 463_622, seed: int = 0) -> Path:
    """A file in the form of imagenet_captions.json, a little over 100 MB at the default size."""
    rng = random.Random(seed)
    wnids = classes.wnids()
    with path.open("w", encoding="utf-8") as out:
        for number in range(rows):
            wnid = wnids[number * 7 % 1000]
            entry = {
                "filename": f"{wnid}_{number}.JPEG",
                "wnid": wnid,
                "title": rng.choice(
                    [f"DSC_{number % 9999:04d}", "", *[_text(rng, rng.randrange(1, 9)) for _ in range(6)]]
                ),
                "description": ""
                if rng.random() < 0.4
                else _text(rng, 1 + min(600, int(rng.lognormvariate(2.4, 1.0)))),
                "tags": [_text(rng, 1) for _ in range(min(30, int(rng.lognormvariate(1.6, 0.8))))],
            }
            out.write(("[" if number == 0 else ",\n") + json.dumps(entry))
        out.write("]\n")
    return path


def make_urls(path: Path, lines: int = 14_197_122, seed: int = 0) -> Path:
    """A list in the form of fall11_urls.txt: the 1000 classes with nine in a hundred lines, half of it Flickr's."""
    rng = random.Random(seed)
    known = list(classes.wnids())
    others = [f"n{15_300_000 + 17 * number:08d}" for number in range(20_841)]
    per_known = int(lines * 0.0909) // len(known)
    per_other = (lines - per_known * len(known)) // len(others) + 1
    written = 0
    with path.open("wb") as out:
        for wnid in sorted([*known, *others]):
            chunk = []
            for number in range(per_other if wnid >= "n153" else per_known):
                if written == lines:
                    break
                chunk.append(_line(rng, wnid, 2 * number + 1))
                written += 1
            out.write(b"".join(chunk))
    return path


def make_images(folder: Path, count: int = 125, seed: int = 0) -> Path:
    """A train folder of drawn JPEGs of about ImageNet's file size (110 kB)."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        wnid = classes.wnids()[number * 8 % 1000]
        small = rng.integers(0, 255, (94, 125, 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize((500, 375), Image.Resampling.BICUBIC)
        sink = io.BytesIO()
        picture.save(sink, "JPEG", quality=93)
        (folder / wnid).mkdir(parents=True, exist_ok=True)
        (folder / wnid / f"{wnid}_{number}.JPEG").write_bytes(sink.getvalue())
    return folder


def _text(rng: random.Random, count: int) -> str:
    words = rng.choices(WORDS, k=count)
    for at in range(count):
        if rng.random() < 0.04:
            words[at] = rng.choice(ODD).format(n=rng.randrange(10**6))
    return " ".join(words)


def _line(rng: random.Random, wnid: str, number: int) -> bytes:
    photo, secret, farm = rng.randrange(10**6, 5 * 10**9), f"{rng.getrandbits(40):010x}", rng.randrange(1, 9)
    if rng.random() < 0.6:
        url = f"http://farm{farm}.static.flickr.com/{photo % 4200}/{photo}_{secret}.jpg"
    else:
        url = f"http://www.example.com/{farm}/{photo}/{secret}.jpg"
    end = "\r\n" if rng.random() < 0.001 else "\n"
    return f"{wnid}_{number}\t{url}{end}".encode()


def repeat_images(root: Path, images: Path, count: int = 10_000) -> Path:
    """Make a train folder of so many files by linking copies of the images under new names."""
    originals = root.with_name("originals")
    shutil.copytree(images, originals)  # in scratch, since a hard link may cross no disk
    found = sorted(path for path in originals.rglob("*") if path.suffix.lower() in (".jpeg", ".jpg"))
    for number in range(count):
        copy, at = divmod(number, len(found))
        wnid = found[at].name[:9] if classes.is_class(found[at].name[:9]) else classes.wnids()[at]
        (root / wnid).mkdir(parents=True, exist_ok=True)
        os.link(found[at], root / wnid / f"{wnid}_{at}{copy:04}.JPEG")
    return root


def write_captions(path: Path, train: Path) -> Path:
    """Write captions for the images of a train folder."""
    ids = sorted(file.stem for file in train.glob("*/*.JPEG"))
    rows = [
        {
            "image_id": image_id,
            "filename": f"{image_id}.JPEG",
            "wnid": image_id[:9],
            "label": classes.index_of(image_id[:9]),
            "class_name": classes.by_wnid(image_id[:9]).name,
            **dict.fromkeys(("title", "caption", "raw_title"), f"Photo {image_id}"),
            **dict.fromkeys(("description", "raw_description"), "with a few words, as people write them " * 5),
            "tags": ["one", "two"],
            "raw_tags": ["one", "two"],
            "mentions": "",
            "names_class": False,
            "source": "release",
        }
        for image_id in ids
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=with_provenance(CAPTIONS, {})), path)
    pq.write_table(OUTCOMES.empty_table(), outcomes_path(path))
    return path


def write_ids(path: Path, urls: Path) -> Path:
    """Write as many ids of the 1000 classes as ImageNet has training images, out of the list itself."""
    wanted = {wnid.encode() for wnid in classes.wnids()}
    with urls.open("rb") as lines:
        found = dict.fromkeys(line.split(maxsplit=1)[0] for line in lines if line[:9] in wanted)
    path.write_bytes(b"\n".join(list(found)[:1_281_167]))
    return path


def make_wanted(path: Path, count: int = 830_022) -> Path:
    """Write matches of photos; one in three has a row of `make_yfcc`."""
    photos = [str(10_000_000 + 3 * number) for number in range(count)]
    table = {
        "image_id": [f"n01440764_{number}" for number in range(count)],
        "wnid": ["n01440764"] * count,
        "photo_id": photos,
        "url": ["http://static.flickr.com/1/1_a.jpg"] * count,
        "detail": [None] * count,
    }
    pq.write_table(pa.table(table, schema=MATCHES), path)
    return path


def make_yfcc(path: Path, rows: int = 2_000_000) -> Path:
    """Write rows of YFCC100M's text, of about 500 bytes each."""
    rng = random.Random(0)
    words = ["grey", "heron", "Leiden", "%3Cb%3Edawn%3C%2Fb%3E", "caf%C3%A9", "the", "Canon+EOS", "%28detail%29"]
    texts = ["+".join(rng.choices(words, k=rng.choice((3, 8, 30)))) for _ in range(5000)]
    with path.open("w", encoding="utf-8") as opened:
        for number in range(rows):
            photo = 10_000_000 + 97 * number % 6_000_000_000
            row = [
                str(number), str(photo), "0123456789abcdef" * 2, "11632020@N00", "Hans", "2010-07-16 20:47:02.0",
                "1279341000", "Canon+EOS", texts[photo % 4999][:40], texts[photo % 4993], "heron,grey+heron,leiden",
                "", "-0.5", "51.2", "16", f"http://www.flickr.com/photos/11632020@N00/{photo}/",
                f"http://farm1.staticflickr.com/30/{photo}_fff93cc915.jpg", "Attribution License",
                "http://creativecommons.org/licenses/by/2.0/", "30", "1", "fff93cc915", "fff93cc915", "jpg", "0",
            ]  # fmt: skip
            opened.write("\t".join(row) + "\n")
    return path


_MAKERS: dict[str, Callable[..., Path]] = {
    "release": make_release,
    "urls": make_urls,
    "ids": write_ids,
    "images": make_images,
    "train": repeat_images,
    "captions": write_captions,
    "wanted": make_wanted,
    "yfcc": make_yfcc,
}
_AFTER = {"ids": ["urls"], "train": ["images"], "captions": ["train"]}
