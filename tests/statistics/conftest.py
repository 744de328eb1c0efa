"""A dataset of hostile and ordinary texts, with images, for all tests of statistics."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imagenet_captions.outcomes import Outcome, outcome_rows, outcomes_path
from imagenet_captions.packager.package import PackageSettings, package
from imagenet_captions.schema import CAPTIONS
from tests.packager.made import IDS, images, train_folder, write_captions

HOSTILE = '<script>document.title="owned";alert(1)</script>'
TEXTS = {
    IDS[0]: (HOSTILE, 'Quotes " and \' & <img src=x onerror="document.title=1">', ["</script><b>", "Zürich"]),
    IDS[1]: ("My dog at the beach", "", ["Dog", "beach"]),
    IDS[2]: ("Dog", "see www.example.org", ["dog"]),
    IDS[3]: ("a\u2028b `code` | pipe", "x" * 400, [f"tag {number}" for number in range(30)]),
    IDS[4]: ("", "שלום עולם &amp; <i>so</i>", []),
    IDS[5]: ("same", "", []),
    IDS[6]: ("same", "", []),
}


def rows_of(path: Path) -> list[dict[str, object]]:
    """The rows of a captions file, with the texts above in the first ones; captions are title and description."""
    rows: list[dict[str, object]] = pq.read_table(write_captions(path)).to_pylist()
    for number, row in enumerate(rows):
        if row["image_id"] in TEXTS:
            title, description, tags = TEXTS[str(row["image_id"])]
            row |= {"title": title, "description": description, "tags": tags}
        row["caption"] = " ".join(filter(None, [str(row["title"]), str(row["description"])]))
        row["names_class"] = number % 3 == 0
        row["photo_page"] = "javascript:alert(2)" if number % 2 else "https://www.flickr.com/photos/11632020@N00/1/"
    return rows


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve rows in four classes, eleven of them with an image."""
    folder = tmp_path_factory.mktemp("stats")
    captions = folder / "captions.parquet"
    pq.write_table(pa.Table.from_pylist(rows_of(captions), schema=CAPTIONS), captions)
    dropped = outcome_rows(Outcome.NO_TEXT, 1, image_id=["n01440764_9"], wnid=["n01440764"])
    pq.write_table(dropped, outcomes_path(captions))
    held = images(IDS[:-1])
    package(captions, folder / "dataset", PackageSettings(images=train_folder(folder / "train", held)))
    return folder / "dataset"
