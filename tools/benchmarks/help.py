"""`imagenet-captions --help`, beside a bare typer app of as many commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common import race

_BARE = '''
import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)
for number in range({count}):
    def command(out: str = typer.Option("x", help="Where the result goes.")) -> None:
        """Do something."""

    app.command(f"command-{{number}}")(command)
app()
'''


def main(scratch: Path) -> list[dict[str, Any]]:
    from imagenet_captions.cli.commands import ABOUT

    bare = scratch / "bare.py"
    bare.write_text(_BARE.format(count=len(ABOUT)), encoding="utf-8")
    seen = race({"ours": ["-m", "imagenet_captions", "--help"], "bare": [str(bare), "--help"]}, rounds=7)
    mine, peer = seen["ours"], seen["bare"]
    return [
        {
            "what": "imagenet-captions --help",
            "ours_cpu_s": round(mine.cpu, 3),
            "peer": f"bare typer app, {len(ABOUT)} commands",
            "peer_cpu_s": round(peer.cpu, 3),
            "ratio": round(mine.cpu / peer.cpu, 2),
            "bar": "<= 1.2",
        }
    ]
