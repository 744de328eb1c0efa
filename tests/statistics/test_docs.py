"""The commands and examples of docs/how-to/stats.md, run as they are written."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from imagenet_captions.demo.run import SAMPLE, run_demo
from tests.command_line import run_bash, run_lines

PAGE = Path(__file__).parent.parent.parent / "docs" / "how-to" / "stats.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_every_command(tmp_path: Path) -> None:
    shutil.copytree(SAMPLE / "train", tmp_path / "ILSVRC2012_img_train")
    run_demo(tmp_path / "rebuilt")
    blocks = re.findall(r"^```bash\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    for block in blocks:
        commands = [line for line in block.splitlines() if not line.startswith("pip install")]
        shown = run_lines("\n".join(commands), tmp_path).stdout
    assert shown.endswith("report.html\n")
    assert (tmp_path / "coverage.csv").read_text().startswith("wnid,label,name,rows,title,")
    assert (tmp_path / "stats.md").read_text().startswith("# ImageNet-Captions: statistics\n")
    assert (tmp_path / "alike" / "manifest.json").is_file()
    tables = run_lines("imagenet-captions stats rebuilt", tmp_path).stdout
    (example,) = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert run_bash(f"python - <<'EOF'\n{example}EOF", tmp_path).endswith(tables)
