"""Made-up inputs of the published sizes, for people without real ones; the same seed gives the same bytes."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import numpy as np
from PIL import Image

from imagenet_captions.imagenet import classes

WORDS = """a the of in at with my from river bridge garden window morning winter harbour market street museum old
new red blue green little wild two three portrait macro detail shadow light rain snow dog cat bird fish flower tree
train boat car house church family friends holiday walk weekend zoo farm lake forest mountain island lens""".split()
ODD = [
    *["café", "niño", "зима", "猫", "🐟", "cafÃ©", "Itâ€™s", "&amp;", "<b>bold</b>", "\n", "\t"],
    '<a href="http://example.org/{n}">here</a>',
    "http://www.example.com/{n}.html",
    "me{n}@example.com",
]


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
