"""Publish a dataset on the Hugging Face Hub: all of its files in one commit, or none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from imagenet_captions.dataset.manifest import unchanged
from imagenet_captions.errors import InputError, quoted
from imagenet_captions.publishing.parts import parts_of
from imagenet_captions.storage.places import PlaceLike, place, require_local

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


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

    All files appear in one commit, which also removes shards that an earlier version had. If the upload is interrupted,
    nothing is published, and the same call goes on: what the Hub has already is not sent again. A dataset with images
    needs `with_images`, which makes the repository gated under ImageNet's terms. The token is the one that
    `huggingface_hub` finds. `dry_run` lists the files and contacts nobody.

    Raises InputError for a dataset or a repository that cannot be used, and without the right to write; NetworkError if
    the Hub cannot be reached or fails.
    """
    dataset = require_local(place(dataset), "the dataset", "publishing reads this machine alone")
    check_repository(repo)
    with unchanged(dataset):
        parts = parts_of(dataset, with_images)
    files = {part.name: part.bytes for part in parts}
    if dry_run:
        return Published(files, None)
    from imagenet_captions.publishing.upload import Repository  # imports the client of the Hub

    return Published(files, Repository(repo).publish(dataset, parts, private, gated=with_images))
