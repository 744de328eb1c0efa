"""Write the embedded sample of the demo: python tools/sample/make_sample.py [FOLDER] [--seed N].

The texts stand in photos.py, the shapes of addresses in addresses.py; numbers (photo ids, secrets, dates, places of
the drawings) come from the seed. All photo ids begin with 99 and have eleven digits: Flickr had given out no such ids
in 2026, so that no number here is anybody's photo. The same seed writes the same texts; the bytes of the pictures
depend on Pillow's version.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

from addresses import STRAY_LINES, PhotoAddress, list_lines
from answers import answer
from drawings import picture
from photos import ENTRIES, WNIDS, Entry

SAMPLE = Path(__file__).parents[2] / "imagenet_captions" / "demo" / "sample"
NOT_AN_ID = "n01440764_1O026"  # with a letter O
WITHOUT_PHOTO = ("none", "blank", "garbled", "elsewhere", "latin1", "lookalike", "inside_another", "ends_like_flickr",
                 "profile", "unavailable", "video_file")  # fmt: skip


def number_entries(rng: random.Random) -> dict[str, Entry]:
    """Give each entry an image id: its wnid and a number far above those of ImageNet's own files."""
    numbers = rng.sample(range(900_000, 999_000), len(ENTRIES))
    return {f"{WNIDS[entry.thing]}_{number}": entry for entry, number in zip(ENTRIES, numbers, strict=True)}


def place_photos(entries: dict[str, Entry], rng: random.Random) -> dict[str, PhotoAddress]:
    """Give each image id a place on Flickr; the entries of shape "shared" have the same one."""
    places: dict[str, PhotoAddress] = {}
    shared: PhotoAddress | None = None
    for image_id, entry in entries.items():
        place = PhotoAddress(
            photo_id=str(rng.randrange(99_000_001_000, 99_999_999_999)),
            secret=f"{rng.getrandbits(40):010x}",
            farm=rng.randrange(1, 8),
            server=rng.randrange(1, 4200),
            owner=f"{rng.randrange(990_000_001, 990_000_900)}@N0{rng.randrange(9)}",
        )
        if entry.shape == "shared":
            shared = place = shared or place
        places[image_id] = place
    return places


def write_lists(folder: Path, entries: dict[str, Entry], places: dict[str, PhotoAddress], rng: random.Random) -> None:
    """Write the URL list, the wanted ids, and where each of them must end."""
    groups = [list_lines(image_id, entry.shape, places[image_id]) for image_id, entry in entries.items()]
    lines = [[line.encode("latin-1") for line in group] for group in groups] + [[line] for line in STRAY_LINES]
    rng.shuffle(lines)
    (folder / "urls.txt").write_bytes(b"".join(line for group in lines for line in group))

    wanted = sorted(entries)
    first, second, *rest = wanted
    text = [f"{first}.JPEG", f"{second}\r", *rest, first, NOT_AN_ID]
    (folder / "ids.txt").write_bytes("".join(f"{line}\n" for line in text).encode())

    expected = [f"{image_id}\t{entries[image_id].outcome}\n" for image_id in wanted]
    (folder / "expected.tsv").write_bytes("".join(["image_id\toutcome\n", *expected, "\tbad_record\n"]).encode())


def write_answers(folder: Path, entries: dict[str, Entry], places: dict[str, PhotoAddress], rng: random.Random) -> None:
    """Write the stand-in's answers by photo id, one a line."""
    answers = {
        places[image_id].photo_id: answer(entry, places[image_id], rng)
        for image_id, entry in entries.items()
        if entry.shape not in WITHOUT_PHOTO and entry.outcome != "unknown_class"
    }
    _write_rows(
        folder / "photos.json", "{", "}", [f"{json.dumps(key)}: {_json(value)}" for key, value in answers.items()]
    )


def write_release(folder: Path, entries: dict[str, Entry]) -> None:
    """Write the published file's form of the same photos, with a few entries that are bad."""
    texts = [entry_of_release(image_id, entry) for image_id, entry in entries.items() if entry.outcome == "kept"][:26]
    first, second, third, *_ = texts
    bad = [
        {**first, "title": "The same file again"},
        {**second, "filename": second["filename"].replace("_", "_9"), "wnid": "n01443537"},
        {**third, "filename": third["filename"].replace("_", "_9"), "title": None},
        {**first, "filename": "../../x.JPEG"},
        {**first, "filename": f"{first['wnid']}_77777.JPEG", "title": "", "description": " ", "tags": []},
        {**first, "filename": "n02084071_12.JPEG", "wnid": "n02084071", "title": "Some dog"},
    ]
    _write_rows(folder / "release.json", "[", "]", [_json(row) for row in texts + bad])


def entry_of_release(image_id: str, entry: Entry) -> dict[str, Any]:
    """One entry in the published form; its tags are the raw ones."""
    return {
        "filename": f"{image_id}.JPEG",
        "wnid": WNIDS[entry.thing],
        "title": entry.title,
        "description": entry.description,
        "tags": [tag.removeprefix("viewer: ") for tag in entry.tags],
    }


def write_pictures(folder: Path, entries: dict[str, Entry], rng: random.Random) -> None:
    """Write the training folder: one drawing for each id that has an image."""
    for image_id, entry in entries.items():
        if entry.image != "none":
            path = folder / "train" / WNIDS[entry.thing] / f"{image_id}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(entry.thing, entry.image, rng))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _write_rows(path: Path, opening: str, closing: str, rows: list[str]) -> None:
    path.write_bytes((opening + "\n" + ",\n".join(rows) + "\n" + closing + "\n").encode())


def main() -> None:
    """Write every file of the sample but its README."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=SAMPLE)
    parser.add_argument("--seed", type=int, default=2205)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    entries = number_entries(rng)
    places = place_photos(entries, rng)
    write_lists(arguments.folder, entries, places, rng)
    write_answers(arguments.folder, entries, places, rng)
    write_release(arguments.folder, entries)
    write_pictures(arguments.folder, entries, rng)
    print(f"{len(entries)} wanted ids in {arguments.folder}")


if __name__ == "__main__":
    main()
