"""Publish a dataset on the Hugging Face Hub: the files of its manifest and the manifest, in one commit or none."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from imagenet_captions.dataset.shards import FileEntry, Shards
from imagenet_captions.errors import InputError, quoted
from imagenet_captions.publishing.terms import gated_card
from imagenet_captions.storage.files import CARD, MANIFEST, read_json
from imagenet_captions.storage.parquet import read_schema
from imagenet_captions.storage.places import Place, PlaceLike, place, require_local

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Part:
    """A file to publish: where it lies, or its bytes if they are not those in the folder."""

    name: str  # in the repository
    content: Place | bytes
    bytes: int
    sha256: str | None = None  # None for the manifest, which nothing lists


@dataclass(frozen=True)
class Published:
    """The files of a publication with their sizes in bytes, and the address of its commit; `str` lists them."""

    files: Mapping[str, int]
    url: str | None  # None after a dry run

    def __str__(self) -> str:
        sizes = {**self.files, f"{len(self.files)} files": sum(self.files.values())}
        width, digits = max(map(len, sizes)), max(len(f"{size:,}") for size in sizes.values())
        return "\n".join(f"{name:<{width}}  {size:>{digits},} bytes" for name, size in sizes.items())


def check_repository(repo: str) -> None:
    """Raise InputError for what cannot be the name of a repository."""
    if not _REPOSITORY.fullmatch(str(repo)):
        raise InputError(f"a repository is named ORG/NAME, such as my-group/captions, not {quoted(repo)}")


def publish(
    dataset: PlaceLike, repo: str, *, with_images: bool = False, private: bool = False, dry_run: bool = False
) -> Published:
    """Publish a dataset folder as the dataset repository `repo` of the Hugging Face Hub.

        ic.publish("texts", "my-group/imagenet-captions-2026", dry_run=True)

    All files appear in one commit, which also removes files that only an earlier version had. If the upload is
    interrupted, nothing is published, and the same call goes on: what the Hub has already is not sent again. A dataset
    with images needs `with_images`, which makes the repository gated under ImageNet's terms. The token is the one that
    `huggingface_hub` finds. `dry_run` lists the files and contacts nobody.

    Raises InputError for a dataset or a repository that cannot be used, and without the right to write; NetworkError if
    the Hub cannot be reached or fails.
    """
    dataset = require_local(place(dataset), "the dataset", "publishing reads this machine alone")
    check_repository(repo)
    with Shards(dataset).unchanged() as shards:
        parts = _parts_of(shards, with_images)
    files = {part.name: part.bytes for part in parts}
    if dry_run:
        return Published(files, None)
    from imagenet_captions.publishing.upload import Repository  # imports the client of the Hub

    return Published(files, Repository(repo).publish(shards, parts, private, gated=with_images))


def _parts_of(shards: Shards, with_images: bool) -> list[Part]:
    """Return the files to publish, sorted by name; with images, the card asks for agreement to ImageNet's terms."""
    shards.require_whole()
    files = [*shards.files(), *shards.files("raw")]
    has_images = any("binary" in str(kind) for shard in files for kind in read_schema(shard).types)
    if with_images and not has_images:
        raise InputError(f"{shards.dataset} has no images; leave out `with_images`")
    if has_images and not with_images:
        raise InputError(
            f"{shards.dataset} has images, which ImageNet's terms keep out of open repositories; make a copy "
            "without them (`without_images` of filter), or give `with_images`"
        )
    folder, listed = shards.dataset, shards.manifest.files
    parts = {name: Part(name, folder / name, entry.bytes, entry.sha256) for name, entry in listed.items()}
    record = folder / MANIFEST
    parts[MANIFEST] = Part(MANIFEST, record, record.stat().st_size)
    if with_images:
        card = parts[CARD] = _part(CARD, gated_card((folder / CARD).read_text(encoding="utf-8")))
        listing = read_json(record, dict[str, Any], "the manifest")
        listing["files"][CARD] = vars(FileEntry(str(card.sha256), card.bytes, None))
        text = json.dumps(listing, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        parts[MANIFEST] = replace(_part(MANIFEST, text), sha256=None)
    return [parts[name] for name in sorted(parts)]


def _part(name: str, text: str) -> Part:
    content = text.encode()
    return Part(name, content, len(content), hashlib.sha256(content).hexdigest())
