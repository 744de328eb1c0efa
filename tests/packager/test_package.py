"""The dataset folder: what is in it, images that it cannot use, what verify finds, and that bare readers load it."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from imagenet_captions.dataset import writing
from imagenet_captions.dataset.card import DatasetFacts
from imagenet_captions.errors import DiskFullError, InputError
from imagenet_captions.imagenet import classes
from imagenet_captions.outcomes import OUTCOMES, Outcome, outcomes_path
from imagenet_captions.packager.package import PackageSettings, package, verify
from imagenet_captions.schema import RAW_ROW, ROW
from tests.packager.made import (
    DROPS,
    IDS,
    PROVENANCE,
    change_manifest,
    contents,
    image,
    images,
    sign,
    train_folder,
    write_captions,
)


def make(root: Path, held: dict[str, bytes] | None = None, missing: str = "report", workers: int = 1) -> DatasetFacts:
    captions = write_captions(root / "captions.parquet")
    return package(captions, root / "out", PackageSettings(train_folder(root / "images", held), missing), workers)


def outcomes(root: Path) -> dict[str, tuple[str, str | None]]:
    rows = pq.read_table(root / "out/outcomes.parquet").to_pylist()
    return {row["image_id"]: (row["outcome"], row["detail"]) for row in rows if row["image_id"]}


def test_columns_are_the_contract(tmp_path: Path) -> None:
    make(tmp_path)
    assert pq.read_table(tmp_path / "out/data").column_names == [*ROW.names, "image"]
    raw = pq.read_table(tmp_path / "out/raw")
    assert raw.column_names == RAW_ROW.names
    first = {name: raw[name][0].as_py() for name in ("image_id", "title", "tags")}
    assert first == {"image_id": IDS[0], "title": f"Photo <{IDS[0]}>", "tags": ["one", "zwei", "ns:a=b"]}
    schema = pq.read_schema(next((tmp_path / "out/data").iterdir()))
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert features["label"]["names"] == list(classes.wnids())
    assert features["tags"] == [{"dtype": "string", "_type": "Value"}]
    assert list(features) == schema.names
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["inputs"] == PROVENANCE["inputs"]
    assert manifest["settings"]["caption"] == "title tags description"
    assert manifest["counts"] == {"kept": len(IDS), "no_text": 1, "unknown_class": 7}
    assert manifest["files"].keys() | {"manifest.json"} == contents(tmp_path / "out").keys()


@pytest.mark.parametrize("ids", [IDS, []])
def test_without_images_there_is_no_image_column(tmp_path: Path, ids: list[str]) -> None:
    made = package(write_captions(tmp_path / "c.parquet", ids), tmp_path / "out", PackageSettings())
    assert pq.read_table(tmp_path / "out/data").column_names == ROW.names
    assert made.images is None
    assert str(verify(tmp_path / "out")) == f"whole: 5 files, {len(ids)} rows"


def test_the_same_bytes_twice_elsewhere_and_with_other_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "SMALL_SHARD", 1000)
    for name, workers in (("a", 1), ("deep/er", 3)):
        make(tmp_path / name, workers=workers)
    first = contents(tmp_path / "a/out")
    assert len(list((tmp_path / "a/out/data").iterdir())) > 3
    assert contents(tmp_path / "deep/er/out") == first
    make(tmp_path / "a")  # over the dataset that is there
    assert contents(tmp_path / "a/out") == first
    together = b"".join(first.values())
    assert str(tmp_path).encode() not in together


def test_missing_images_are_reported_or_skipped_or_fail(tmp_path: Path) -> None:
    held = images()
    del held[IDS[3]], held[IDS[4]]
    held[IDS[5]] = b""
    for missing, lost in (
        ("report", {Outcome.BROKEN_IMAGE: 1}),
        ("skip", {Outcome.BROKEN_IMAGE: 1, Outcome.NO_IMAGE: 2}),
    ):
        made, out = make(tmp_path / missing, dict(held), missing), tmp_path / missing / "out"
        ended = {Outcome.KEPT: len(IDS) - sum(lost.values()), Outcome.NO_TEXT: 1, Outcome.UNKNOWN_CLASS: 7, **lost}
        assert made.funnel == ended
        table = pq.read_table(out / "outcomes.parquet")
        assert pc.sum(table["count"]).as_py() == len(IDS) + sum(drop[-1] for drop in DROPS)
        ids = [value for value in table["image_id"].to_pylist() if value]
        assert len(ids) == len(set(ids)) == len(IDS) + 1
        for config in ("data", "raw"):
            assert len(pq.read_table(out / config)) == ended[Outcome.KEPT]
        verify(out)
    table = pq.read_table(tmp_path / "report/out/data")
    assert table.filter(pc.is_null(table["image"]))["image_id"].to_pylist() == IDS[3:5]
    assert outcomes(tmp_path / "report")[IDS[3]] == ("kept", "no image in the source")
    assert "2 rows have no image" in (tmp_path / "report/out/README.md").read_text()
    with pytest.raises(InputError, match=f"2 of {len(IDS)} rows have no image, the first is {IDS[3]}"):
        make(tmp_path / "fail", dict(held), "fail")
    assert not (tmp_path / "fail/out").exists()


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "zero bytes"),
        (b"<html>429 Too Many Requests</html>", "not an image"),
        (image("x")[:-2], "cut off before its end"),
    ],
)
def test_a_broken_image_drops_its_row_and_says_why(tmp_path: Path, data: bytes, fault: str) -> None:
    held = images() | {IDS[4]: data}
    made = make(tmp_path / "a", held)
    assert (made.funnel[Outcome.KEPT], made.funnel[Outcome.BROKEN_IMAGE]) == (len(IDS) - 1, 1)
    assert outcomes(tmp_path / "a")[IDS[4]] == ("broken_image", fault)
    for config in ("data", "raw"):
        assert IDS[4] not in pq.read_table(tmp_path / "a/out" / config)["image_id"].to_pylist()
    verify(tmp_path / "a/out")
    with pytest.raises(InputError, match=f"1 images cannot be used, the first is {IDS[4]}: {fault}"):
        make(tmp_path / "b", held, "fail")


def test_a_class_fills_row_groups_of_its_own(tmp_path: Path) -> None:
    make(tmp_path)
    for shard in (tmp_path / "out/data").iterdir():
        file = pq.ParquetFile(shard)
        for number in range(file.num_row_groups):
            assert len(set(file.read_row_group(number, columns=["wnid"])["wnid"].to_pylist())) == 1
        group = file.metadata.row_group(0)
        columns = {column.path_in_schema: column for column in map(group.column, range(group.num_columns))}
        data, wnid = columns["image.bytes"], columns["wnid"]
        assert (data.compression, data.has_dictionary_page, data.is_stats_set) == ("UNCOMPRESSED", False, False)
        assert columns["caption"].compression == "ZSTD"
        assert wnid.statistics.min == wnid.statistics.max
        assert wnid.has_offset_index


def test_files_that_are_no_captions_are_refused(tmp_path: Path) -> None:
    captions = write_captions(tmp_path / "c.parquet")
    table = pq.read_table(captions)
    for harm, sentence in (
        (lambda: captions.write_bytes(b"PAR1 and no more"), "damaged"),
        (lambda: pq.write_table(table.drop_columns(["raw_title"]), captions), "not a captions file"),
        (lambda: pq.write_table(table.take([1, 0]), captions), "not sorted"),
        (lambda: write_captions(captions, ids=["n01440764_99"]), "not of one run"),  # dropped by the file beside it too
    ):
        harm()
        with pytest.raises(InputError, match=sentence):
            package(captions, tmp_path / "out", PackageSettings())
    with pytest.raises(InputError, match=r"`missing` must be one of .*, not 'perhaps'"):
        PackageSettings(missing="perhaps")


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path)
    before = contents(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writing.ShardFile, "count", full)
    with pytest.raises(DiskFullError, match="no space is left on the disk"):
        make(tmp_path)
    assert contents(tmp_path) == before


def test_images_of_none_of_the_rows_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(tmp_path, {"n15075141_1": image("n15075141_1")})
    assert "none of the rows has an image in" in caplog.text


def test_earlier_drops_stand_among_the_rows_of_their_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captions = write_captions(tmp_path / "captions.parquet")
    drops = outcomes_path(captions)
    more = [(None, "n03888257"), ("n03888257_99", "n03888257"), (None, "n15075142"), (None, None)]
    rows = [{"image_id": one, "wnid": wnid, "outcome": Outcome.BAD_RECORD, "count": 1} for one, wnid in more]
    pq.write_table(pa.concat_tables([pq.read_table(drops), pa.Table.from_pylist(rows, schema=OUTCOMES)]), drops)
    monkeypatch.setattr(writing, "OUTCOMES_AT_ONCE", 1)
    package(captions, tmp_path / "out", PackageSettings())
    found = pq.read_table(tmp_path / "out/outcomes.parquet")
    kept = pa.table({"image_id": IDS, "wnid": [image_id[:9] for image_id in IDS]})
    expected = pa.concat_tables([kept, pq.read_table(drops, columns=["image_id", "wnid"])])
    assert found.select(["image_id", "wnid"]) == expected.sort_by([("wnid", "ascending"), ("image_id", "ascending")])


DATA, RAW = "data/train-00000-of-00001.parquet", "raw/train-00000-of-00001.parquet"


def edit(name: str, change: Callable[..., object]) -> Callable[[Path], None]:
    def edited(dataset: Path) -> None:
        pq.write_table(change(pq.read_table(dataset / name, partitioning=None)), dataset / name)
        sign(dataset, name)

    return edited


def flip(dataset: Path) -> None:
    data = bytearray((dataset / DATA).read_bytes())
    data[len(data) // 2] ^= 1
    (dataset / DATA).write_bytes(data)


def listing(change: Callable[[dict], object]) -> Callable[[Path], None]:
    return lambda dataset: change_manifest(dataset, change)


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
def test_harm_is_found(tmp_path: Path, harm: Callable[[Path], object], message: str) -> None:
    make(tmp_path)
    assert str(verify(tmp_path / "out")) == f"whole: 5 files, {len(IDS)} rows, {len(IDS)} images"
    harm(tmp_path / "out")
    with pytest.raises(InputError) as found:
        verify(tmp_path / "out")
    assert message in str(found.value)
    assert "\n" not in str(found.value)


# Stops at a named moment, says so, and waits there to be killed.
PROGRAM = """
import sys, time
from pathlib import Path
from imagenet_captions.dataset import writing
from imagenet_captions.engines.local import LOCAL
from imagenet_captions.packager.package import PackageSettings, package

