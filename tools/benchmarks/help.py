"""`imagenet-captions --help`, beside a bare click program of as many commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common import race

_BARE = """
import click

app = click.Group("bare")
for number in range({count}):
    @app.command(f"command-{{number}}", help="Do something.")
    @click.option("--out", default="x", help="Where the result goes.")
    def command(out: str) -> None:
        pass
app()
"""


def main(scratch: Path) -> list[dict[str, Any]]:
    from imagenet_captions.cli.commands import COMMANDS

    bare = scratch / "bare.py"
    bare.write_text(_BARE.format(count=len(COMMANDS)), encoding="utf-8")
    seen = race({"ours": ["-m", "imagenet_captions", "--help"], "bare": [str(bare), "--help"]}, rounds=7)
    mine, peer = seen["ours"], seen["bare"]
    return [
        {
            "what": "imagenet-captions --help",
            "ours_cpu_s": round(mine.cpu, 3),
            "peer": f"bare click program, {len(COMMANDS)} commands",
            "peer_cpu_s": round(peer.cpu, 3),
            "ratio": round(mine.cpu / peer.cpu, 2),
            "bar": "<= 1.2",
        }
    ]
