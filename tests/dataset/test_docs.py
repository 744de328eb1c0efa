"""What docs/how-to/filter.md shows, run as it is written on the bundled sample."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from imagenet_captions.demo.run import SAMPLE
from imagenet_captions.imagenet.classes import list_names
from imagenet_captions.pipeline.build import BuildSettings, build
from tests.command_line import run_bash, run_lines

DOCS = Path(__file__).parent.parent.parent / "docs" / "how-to"


def blocks(page: str, language: str) -> str:
    text = (DOCS / page).read_text(encoding="utf-8")
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("docs")
    release = made / "release.json"
    # The second retriever of the sample has been at the beach.
    text = (SAMPLE / "release.json").read_text(encoding="utf-8")
    release.write_text(re.sub(r'("n02099601_\d+\.JPEG".*?"title": ")', r"\1beach ", text, flags=re.DOTALL))
    build(made / "imagenet-captions", BuildSettings(release=release, work=made / "work", workers=1))
    return made


def test_filter(folder: Path) -> None:
    script = blocks("filter.md", "bash")
    shown = run_lines(script, folder).stdout
    assert shown.count("kept") == len(list(filter(None, script.splitlines())))
    assert (folder / "dogs" / "manifest.json").exists()
    script = blocks("filter.md", "python") + "\nprint(len(dogs), len(tagged), len(raw), len(rows))"
    shown = run_bash(f"python - <<'EOF'\n{script}\nEOF", folder, HF_DATASETS_CACHE=str(folder / "cache"))
    assert shown.split()[-4:] == ["0", "19", "7", "1"]
    assert (folder / "beach.txt").read_bytes() == (folder / "dogs.txt").read_bytes()
    assert (folder / "smaller" / "manifest.json").exists()
    assert all(name in (DOCS / "filter.md").read_text(encoding="utf-8") for name in list_names())