def stop():
    print("here", flush=True)
    time.sleep(600)

def between_shards(*args, run=LOCAL.run, **kwargs):
    for number, shard in enumerate(run(*args, **kwargs)):
        if number == 2:
            stop()
        yield shard

def within_the_swap(*args, rename=Path.rename, calls=[]):
    calls.append(args)
    if len(calls) == 2:
        stop()
    return rename(*args)

writing.SMALL_SHARD = 1000
if sys.argv[1] == "between shards":
    LOCAL.run = between_shards
else:
    Path.rename = within_the_swap
package(Path("captions.parquet"), Path("out"), PackageSettings(Path("images")), workers=int(sys.argv[2]))
"""


@pytest.mark.parametrize(("there", "moment"), [(True, "within the swap"), (False, "between shards")])
def test_killed_and_run_again(tmp_path: Path, there: bool, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagenet_captions.dataset.writing.SMALL_SHARD", 1000)
    captions = write_captions(tmp_path / "captions.parquet")
    settings = PackageSettings(train_folder(tmp_path / "images"))
    package(captions, tmp_path / "whole", settings)
    expected = contents(tmp_path / "whole")
    if there:
        package(captions, tmp_path / "out", PackageSettings())
    workers = "2" if moment == "between shards" else "1"
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, moment, workers], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    if there and (tmp_path / "out").exists():
        verify(tmp_path / "out")  # the old one or the new one, and whole
    package(captions, tmp_path / "out", settings)
    assert contents(tmp_path / "out") == expected
    assert {path.name for path in tmp_path.iterdir()} - {captions.name, "captions.outcomes.parquet"} == {
        "images", "out", "whole",
    }  # fmt: skip


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
