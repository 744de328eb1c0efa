"""Every command that writes: never over an input, never over somebody else's file, and its own again and again."""

from __future__ import annotations

import json
import os
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from imagenet_captions.cli.app import app
from imagenet_captions.crawler.policy import State
from imagenet_captions.crawler.store import open_store
from imagenet_captions.demo.run import SAMPLE
from tests.dataset.made import write_scores
from tests.evaluation.comparison.made_results import write_result
from tests.packager.made import contents
from tests.sources.made_yfcc import row, text

RESULTS = "model,imagenet,imagenet-v2\na,76.1,63.2\nb,70.0,57.1\n"


def cli(*arguments: str | Path) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda _: {0})  # as on one core: worker processes take long to start
        return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs of every kind in one folder."""
    folder = tmp_path_factory.mktemp("made")
    for name in ("release.json", "urls.txt", "ids.txt"):
        shutil.copy(SAMPLE / name, folder / name)
    shutil.copytree(SAMPLE / "train", folder / "train")
    (folder / "deny.txt").write_text("n01440764_10026\n")
    (folder / "results.csv").write_text(RESULTS)
    (folder / "yfcc100m_dataset").write_bytes(text([row("2737866473")]))
    with open_store(folder / "photos.sqlite") as store:
        store.save_answer("1", State.NOT_FOUND, b'{"stat": "fail", "code": 1}', 1_700_000_000)
    for name, right in (("one", [True, False]), ("two", [True, True])):
        write_result(folder / name, {"own": right})
    for command in (
        ["build", "--release", folder / "release.json", "--images", folder / "train", "--out", folder / "dataset"],
        ["match", "--urls", folder / "urls.txt", "--ids", folder / "ids.txt", "--out", folder / "matches.parquet"],
        ["clean", "--release", folder / "release.json", "--out", folder / "captions.parquet"],
    ):
        assert cli(*command).exit_code == 0
    ids = pq.read_table(folder / "captions.parquet", columns=["image_id"])["image_id"].to_pylist()
    (folder / "keep.txt").write_text("\n".join(ids[:9]))
    sample = {"n": len(ids), "top1": 0.5, "per_class": {each[:9]: {"n": 2, "correct": 1} for each in ids}}
    (folder / "classes.json").write_text(json.dumps({"test_sets": {"sample": sample}}))
    write_scores(folder / "scores.parquet", ids, [at / 100 for at in range(len(ids))], folder / "dataset")
    if find_spec("torch"):
        from imagenet_captions.models.build import build_model
        from imagenet_captions.models.load import save_model

        save_model(build_model("micro", seed=0), folder / "clip")
    return folder


_NEEDS_TORCH = pytest.mark.skipif(not find_spec("torch"), reason="needs the extra `train`")

# A command, the flag of its output, and the name that the output may have.
FILES = [
    ("match --urls urls.txt --ids ids.txt --deny deny.txt", "--out", "new.parquet"),
    ("extract-yfcc yfcc100m_dataset --matches matches.parquet", "--out", "new.parquet"),
    ("clean --release release.json --deny deny.txt", "--out", "new.parquet"),
    ("clean --matches matches.parquet --store photos.sqlite", "--out", "new.parquet"),
    ("filter dataset --has title --ids keep.txt --deny deny.txt", "--out-ids", "new.txt"),
    ("export dataset --to slim --deny deny.txt", "--out", "new.csv"),
    ("export dataset --to open-clip-csv --images train", "--out", "new.tsv"),
    ("export dataset --to release-json", "--out", "new.json"),
    ("label-by-text dataset", "--out", "new.csv"),
    pytest.param("score dataset --model clip", "--out", "new.parquet", marks=_NEEDS_TORCH),
    ("filter dataset --scores scores.parquet --score-top 0.5", "--out-ids", "new.txt"),
    ("diff dataset dataset", "--out", "new.tsv"),
    *(("stats dataset --images train", flag, "new") for flag in ("--csv", "--html", "--counts")),
    ("stats dataset", "--frequencies", "new"),
    ("robustness results.csv", "--out", "new.csv"),
    ("robustness results.csv", "--plot", "new.svg"),
    ("frequency classes.json --data dataset --ids keep.txt", "--out", "new.csv"),
    ("frequency classes.json --data dataset --ids keep.txt", "--plot", "new.svg"),
    ("compare one/metrics.json two/metrics.json", "--out", "new.csv"),
    ("compare one/metrics.json two/metrics.json", "--plot", "new.svg"),
]
FOLDERS = [
    ("build --release release.json --images train", "--out", "new"),
    ("package --captions captions.parquet --images train", "--out", "new"),
    ("filter dataset --has title --ids keep.txt", "--out", "new"),
    ("export dataset --to webdataset --images train", "--out", "new"),
]
INPUTS = frozenset(
    "release.json urls.txt ids.txt keep.txt deny.txt results.csv photos.sqlite matches.parquet captions.parquet "
    "yfcc100m_dataset train dataset clip scores.parquet one/metrics.json two/metrics.json "
    "classes.json".split()
)


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def refused(words: list[str], here: Path) -> str:
    """Run a command that must be refused in one sentence and change nothing; give the sentence."""
    before = contents(here)
    done = cli(*words)
    assert done.exit_code == 2, (words, done.output)
    assert done.output.count("\n") == 1, done.output
    assert done.output.startswith("imagenet-captions: ")
    assert contents(here) == before
    assert not isinstance(done.exception, OSError)
    return done.output


def inputs_of(words: list[str]) -> list[str]:
    return [word for word in dict.fromkeys(words) if word in INPUTS]


@pytest.mark.parametrize(("command", "flag", "name"), FILES + FOLDERS)
def test_no_input_is_replaced(here: Path, command: str, flag: str, name: str) -> None:
    """Every input, and what lies in it, is told to the one rule, whose tests have more forms."""
    words, ending = command.split(), Path(name).suffix
    more = [] if (command, flag, name) in FOLDERS else ["--overwrite"]
    for number, given in enumerate(word for word in dict.fromkeys(words) if word in INPUTS):
        out = Path(f"{given}/inside{ending}") if Path(given).is_dir() else Path(f"link{number}{ending}")
        if not Path(given).is_dir():
            out.symlink_to(given)
        said = refused([*words, flag, str(out), *more], here)
        assert re.search("is the input|is a file; give a folder|lies inside the", said), out
    assert re.search("an empty path|Invalid value|has no name", refused([*words, flag, "", *more], here))


@pytest.mark.parametrize(("command", "flag", "name"), FILES)
def test_a_file_is_replaced_with_overwrite_alone(here: Path, command: str, flag: str, name: str) -> None:
    words = [*command.split(), flag, name]
    Path(name).write_text("my thesis")
    assert "exists; give another name, or --overwrite to replace it" in refused(words, here)
    done = cli(*words, "--overwrite")
    assert done.exit_code == 0, done.output
    assert not list(here.rglob(".*"))


@pytest.mark.parametrize(("command", "flag", "name"), FOLDERS)
def test_a_folder_is_made_again_and_nothing_of_a_users_is_removed(
    here: Path, command: str, flag: str, name: str
) -> None:
    words = [*command.split(), flag, name]
    for _ in range(2):
        done = cli(*words)
        assert done.exit_code == 0, done.output
    Path(name, "README.md").write_text("mine")
    assert re.search("README.md.* (was changed since|is not ours)", refused(words, here))
    shutil.rmtree(name)
    Path(name).mkdir()
    Path(name, "thesis.tex").write_text("do not lose me")
    refused(words, here)
    Path(name, "manifest.json").write_text('{"format": "imagenet-captions dataset", "version": 1, "files": {}}')
    assert "which is not ours" in refused(words, here)


def test_the_record_of_a_file_makes_no_folder_ours(here: Path) -> None:
    assert cli("export", "dataset", "--to", "slim", "--out", "caps").exit_code == 0
    Path("caps").unlink()
    Path("caps").mkdir()
    Path("caps/thesis.tex").write_text("do not lose me")
    words = ["export", "dataset", "--to", "webdataset", "--images", "train", "--out", "caps"]
    assert "holds thesis.tex, which is not ours" in refused(words, here)


@pytest.mark.parametrize("work", ["release.json", "train/work", "new/work", "dataset"])
def test_the_work_folder(here: Path, work: str) -> None:
    refused(["build", "--release", "release.json", "--images", "train", "--out", "new", "--work", work], here)


@pytest.mark.parametrize("store", ["/dev/full", "matches.parquet", "dataset/photos.sqlite", ""])
def test_the_store_of_a_crawl(here: Path, store: str) -> None:
    Path("keys").write_text("FLICKR_API_KEY=secret")
    refused(["crawl", "--matches", "matches.parquet", "--key-file", "keys", "--store", store], here)


def test_an_error_of_the_operating_system_is_one_sentence(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(122, os.strerror(122), "some/file")

    monkeypatch.setattr("imagenet_captions.packager.package.verify", fail)
    assert "some/file: " in refused(["verify", "dataset"], here)
