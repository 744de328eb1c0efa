"""The tool that compares the results of two checkouts: it finds a difference, and none where there is none."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINE = "match --urls sample/urls.txt --ids sample/ids.txt --out matches.parquet"


@pytest.mark.slow
def test_a_change_of_results_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("same_results", ROOT / "tools" / "same_results.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def one(release: Path | None, train: Path | None) -> Iterator[tuple[str, str]]:
        yield "match", LINE

    monkeypatch.setattr(tool, "commands", one)
    shutil.copytree(ROOT / "imagenet_captions", tmp_path / "imagenet_captions")
    for changed in (False, True):
        if changed:
            written = tmp_path / "imagenet_captions" / "storage" / "parquet_writing.py"
            before = 'COMPRESSION = "zstd"'
            assert before in written.read_text(encoding="utf-8")
            written.write_text(written.read_text(encoding="utf-8").replace(before, 'COMPRESSION = "gzip"'))
        monkeypatch.setattr(sys, "argv", ["same_results.py", str(tmp_path)])
        with pytest.raises(SystemExit) as ended:
            tool.main()
        assert ended.value.code == int(changed)
        assert ("DIFFERENT: matches" in capsys.readouterr().out) is changed
