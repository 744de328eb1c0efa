"""The commands and the code of the page on scores, run as they are written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from imagenet_captions.models.build import build_model
from imagenet_captions.models.load import save_model
from tests.command_line import invoke
from tests.dataset.made import make_dataset, rows

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "score.md"


@pytest.mark.slow
def test_the_commands_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_dataset(tmp_path, rows(4), images=True).rename(tmp_path / "imagenet-captions")
    save_model(build_model("micro", seed=0), tmp_path / "RUN")
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    (commands,) = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    for command in commands.splitlines():
        code, told = invoke(*shlex.split(command)[1:])
        assert code == 0, told
        assert "kept" in told
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(program, {})
    assert "'weights'" in capsys.readouterr().out
