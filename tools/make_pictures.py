"""Draw the pictures of the README: rows of the demo's dataset, and the figure of published models.

python tools/make_pictures.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

from PIL import Image

import imagenet_captions as ic

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
COLUMNS, ROWS = 4, 2


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        run("demo", "--out", f"{folder}/demo")
        draw_rows(f"{folder}/demo", PICTURES / "rows.png")
    run("robustness", "published", "--all-classes", "--plot", str(PICTURES / "robustness.png"), "--overwrite")
    for path in PICTURES.glob("*.png"):  # a page loads them in a moment
        with Image.open(path) as picture:
            picture.convert("RGB").resize((1000, 1000 * picture.height // picture.width)).quantize(256).save(
                path, optimize=True
            )


def run(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "imagenet_captions", *words], check=True, stdout=subprocess.DEVNULL)


def draw_rows(dataset: str, path: Path) -> None:
    """Draw a row of each of some classes: its image, class, caption and tags."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    first: dict[str, dict[str, object]] = {}
    for row in ic.load(dataset, ic.has("title") & ic.has("tags")):
        if str(row["caption"]).isascii():
            first.setdefault(str(row["class_name"]), row)
    figure, axes = pyplot.subplots(ROWS, COLUMNS, figsize=(12.5, 6.5), layout="constrained")
    for one, (name, row) in zip(axes.flat, first.items(), strict=False):
        tags = row["tags"]
        assert isinstance(tags, list)
        one.imshow(row["image"])
        one.set_title(f"{row['image_id']}\n{name}", fontsize=9, fontweight="bold")
        text = f"caption: {row['caption']}\ntags: {', '.join(tags)}"
        lines = [line for part in text.splitlines() for line in textwrap.wrap(part, 38)[:3]]
        one.set_xlabel("\n".join(lines), fontsize=8, loc="left")
        one.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
