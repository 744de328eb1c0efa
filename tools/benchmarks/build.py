"""A text-only build from a published-size file, beside json.load of the same file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common import race


def main(release: Path, scratch: Path) -> list[dict[str, Any]]:
    out = scratch / "build"
    ours = (
        "import shutil, sys\n"
        "from pathlib import Path\n"
        "from imagenet_captions.pipeline.build import BuildSettings, build\n"
        "out = Path(sys.argv[2])\n"
        "for folder in (out, out.with_name(out.name + '.work')): shutil.rmtree(folder, ignore_errors=True)\n"
        "build(out, BuildSettings(release=Path(sys.argv[1])))"
    )
    contenders = {
        "ours": ["-c", _GUARDED.format(body="\n    ".join(ours.splitlines())), str(release), str(out)],
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


# Worker processes are spawned and import the main module again, so what it runs stands behind the usual guard.
_GUARDED = "if __name__ == '__main__':\n    {body}"
