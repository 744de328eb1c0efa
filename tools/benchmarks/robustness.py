"""The robustness figure from published numbers, as a user draws it: a process from start to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common import race


def main(scratch: Path) -> list[dict[str, Any]]:
    arguments = ["-m", "imagenet_captions", "robustness", "published"]
    seen = race(
        {
            "ours": [*arguments, "--plot", str(scratch / "figure.svg"), "--out", str(scratch / "er.csv")],
            "importing matplotlib": ["-c", "import matplotlib.figure, matplotlib.backends.backend_svg"],
        }
    )
    mine, peer = seen["ours"], seen["importing matplotlib"]
    return [
        {
            "what": "robustness figure from published numbers",
            "ours_s": round(mine.seconds, 2),
            "peer": "importing matplotlib",
            "peer_s": round(peer.seconds, 2),
            "ratio": round(mine.seconds / peer.seconds, 1),
            "bar": "<= 3 s",
        }
    ]
