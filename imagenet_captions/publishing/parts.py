"""What of a dataset folder is published: every file of its manifest, and the manifest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

from imagenet_captions.dataset.manifest import FileEntry, read_manifest, require_whole
from imagenet_captions.errors import InputError
from imagenet_captions.publishing.terms import gated_card
from imagenet_captions.storage.files import CARD, MANIFEST


@dataclass(frozen=True)
class Part:
    """A file to publish: where it lies, or its bytes if they are not those in the folder."""

    name: str  # in the repository
    content: Path | bytes
    bytes: int
    sha256: str | None = None  # None for the manifest, which nothing lists


def parts_of(dataset: Path, with_images: bool) -> list[Part]:
    """Return the files to publish, sorted by name; with images, the card asks for agreement to ImageNet's terms.

    Raises InputError for a dataset with images without `with_images`, for the opposite, and for a damaged one.
    """
    manifest = read_manifest(dataset)
    if manifest.images is None and with_images:
        raise InputError(f"{dataset} has no images; leave out `with_images`")
    if manifest.images is not None and not with_images:
        raise InputError(
            f"{dataset} has images, which ImageNet's terms keep out of open repositories; make a copy without them "
            "(`without_images` of filter), or give `with_images`"
        )
    require_whole(dataset, manifest.files)
    parts = [Part(name, dataset / name, entry.bytes, entry.sha256) for name, entry in manifest.files.items()]
    record = dataset / MANIFEST
    if not with_images:
        parts.append(Part(MANIFEST, record, record.stat().st_size))
        return sorted(parts, key=lambda part: part.name)
    card = _part(CARD, gated_card((dataset / CARD).read_text(encoding="utf-8")).encode())
    others = [part for part in parts if part.name != CARD]
    listing = _part(MANIFEST, _listing(record, card))
    return sorted([*others, card, replace(listing, sha256=None)], key=lambda part: part.name)


def _part(name: str, content: bytes) -> Part:
    return Part(name, content, len(content), hashlib.sha256(content).hexdigest())


def _listing(record: Path, card: Part) -> bytes:
    """Return the manifest with another card."""
    listing = json.loads(record.read_text(encoding="utf-8"))
    listing["files"][card.name] = vars(FileEntry(str(card.sha256), card.bytes, None))
    return (json.dumps(listing, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
