"""The commands of the page on compare, run as they are written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from imagenet_captions.cli.app import app
from tests.evaluation.comparison.made_results import write_result

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "compare.md"
RIGHT = np.arange(60) % 2 == 0


def test_the_commands_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate("abc"):
        write_result(Path("runs") / name, {"imagenet": np.roll(RIGHT, 30 * number) | (np.arange(60) < 9 * number)})
    for name, kind in (("zero-shot", "zero-shot"), ("probe", "linear-probe")):
        file = write_result(Path(name), {"imagenet": RIGHT}, kind=kind)
        file.rename(f"{name}.json")
        (Path(name) / "metrics.answers.parquet").rename(f"{name}.answers.parquet")
    page = PAGE.read_text(encoding="utf-8")
    commands = [line for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    assert len(commands) == 3
    for command in commands:
        done = CliRunner().invoke(app, shlex.split(command)[1:])
        assert done.exit_code == 0, done.output
        assert "difference (95 %)" in done.output
    assert {"compare.csv", "compare.svg"} <= {path.name for path in tmp_path.iterdir()}
    (script,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(script, {})
