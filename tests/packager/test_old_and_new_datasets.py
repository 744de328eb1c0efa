"""A dataset loads where only `datasets` is installed: the oldest version that we support, and the newest.

The two environments are made once, with plain pip, in the folder that IC_TEST_VENVS names, else in pytest's cache.
"""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from imagenet_captions.packager.package import PackageSettings, package
from tests.packager.made import IDS, image, images, train_folder, write_captions

VERSIONS = {"oldest": "datasets==2.19.*", "newest": "datasets"}

# Runs in the bare environment, isolated (-I) and without a network.
READER = """
import io, json, sys, socket
from importlib.util import find_spec

def refuse(*args, **kwargs):
    raise OSError("no network in this test")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse

assert find_spec("imagenet_captions") is None
import datasets
from datasets import ClassLabel, Image, load_dataset

found = {"version": datasets.__version__}
for config in ("default", "raw"):
    for streaming in (False, True):
        rows = load_dataset(sys.argv[1], config, split="train", streaming=streaming)
        assert isinstance(rows.features["label"], ClassLabel), rows.features["label"]
        assert rows.features["label"].num_classes == 1000
        assert config == "raw" or isinstance(rows.features["image"], Image)
        seen = []
        for row in rows:
            assert rows.features["label"].int2str(row["label"]) == row["wnid"]
            size = None
            if config == "default" and row["image"] is not None:
                size = row["image"].convert("RGB").size
            seen.append([row["image_id"], row["title"], row["tags"], str(row["date_posted"]), size])
        found[f"{config} {streaming}"] = seen
print(json.dumps(found))
"""


@pytest.fixture(scope="module", params=VERSIONS)
def python(request: pytest.FixtureRequest) -> Path:
    """The interpreter of an environment that has `datasets`, with Pillow for its images, and nothing of ours."""
    named = os.environ.get("IC_TEST_VENVS")
    cache = Path(named) if named else request.config.cache.mkdir("environments")
    place = cache / f"{request.param}-{sys.version_info.major}.{sys.version_info.minor}"
    interpreter = place / "bin/python"
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        venv.create(place, with_pip=True)
        pip = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, VERSIONS[request.param], "pillow"], check=True)
        (place / "complete").touch()
    return interpreter


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("dataset")
    held = images()
    del held[IDS[3]]
    held[IDS[4]] = image(IDS[4], "PNG", "RGBA")
    held[IDS[5]] = image(IDS[5], "JPEG", "CMYK")
    package(write_captions(root / "c.parquet"), root / "out", PackageSettings(train_folder(root / "i", held)))
    return root / "out"


@pytest.mark.slow
def test_loads_with_nothing_of_ours(python: Path, dataset: Path, tmp_path: Path) -> None:
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    command = [str(python), "-I", "-c", READER, str(dataset)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    for streaming in (False, True):
        default, raw = found[f"default {streaming}"], found[f"raw {streaming}"]
        assert [row[:2] for row in default] == [[image_id, f"Photo {image_id}"] for image_id in IDS]
        assert [row[:2] for row in raw] == [[image_id, f"Photo <{image_id}>"] for image_id in IDS]
        assert default[0][2:4] == [["one", "zwei"], "2008-01-10 21:20:00+00:00"]
        assert [row[0] for row in default if row[4] is None] == [IDS[3]]
    assert found["version"].startswith("2.19.") == ("oldest" in str(python))
