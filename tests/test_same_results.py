"""The tool that compares the results of two checkouts: it finds a difference, and none where there is none."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
LINES = (
    ("match", "match --urls sample/urls.txt --ids sample/ids.txt --out matches.parquet"),
    ("crawl", "crawl --matches matches.parquet --store photos.sqlite --endpoint ENDPOINT --rate 50/s --tries 1"),
    ("clean", "clean --matches matches.parquet --store photos.sqlite --out captions.parquet --workers 1"),
    ("package", "package --captions captions.parquet --out crawled --workers 1"),
    ("publish", "publish crawled somebody/captions --dry-run"),
    ("slim", "export crawled --to slim --out slim.csv"),
)


@pytest.fixture
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("same_results", ROOT / "tools" / "same_results.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_change_of_results_is_found(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = LINES

    def chosen(release: Path | None, train: Path | None) -> Iterator[tuple[str, str]]:
        yield from lines

    def compare(code: int) -> str:
        monkeypatch.setattr(sys, "argv", ["same_results.py", str(tmp_path)])
        with pytest.raises(SystemExit) as ended:
            tool.main()
        assert ended.value.code == code
        return capsys.readouterr().out

    monkeypatch.setattr(tool, "commands", chosen)
    shutil.copytree(ROOT / "imagenet_captions", tmp_path / "imagenet_captions")
    told = compare(0)
    assert told.count(" equal\n") == len(LINES)
    assert "crawl                    1 files  equal" in told
    assert "publish                  1 files  equal" in told
    lines = LINES[:1]
    written = tmp_path / "imagenet_captions" / "storage" / "parquet.py"
    before = 'COMPRESSION = "zstd"'
    assert before in written.read_text(encoding="utf-8")
    written.write_text(written.read_text(encoding="utf-8").replace(before, 'COMPRESSION = "gzip"'))
    assert "DIFFERENT: matches" in compare(1)


RECORD = {
    "format": "receipt",
    "made_with": {"x": "1"},
    "settings": {"out": "HERE/run", "steps": 3},
    "files": {"a": "f"},
}


@pytest.mark.parametrize(
    ("key", "value", "is_equal"),
    [
        ("made_with", {"x": "2"}, True),
        ("parent", "0" * 64, False),
        ("settings", {"out": "HERE/run", "steps": 4}, False),
    ],
)
def test_records_are_compared_without_versions_and_paths(
    tool: ModuleType, tmp_path: Path, key: str, value: object, is_equal: bool
) -> None:
    found = []
    for folder, record in ((tmp_path / "before", RECORD), (tmp_path / "after", {**RECORD, key: value})):
        folder.mkdir()
        (folder / "settings.json").write_text(json.dumps(record).replace("HERE", str(folder)), encoding="utf-8")
        found.append(tool.digests(folder))
    assert (found[0] == found[1]) is is_equal
