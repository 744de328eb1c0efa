"""Run the demo: build a dataset from the bundled sample, and open it with load_dataset."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

from imagenet_captions.crawler.settings import CrawlSettings, MatchSettings
from imagenet_captions.dataset.settings import PackageSettings
from imagenet_captions.dataset.writing import read_outcome_counts
from imagenet_captions.demo.flickr_stand_in import FlickrStandIn
from imagenet_captions.errors import InputError
from imagenet_captions.outcomes import OUTCOMES_FILE, format_counts
from imagenet_captions.pipeline.build import build
from imagenet_captions.pipeline.settings import BuildSettings
from imagenet_captions.storage.places import Place, require_local

SAMPLE = Path(__file__).parent / "sample"


def run_demo(out: Place, inputs: Path | None = None) -> str:
    """Build the sample into `out`, and return a report: the funnel, the dataset's folder, three captions.

    `inputs` is a new folder for the sample's files under the names that users know, to try other commands on.

    Nothing leaves this machine: a stand-in on 127.0.0.1 answers for Flickr. The work folder is removed, so that every
    run shows every stage.
    """
    require_local(out, "the output", "the demo ends by loading a folder of this machine")
    if inputs:
        if inputs.exists():
            raise InputError(f"{inputs} exists; name a new folder for the inputs")
        shutil.copytree(SAMPLE / "train", inputs / "ILSVRC2012_img_train")
        for name, real in (("release.json", "imagenet_captions.json"), ("urls.txt", "fall11_urls.txt")):
            shutil.copy(SAMPLE / name, inputs / real)
    photos = json.loads((SAMPLE / "photos.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder, FlickrStandIn(photos) as flickr:
        key_file = Path(folder) / "key"
        key_file.write_text("FLICKR_API_KEY=demo\n", encoding="utf-8")
        build(
            out,
            BuildSettings(
                urls=(SAMPLE / "urls.txt",),
                match=MatchSettings(ids=SAMPLE / "ids.txt"),
                crawl=CrawlSettings(rate="50/s", endpoint=flickr.endpoint, key_file=key_file, tries=3),
                package=PackageSettings(images=SAMPLE / "train", missing="skip"),
                work=Path(folder) / "work",
                workers=1,
            ),
        )
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a local folder needs no hub, and load_dataset would ask it
    from datasets import load_dataset
    from datasets.utils import disable_progress_bars

    disable_progress_bars()
    rows = load_dataset(str(out), split="train")
    captions = "\n".join(f"  {row['image_id']}  {row['caption']}" for row in rows.select(range(3)))
    return (
        f"{format_counts(read_outcome_counts(out / OUTCOMES_FILE))}\n\ndataset: {out}\n"
        f"load_dataset({str(out)!r}) gives {len(rows)} rows, such as\n{captions}"
    )
