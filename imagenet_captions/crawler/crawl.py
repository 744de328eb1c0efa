"""Ask Flickr for every matched photo, for days if necessary, and keep each answer as it arrives.

`plan` chooses the photos and `schedule` the time of each call, `loop` sends the calls through `client`, `policy`
decides what an answer leads to, and `recorder` keeps it in the `store`. `limits` has the numbers.
"""

from __future__ import annotations

import logging
import os
from contextlib import closing

import pyarrow as pa

from imagenet_captions.crawler.crawl_settings import Client, CrawlReport, Tools
from imagenet_captions.crawler.limits import FLICKR_ENDPOINT
from imagenet_captions.crawler.loop import CrawlLoop, schedule_of
from imagenet_captions.crawler.plan import photos_to_ask, wanted_photos, without_denied_owners
from imagenet_captions.crawler.policy import StopRun
from imagenet_captions.crawler.recorder import Recorder
from imagenet_captions.crawler.settings import CrawlSettings
from imagenet_captions.crawler.store import Store, local_store
from imagenet_captions.engines.interrupts import Interrupts
from imagenet_captions.errors import InputError, StoppedEarly
from imagenet_captions.storage.outputs import check_place
from imagenet_captions.storage.places import Place
from imagenet_captions.storage.progress import progress

__all__ = ["CrawlReport", "CrawlSettings", "Tools", "crawl"]

log = logging.getLogger(__name__)


def crawl(
    matches: Place,
    store: Place,
    settings: CrawlSettings,
    tools: Tools | None = None,
    elsewhere: pa.Array | None = None,
) -> CrawlReport:
    """Ask for every photo of `matches` that `store` has no final answer for, and return the counts.

    Photos in `elsewhere` are known from another source and are not asked for.

    Raises InputError for a wrong key or other wrong input, StoppedEarly if too many calls failed in a row, and
    KeyboardInterrupt when interrupted. The answers so far are kept, and the same call continues from there.
    """
    check_place(local_store(store), [matches])
    tools = tools or Tools(_connect)
    wanted = wanted_photos(matches, settings.deny)
    client = None if store.exists() else tools.connect(settings)  # without a key no store is left behind
    report = CrawlReport()
    with Store(store) as opened:
        older_than = None if settings.refresh_days is None else tools.wall() - settings.refresh_days * 86400
        photos = without_denied_owners(photos_to_ask(wanted, opened, older_than, elsewhere), store, settings.deny)
        report.left = len(photos)
        photos = photos.slice(0, settings.limit)
        if len(photos):
            with (
                closing(client or tools.connect(settings)) as connected,
                Interrupts("the calls") as interrupts,
                progress("crawl", len(photos), "photos") as bar,
            ):
                schedule = schedule_of((photo_id.as_py() for photo_id in photos), opened, settings, tools)
                loop = CrawlLoop(connected, settings, tools, schedule, Recorder(opened, report, bar, tools))
                loop.run(interrupts)
            _raise_if_stopped(loop.stop, interrupts, report)
    log.info(
        "crawl: asked for %d photos: %d found, %d not found, %d private, %d unreachable; %d left",
        *(report.asked, report.found, report.not_found, report.private, report.unreachable, report.left),
    )
    return report


def _raise_if_stopped(stop: StopRun | None, interrupts: Interrupts, report: CrawlReport) -> None:
    if stop and not stop.resumable:
        raise InputError(f"Flickr refuses the call ({stop.reason}); check the key and the endpoint, nothing was marked")
    done = report.found + report.not_found + report.private
    if stop:
        raise StoppedEarly(
            f"the crawl stopped: {stop.reason}; {done} answers of this run are kept, {report.left} photos are left, "
            "run the same command again later to go on"
        )
    if interrupts.wanted:
        log.info("crawl: interrupted, %d answers of this run are kept; the same command goes on", done)
        raise KeyboardInterrupt


def _connect(settings: CrawlSettings) -> Client:
    from imagenet_captions.crawler.client import FlickrClient
    from imagenet_captions.crawler.credentials import read_credentials

    credentials = read_credentials(settings.key_file, os.environ)
    return FlickrClient(credentials, settings.endpoint or FLICKR_ENDPOINT, seconds=settings.call_seconds)
