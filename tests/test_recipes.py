"""Every command of docs/how-to/recipes.md, run in the order of the page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from imagenet_captions.imagenet import classes
from tests.command_line import run_bash, run_lines

PAGE = (Path(__file__).parent.parent / "docs" / "how-to" / "recipes.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release with three entries a class, and the images of twenty of them."""
    folder = tmp_path_factory.mktemp("recipes")
    entries = []
    for index, wnid in enumerate(classes.wnids()):
        name = classes.by_wnid(wnid).name
        for number in range(3):
            description = f"seen with a {name}" if number else ""
            entry = {"filename": f"{wnid}_{number}.JPEG", "wnid": wnid, "title": f"My {name}", "tags": ["canon", name]}
            entries.append({**entry, "description": description})
        if index < 20:
            (folder / "train" / wnid).mkdir(parents=True)
            Image.new("RGB", (8, 8), (index * 10, 99, 40)).save(folder / "train" / wnid / f"{wnid}_0.JPEG", "JPEG")
    (folder / "imagenet_captions.json").write_text(json.dumps(entries), encoding="utf-8")
    return folder


@pytest.mark.slow
def test_every_command_of_the_page(folder: Path) -> None:
    bash = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    python = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    run_lines("".join(bash), folder)
    run_bash("python - <<'EOF'\n" + "\n".join(python) + "\nEOF", folder)

    def rows(name: str) -> int:
        return int(json.loads((folder / name / "manifest.json").read_text())["counts"]["kept"])

    assert (rows("in100"), rows("imagenette"), rows("two-a-class")) == (300, 30, 2000)
    assert (rows("trimmed"), rows("alike"), rows("pets")) == (2960, 2000, 3 * 119)
    assert len((folder / "objectnet.txt").read_text().split()) == 3 * 125
    assert 200 < len((folder / "tenth.txt").read_text().split()) < 400
    split = set((folder / "train-ids.txt").read_text().split())
    assert len(split) + rows("val") == 3000
    assert (folder / "title.csv").read_text().splitlines()[1] == "n01440764_0.JPEG,My tench"
    assert "a photo of a tench My tench canon tench" in (folder / "named.csv").read_text()
    assert len((folder / "train.tsv").read_text().splitlines()) == 21
    assert json.loads((folder / "subset.json").read_text())[0]["title"] == "My tench"
    assert len((folder / "dogs.csv").read_text().splitlines()) == 119
