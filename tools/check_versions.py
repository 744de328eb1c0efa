"""Small jobs of every kind, as a user runs them, with the lowest or the newest libraries that setup.cfg allows."""

from __future__ import annotations

import argparse
import configparser
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

ROOT = Path(__file__).parent.parent
EXTRAS = ("train", "report", "cloud", "ray")
RESOLUTIONS = {"lowest": "lowest-direct", "newest": "highest"}
MINORS = {"lowest": range(10, 20), "newest": range(20, 9, -1)}
SECONDS_A_JOB = 300

LOAD = """
import imagenet_captions as ic
from datasets import load_dataset
rows = load_dataset("dataset", split="train")
named = ic.has("title") & ic.in_class("dog", "fish")
for place in ("dataset", "s3://bucket/subset"):
    streamed = list(ic.load(place, named, streaming=True))
    assert streamed and streamed == list(ic.load(place, named)), place
assert list(load_dataset("dataset", split="train", streaming=True)) == list(rows)
assert rows[0]["image"].size[0] > 0
"""
STEP = "--steps 1 --batch-size 4 --workers 1 --accelerator cpu"
# What each does, and a command of ours, or a program in Python.
JOBS: dict[str, str] = {
    "the demo": "demo --out dataset",
    "a filter": "filter dataset --has title --out subset",
    "a filter to s3://": "filter dataset --has title --out s3://bucket/subset",
    "an export to s3://": "export subset --to webdataset --out s3://bucket/shards",
    "load and load_dataset, streaming too": LOAD,
    "Ray": "export subset --to webdataset --out shards --engine ray --workers 1",
    "statistics as a page": "stats subset --html page.html",
    "effective robustness with a figure": "robustness published --plot figure.svg --out er.csv",
    "a training step": f"train subset --recipe micro-contrastive --out run {STEP}",
    "one of open_clip's towers": f"train subset --recipe micro-contrastive --model vit-micro --out v {STEP}",
    "one with timm and transformers": f"train subset --recipe align --model align-micro --out a {STEP}",
    "zero-shot evaluation": "evaluate run --on own=dataset --out metrics.json",
    "a linear probe": "evaluate run --on own=dataset --classifier linear-probe --train dataset --out probe.json",
}


def main() -> None:
    """Make an environment, list its versions, and run the jobs; the first that fails ends it with exit code 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("end", choices=sorted(RESOLUTIONS))
    end = parser.parse_args().end
    with tempfile.TemporaryDirectory(prefix="ic-versions-") as folder:
        begun = time.monotonic()
        python = make_environment(end, Path(folder))
        print(f"{end}: installed in {time.monotonic() - begun:.0f} s", *direct_versions(python), sep="\n  ", flush=True)
        with s3_stand_in() as places:
            run_jobs(python, Path(folder), places)


def make_environment(end: str, folder: Path) -> Path:
    """Install the package as a user does, not as a link to its sources; return the interpreter."""
    environment = {**os.environ, "UV_CACHE_DIR": str(folder / "cache"), "UV_PYTHON_DOWNLOADS": "never"}
    uv = [sys.executable, "-m", "uv", "--quiet"]
    subprocess.run([*uv, "venv", "--python", find_python(end), str(folder / "env")], check=True, env=environment)
    python = folder / "env" / "bin" / "python"
    package = f"{ROOT}[{','.join(EXTRAS)}]"
    install = [*uv, "pip", "install", "--python", str(python), "--resolution", RESOLUTIONS[end], package]
    subprocess.run(install, check=True, env=environment)
    shutil.rmtree(folder / "cache")
    return python


def find_python(end: str) -> str:
    """The oldest or newest interpreter on the path, or among those that pyenv keeps off it."""
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for minor in MINORS[end]:
        found = [shutil.which(f"python3.{minor}"), *map(str, sorted(kept.glob(f"3.{minor}.*/bin/python3")))]
        for python in filter(None, found):
            if subprocess.run([python, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
                return python
    sys.exit("no Python of 3.10 or newer was found")


def direct_versions(python: Path) -> Iterator[str]:
    """The Python and the version of every library that setup.cfg names for these extras."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    texts = [config["options"]["install_requires"], *(config["options.extras_require"][extra] for extra in EXTRAS)]
    names = sorted(set(re.findall(r"^([a-zA-Z_][\w-]*)", "\n".join(texts), re.MULTILINE)) - {"imagenet-captions"})
    program = "import sys; from importlib.metadata import version; print('python', sys.version.split()[0])\n"
    program += f"for name in {names}: print(name, version(name))"
    yield from subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout.splitlines()


@contextmanager
def s3_stand_in() -> Iterator[dict[str, str]]:
    """Run an S3 server with an empty bucket; give the environment in which s3:// is found there."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    address = f"http://{host}:{port}"
    places = {"AWS_ENDPOINT_URL": address, "FSSPEC_S3_ENDPOINT_URL": address, "AWS_EC2_METADATA_DISABLED": "true"}
    try:
        own = {"aws_access_key_id": "AKIATEST", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=address, **own).create_bucket(Bucket="bucket")
        yield places | keys
    finally:
        server.stop()


def run_jobs(python: Path, folder: Path, places: dict[str, str]) -> None:
    """Run every job in an empty folder with an empty home, and say how long each took."""
    work, home = folder / "work", folder / "home"
    work.mkdir()
    home.mkdir()
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environment = {**kept, "HOME": str(home), "HF_HUB_OFFLINE": "1", **places}
    for name, job in JOBS.items():
        command = [python, "-c", job] if job is LOAD else [python.with_name("imagenet-captions"), *job.split()]
        begun = time.monotonic()
        done = subprocess.run(
            command, cwd=work, env=environment, timeout=SECONDS_A_JOB, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            sys.exit(f"{name} failed with exit code {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}")
        print(f"  {name}: {time.monotonic() - begun:.0f} s", flush=True)
    if any(path.name.startswith("s3:") for path in work.iterdir()):
        sys.exit("a URL was taken for a folder of this machine")


if __name__ == "__main__":
    main()
