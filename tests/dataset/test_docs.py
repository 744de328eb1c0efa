"""What docs/filter.md and docs/load.md show, run as it is written on the bundled sample."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from imagenet_captions.demo.run import SAMPLE
from imagenet_captions.imagenet.class_lists import list_names
from imagenet_captions.pipeline.build import BuildSettings, build

DOCS = Path(__file__).parent.parent.parent / "docs"


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


def run(script: list[str], folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        script,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_filter(folder: Path) -> None:
    script = blocks("filter.md", "bash")
    shown = run(["bash", "-euo", "pipefail", "-c", script], folder)
    assert shown.count("kept") == len(script.strip().splitlines())
    assert (folder / "dogs" / "manifest.json").exists()
    assert all(name in (DOCS / "filter.md").read_text(encoding="utf-8") for name in list_names())


def test_load(folder: Path) -> None:
    script = blocks("load.md", "python") + "\nprint(len(dogs), len(tagged), len(raw), len(rows))"
    assert run([sys.executable, "-c", script], folder).split()[-4:] == ["0", "19", "7", "1"]
