"""What holds for every page of the docs, and the commands of the pages that no other test runs."""

from __future__ import annotations

import doctest
import re
import shlex
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from imagenet_captions.demo.flickr_stand_in import FlickrStandIn
from imagenet_captions.demo.run import SAMPLE
from tests.chain import answerable_photos
from tests.command_line import run_bash, run_lines, understood

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PACKAGE = ROOT / "imagenet_captions"
ALL = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
PAGES = [page for page in ALL[2:] if page.name != "reference.md" and page.parent.name != "design"]
WORDS = 20_000  # of docs/, without the bars of tables
TRAINS = {"models.md"}  # pages whose examples need the extra `train`


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: str, language: str = "bash") -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.findall(r"^```([a-z ]*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block for info, block in found if info == language]


def test_the_pages_are_short() -> None:
    words = {named(page): len(re.findall(r"\S*\w\S*", page.read_text(encoding="utf-8"))) for page in ALL[2:]}
    assert sum(words.values()) <= WORDS, words


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_page_begins_with_a_command(page: Path) -> None:
    title, empty, fence, command = page.read_text(encoding="utf-8").splitlines()[:4]
    assert (title[:2], empty, fence[:3]) == ("# ", "", "```")
    assert command.startswith(("imagenet-captions ", "python -c "))


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*ALL, ROOT / "CHANGELOG.md"], ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" not in target:
            found = (page.parent / path).resolve() if path else page
            assert found.exists(), target
            assert not anchor or anchor in anchors(found), target


@pytest.mark.parametrize("page", [page for page in ALL if ">>>" in page.read_text(encoding="utf-8")], ids=named)
def test_the_examples_of_a_page(page: Path) -> None:
    if page.name in TRAINS and not find_spec("torch"):
        pytest.skip("needs the extra `train`")
    failed, tried = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert failed == 0
    assert tried > 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the inputs that the pages name, made of the sample."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copy(SAMPLE / "release.json", folder / "imagenet_captions.json")
    shutil.copy(SAMPLE / "urls.txt", folder / "fall11_urls.txt")
    shutil.copytree(SAMPLE / "train", folder / "ILSVRC2012_img_train")
    ids = (SAMPLE / "ids.txt").read_text(encoding="utf-8").split()
    solution = "".join(f"{name.partition('.')[0]},{name[:9]} 1 2 30 40 \n" for name in ids)
    (folder / "LOC_train_solution.csv").write_text(f"ImageId,PredictionString\n{solution}", encoding="utf-8")
    (denylist,) = (block for block in blocks("how-to/build.md", "") if "11632020" in block)
    (folder / "deny.txt").write_text(denylist, encoding="utf-8")
    return folder


def test_from_the_published_file_to_a_dataset(folder: Path) -> None:
    for script in blocks("how-to/build.md"):
        assert "kept" in run_lines(script, folder).stdout
    (script,) = blocks("how-to/publish.md")
    assert "this was a dry run" in run_lines(script, folder).stdout
    assert {"imagenet-captions", "as-published", "without-denied"} <= {path.name for path in folder.iterdir()}
    for page in ("cleaning", "dataset", "captions", "classes", "mentions"):
        for script in blocks(f"reference/{page}.md"):
            run_lines(script, folder)
    assert (folder / "captions.csv").read_text(encoding="utf-8").startswith("filename,caption\nn")
    chosen = (folder / "chosen.txt").read_text(encoding="utf-8").split()
    assert {name[:9] for name in chosen} == {"n02099601", "n02123045"}
    assert (folder / "named.txt").read_text(encoding="utf-8")


def test_from_flickr(folder: Path) -> None:
    run_lines("".join(blocks("reference/matching.md")), folder)
    (folder / "matches.parquet").unlink()
    (script,) = blocks("how-to/crawl.md")
    with FlickrStandIn(answerable_photos()) as flickr:
        asking = f" --endpoint {flickr.endpoint} --rate unlimited"
        run_lines(script.strip() + asking, folder)
        (rebuild,) = blocks("how-to/build.md", "bash flickr")
        assert "kept" in run_lines(rebuild.strip() + asking, folder).stdout
    assert (folder / "photos.sqlite").exists()
    (explaining,) = blocks("how-to/explain.md")
    assert "IMG_1234" in run_lines(explaining, folder).stdout


def test_the_tutorial(tmp_path: Path) -> None:
    demo, *later = blocks("tutorial.md")
    (python,) = blocks("tutorial.md", "python")
    assert "kept" in run_lines(demo + "".join(later[:-1]), tmp_path).stdout
    shown = run_bash(f"python - <<'EOF'\n{python}\nEOF", tmp_path)
    assert shown.splitlines()[-1].endswith("other rows with tags")
    assert "CLIP" in run_lines(later[-1], tmp_path).stdout
    if find_spec("torch"):
        shown = run_lines("".join(blocks("tutorial.md", "bash train")), tmp_path).stdout
        assert (tmp_path / "metrics.json").exists(), shown


def test_a_line_of_the_changelog_is_short() -> None:
    lines = re.findall(r"^- (.*(?:\n  .*)*)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert lines
    assert [line for line in lines if len(line.split()) > 25] == []


def commands_of(page: Path) -> list[list[str]]:
    """The words of every command of ours in the code of a page, after `imagenet-captions`."""
    found = re.findall(r"^```([a-z ]*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    code = "".join(block for info, block in found if info == "" or info.startswith("bash"))
    lines = [line for line in code.replace("\\\n", " ").splitlines() if re.search(r"\bimagenet-captions [a-z]", line)]
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[line.index("imagenet-captions") + 1 :] for line in words]


@pytest.mark.parametrize("page", [page for page in ALL if commands_of(page)], ids=named)
def test_every_command_is_understood(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("deny.txt").write_text("2737866473\n")
    for words in commands_of(page):
        if "[OPTIONS]" not in words:
            understood(*words)


def test_every_file_that_contributing_names_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = set(re.findall(r"`([\w./-]+(?:/|\.py|\.md|\.txt))`", text))
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path).exists() and not (PACKAGE / path).exists()] == []
