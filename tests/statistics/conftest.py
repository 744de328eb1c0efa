"""A dataset of hostile and ordinary texts, with images, for all tests of statistics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from imagenet_captions.outcomes import Outcome
from imagenet_captions.packager.package import PackageSettings, package
from tests.packager.made import IDS, caption_row, images, train_folder, write_rows

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


def rows() -> Iterator[dict[str, object]]:
    """Rows with the texts above in the first ones; captions are title and description."""
    for number, image_id in enumerate(sorted(IDS)):
        row = caption_row(image_id)
        row |= zip(("title", "description", "tags"), TEXTS.get(image_id, ()), strict=False)
        row["caption"] = " ".join(filter(None, [row["title"], row["description"]]))
        row["names_class"] = number % 3 == 0
        row["photo_page"] = "javascript:alert(2)" if number % 2 else "https://www.flickr.com/photos/11632020@N00/1/"
        yield row


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve rows in four classes, eleven of them with an image."""
    folder = tmp_path_factory.mktemp("stats")
    drops = [("n01440764_9", "n01440764", Outcome.NO_TEXT, None, 1)]
    captions = write_rows(folder / "captions.parquet", rows(), drops=drops)
    package(captions, folder / "dataset", PackageSettings(images=train_folder(folder / "train", images(IDS[:-1]))))
    return folder / "dataset"
