"""Every command of the README, run as it is written."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from imagenet_captions.demo.flickr_stand_in import FlickrStandIn
from imagenet_captions.demo.run import SAMPLE
from tests.ablations.made import write_micro_set
from tests.chain import answerable_photos
from tests.command_line import run_bash

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = {
    heading: re.findall(r"```(bash|python)\n(.*?)```", body, re.DOTALL)
    for heading, body in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", README, re.DOTALL | re.MULTILINE)
}


def only(heading: str, language: str) -> str:
    ((found, text),) = BLOCKS[heading]
    assert found == language
    return str(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with what the README's user has, under the names that the README gives it."""
    shutil.copy(SAMPLE / "release.json", tmp_path / "imagenet_captions.json")
    shutil.copytree(SAMPLE / "train", tmp_path / "ILSVRC2012_img_train")
    photos = [photo for photo, answer in answerable_photos().items() if answer["stat"] == "ok"][:6]
    lines = (SAMPLE / "urls.txt").read_bytes().split(b"\n")
    chosen = [line for line in lines if any(photo.encode() in line for photo in photos)]
    (tmp_path / "fall11_urls.txt").write_bytes(b"\n".join(chosen) + b"\n")
    ids = {line.split()[0].decode() for line in chosen}
    solution = "".join(f"{identifier},{identifier[:9]} 1 2 30 40 \n" for identifier in sorted(ids))
    (tmp_path / "LOC_train_solution.csv").write_text(f"ImageId,PredictionString\n{solution}")
    return tmp_path


def test_no_block_is_left_out() -> None:
    assert {heading for heading, blocks in BLOCKS.items() if blocks} == {
        "Try it",
        "Install",
        "You have the published JSON and ImageNet",
        "You want to rebuild it from Flickr",
        "You study robustness",
        "You repeat the paper's experiments",
    }


def test_try_it(tmp_path: Path) -> None:
    demo, tests = only("Try it", "bash").splitlines()
    assert tests.split("#")[0].strip() == "tools/test"  # this very run, in CI
    script = f"{demo.split('#')[0].strip()} --out {tmp_path / 'dataset'}"
    # The environment of this run only if it is of this setup.cfg: of another one, the tools would make it anew.
    made_of = run_bash(f'cd {ROOT}; echo "$(python --version) $(cat setup.cfg pyproject.toml | cksum)"', tmp_path)
    stamp = Path(sys.prefix, ".installed")
    same = stamp.exists() and stamp.read_text(encoding="utf-8").startswith(made_of)
    shown = run_bash(f"cd {ROOT}; {script}", tmp_path, IC_ENV=sys.prefix if same else str(tmp_path / "env"))
    expected = (SAMPLE / "expected.tsv").read_text(encoding="utf-8")
    for outcome in {line.split("\t")[1] for line in expected.splitlines()[1:]}:
        assert re.search(rf"^{outcome} +\d", shown, re.MULTILINE), outcome
    assert f"dataset: {tmp_path / 'dataset'}" in shown
    assert len(re.findall(r"^  n\d{8}_\d+  \S", shown, re.MULTILINE)) == 3


def test_install() -> None:
    clone, folder, install = only("Install", "bash").splitlines()
    assert (clone, folder) == ("git clone REPOSITORY imagenet-captions", "cd imagenet-captions")
    assert install == "pip install ."
    listed = run_bash("python -m pip list", ROOT)
    assert "imagenet-captions" in listed


@pytest.mark.slow
def test_from_the_release_and_on_to_python_and_to_the_exports(folder: Path) -> None:
    shown = run_bash(only("You have the published JSON and ImageNet", "bash"), folder)
    assert re.search(r"^kept +\d+", shown, re.MULTILINE)
    (_, python), (_, bash) = BLOCKS["You study robustness"]
    script = f"{python}\nprint(len(dogs), len(named), len(as_written))"
    dogs, named, as_written = map(int, run_bash(f"python - <<'EOF'\n{script}\nEOF", folder).split())
    assert 0 < dogs < as_written
    assert 0 < named < as_written
    run_bash(bash, folder)
    assert json.loads((folder / "subset" / "manifest.json").read_text())["files"]
    assert list((folder / "shards").glob("*.tar"))
    assert (folder / "captions.tsv").read_text(encoding="utf-8").startswith("filepath\ttitle\n")
    assert (folder / "figure.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")


@pytest.mark.slow
def test_from_flickr(folder: Path) -> None:
    script = only("You want to rebuild it from Flickr", "bash").strip()
    with FlickrStandIn(answerable_photos()) as flickr:
        shown = run_bash(f"{script} --endpoint {flickr.endpoint}", folder)
    assert re.search(r"^kept +[1-6] ", shown, re.MULTILINE)
    assert (folder / "rebuilt" / "README.md").exists()


@pytest.mark.slow
def test_the_experiments(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    install, show, paper, micro = only("You repeat the paper's experiments", "bash").splitlines()
    assert install == "pip install '.[train]'"
    assert re.search(r"^lr +0.001 +", run_bash(show, tmp_path), re.MULTILINE)
    assert paper.startswith("imagenet-captions ablate all ")  # tests/ablations has this one
    for name, per_class in (("cifar10_train.parquet", 40), ("cifar10_test.parquet", 4)):
        write_micro_set(tmp_path / name, per_class)
    shown = run_bash(f"{micro} --dry-run", tmp_path)
    assert "micro-clip" in shown
