"""The command for a text-only build from a published-size file, beside json.load of the same file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common import race


def main(release: Path, scratch: Path) -> list[dict[str, Any]]:
    out = scratch / "build"
    contenders = {
        "ours": ["-c", _PROGRAM, str(release), str(out)],
        "json.load": ["-c", "import json, sys; json.load(open(sys.argv[1], encoding='utf-8'))", str(release)],
    }
    seen = race(contenders, rounds=2)
    mine, peer = seen["ours"], seen["json.load"]
    return [
        {
            "what": "build, text only, from the published JSON",
            "ours_s": round(mine.seconds, 1),
            "peer": "json.load",
            "peer_s": round(peer.seconds, 1),
            "ratio": round(mine.seconds / peer.seconds, 1),
            "bar": "<= 3, <= 500 MB",
            "peak_mb": round(mine.peak_mb),
        }
    ]


# The command, as a user runs it; Arrow's allocator is the command's choice.
_PROGRAM = """
import shutil, subprocess, sys
release, out = sys.argv[1:]
for folder in (out, out + ".work"):
    shutil.rmtree(folder, ignore_errors=True)
sys.exit(subprocess.call([sys.executable, "-m", "imagenet_captions", "build", "--release", release, "--out", out]))
"""
