"""A dataset of varied rows for the tests of loading and filtering, with what each row holds as plain Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from imagenet_captions.dataset.shards import Shards
from imagenet_captions.packager.package import PackageSettings, package
from imagenet_captions.schema import SCORES, with_provenance
from tests.packager.made import DROPS, caption_row, image, train_folder, write_rows

TITLES = ["", "A Dog at the beach", "DOGMA", "hot dog stand", "Café straße", "line\tone", "price: 5.00 (five)", "дом"]
TAGS = [[], ["dog", "new york"], ["do", "g"], ["Beach", "two words"], ["a|b", "x.y"], ["猫", "dogs"], ["new", "york"]]
WNIDS = ("n01440764", "n02099601", "n02113799", "n03000684", "n15075141")
LANGUAGES = ["en", "de", "und", None]
LICENSES = [0, 4, 11, None, 9]

Row = dict[str, Any]


def rows(per_class: int = 40) -> list[Row]:
    """Rows of five classes, as `clean` leaves them, sorted."""
    ids = [f"{wnid}_{17 * number + 3}" for wnid in WNIDS for number in range(per_class)]
    return [_row(image_id, number) for number, image_id in enumerate(sorted(ids))]


def _row(image_id: str, number: int) -> Row:
    title, tags = TITLES[number % len(TITLES)], TAGS[number % len(TAGS)]
    row, language = caption_row(image_id), LANGUAGES[number % 4]
    labels = sorted({row["label"], 207}) if number % 3 == 0 else ([5] if number % 3 == 1 else [])
    return {
        **{name: value for name, value in row.items() if name not in ("date_taken", "date_posted", "retrieved_at")},
        "title": title,
        "description": "" if number % 2 else "beach",
        "tags": tags,
        "caption": " ".join([title, *tags, "x"]).strip(),
        "language": language,
        "language_score": None if language is None else 0.5,
        "photo_id": str(10**9 + number),
        "owner": f"{10000 + number}@N01",
        "license": LICENSES[number % 5],
        "mentions": f" {' '.join(map(str, labels))} " if labels else "",
        "names_class": row["label"] in labels,
        "raw_title": f"<{title}>",
        "raw_tags": [*tags, "ns:a=b"],
        "detail": "a remark" if number == 0 else None,
    }


def write_scores(path: Path, ids: Sequence[str], similarities: Sequence[float], dataset: Path) -> Path:
    """A file of a dataset's scores, as `score` writes it."""
    inputs = {"dataset": Shards(dataset).digest, "weights": "cd" * 32}
    about = {"inputs": inputs, "settings": {"model": "runs/clip"}}
    columns = [ids, similarities, [5] * len(ids), [False] * len(ids)]
    pq.write_table(pa.table(columns, schema=SCORES).cast(with_provenance(SCORES, about)), path)
    return path


def make_dataset(folder: Path, made: list[Row], images: bool = False) -> Path:
    """A dataset of these rows and one earlier drop; `images` gives each row one, but for every tenth."""
    about = {"inputs": {"release": "ab" * 32}, "settings": {"caption": "title tags description"}}
    captions = write_rows(folder / "captions.parquet", made, about, DROPS[:1])
    source = None
    if images:
        held = {row["image_id"]: image(row["image_id"]) for number, row in enumerate(made) if number % 10}
        source = train_folder(folder / "train", held)
    package(captions, folder / "dataset", PackageSettings(images=source))
    return folder / "dataset"


def read_ids(path: Path) -> list[str]:
    """The ids in a file with one a line."""
    return path.read_text(encoding="utf-8").splitlines()
