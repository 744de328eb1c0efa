"""verify finds what is wrong with a dataset, and names the first bad file."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.packager.package import PackageSettings, package, verify
from tests.packager.made import IDS, train_folder, write_captions

DATA, RAW = "data/train-00000-of-00001.parquet", "raw/train-00000-of-00001.parquet"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    captions = write_captions(tmp_path / "captions.parquet")
    package(captions, tmp_path / "out", PackageSettings(train_folder(tmp_path / "images")))
    return tmp_path / "out"


def test_a_whole_dataset_passes(dataset: Path) -> None:
    assert str(verify(dataset)) == f"whole: 5 files, {len(IDS)} rows, {len(IDS)} images"


def signed(dataset: Path, name: str) -> None:
    """Put the bytes that a file has now into the manifest, as someone who edits a dataset would."""
    manifest = json.loads((dataset / "manifest.json").read_text())
    data = (dataset / name).read_bytes()
    manifest["files"][name] |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    if name.endswith(".parquet"):
        manifest["files"][name]["rows"] = pq.read_metadata(dataset / name).num_rows
    (dataset / "manifest.json").write_text(json.dumps(manifest))


def edit(name: str, change: Callable[..., object]) -> Callable[[Path], None]:
    def edited(dataset: Path) -> None:
        pq.write_table(change(pq.read_table(dataset / name, partitioning=None)), dataset / name)
        signed(dataset, name)

    return edited


def flip(dataset: Path) -> None:
    data = bytearray((dataset / DATA).read_bytes())
    data[len(data) // 2] ^= 1
    (dataset / DATA).write_bytes(data)


def listing(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def changed(dataset: Path) -> None:
        manifest = json.loads((dataset / "manifest.json").read_text())
        change(manifest)
        (dataset / "manifest.json").write_text(json.dumps(manifest))

    return changed


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (flip, f"{DATA} has other bytes than when it was written; package"),
        (lambda d: (d / RAW).unlink(), f"{RAW} is missing"),
        (lambda d: (d / "README.md").write_text("new"), "README.md has 3 bytes"),
        (lambda d: (d / "data/extra.parquet").write_bytes(b""), "data/extra.parquet is not in the manifest"),
        (lambda d: [(d / DATA).unlink(), (d / RAW).unlink()], f"{DATA} is missing, and 1 more files are bad"),
        (edit(DATA, lambda t: t.replace_schema_metadata({})), f"{DATA} has another schema"),
        (edit(DATA, lambda t: t.take(list(range(len(t)))[::-1])), f"{DATA} and its other shards are not sorted"),
        (edit(RAW, lambda t: t.slice(1)), "lists other rows in data/ than in raw/"),
        (listing(lambda m: m["counts"].update(kept=99)), "outcomes.parquet has other counts than the manifest"),
        (listing(lambda m: m["files"][DATA].update(rows=99)), "lists other rows in data/ than in raw/"),
        (
            listing(lambda m: [m["files"][name].update(rows=99) for name in (DATA, RAW)]),
            f"{DATA} has another number of rows",
        ),
        (listing(lambda m: m["files"].pop("outcomes.parquet")), "does not list outcomes.parquet"),
        (lambda d: (d / "manifest.json").unlink(), "has no manifest.json"),
        (listing(lambda m: m.update(version=2)), "another version"),
        (listing(lambda m: m.pop("counts")), "has not the expected content"),
    ],
)
def test_harm_is_found(dataset: Path, harm: Callable[[Path], object], message: str) -> None:
    harm(dataset)
    with pytest.raises(InputError) as found:
        verify(dataset)
    assert message in str(found.value)
    assert "\n" not in str(found.value)
