"""Publish a dataset on the Hugging Face Hub: the files of its manifest and the manifest, in one commit or none."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_session, get_token
from huggingface_hub.hf_api import DatasetInfo

from imagenet_captions.dataset.shards import FileEntry, Shards
from imagenet_captions.errors import ImagenetCaptionsError, InputError, NetworkError, quoted
from imagenet_captions.storage.faults import (
    causes_of,
    client_error,
    hub_answers,
    is_unreached,
    message_of,
    without_secrets,
)
from imagenet_captions.storage.files import CARD, MANIFEST, parse_json, read_json
from imagenet_captions.storage.outputs import DATASET_FORMAT
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


NOTICE = """\
ImageNet's terms of access (https://www.image-net.org/download.php) bind everyone who passes its images on: they are for
non-commercial research and education, and only for people who have agreed to the same terms first. The repository is
made gated, so that the Hub asks everybody to agree before it shows a file."""

# The fields that the Hub reads; timm/imagenet-12k-wds has the same form.
_GATE = """\
extra_gated_prompt: >-
  The images are ImageNet's. By clicking on "Access repository" below, you agree to ImageNet's terms of access
  (https://www.image-net.org/download.php): you use the images only for non-commercial research and education, you
  accept full responsibility for your use of them, and you give them only to colleagues who first agree to the terms.
extra_gated_fields:
  Name: text
  Affiliation: text
  I use the images only for non-commercial research and education: checkbox
  I agree to ImageNet's terms of access: checkbox
"""


def gated_card(card: str) -> str:
    """Return a dataset card whose header makes the Hub ask for agreement to ImageNet's terms.

    >>> gated_card("---\\nlicense: other\\n---\\n").splitlines()[:2]
    ['---', 'extra_gated_prompt: >-']
    """
    opening = "---\n"
    return f"{opening}{_GATE}{card.removeprefix(opening)}"


_KIND = "dataset"
_OF_THE_HUB = {".gitattributes"}  # what the Hub puts into a new repository
_AGAIN = "run the same command again: what was sent is kept"


class _Listing(msgspec.Struct):
    format: str
    files: dict[str, FileEntry]


class Repository:
    """A dataset repository of the Hub, which may not exist yet."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._api = HfApi()
        self._hub = f"the hub {without_secrets(self._api.endpoint)}"

    def publish(self, dataset: Shards, parts: Sequence[Part], private: bool, gated: bool) -> str:
        """Make the repository hold these parts, and return the address of the commit."""
        if get_token() is None:
            raise InputError(
                "no token for the hub was found; log in with `hf auth login`, or put one that may write into HF_TOKEN"
            )
        if not hub_answers():
            raise NetworkError(f"{self._hub} cannot be reached from here; run it again with a network")
        new = {part.name for part in parts}
        with self._in_one_sentence():
            self._api.create_repo(self.name, repo_type=_KIND, private=private, exist_ok=True)
            before = self._api.dataset_info(self.name)
            earlier = self._files_of_ours(before, new)
            if private and not before.private:
                raise InputError(
                    f"the repository {self.name} exists and is public; give another name, or leave out `private`"
                )
            if gated and not before.gated:
                self._api.update_repo_settings(self.name, repo_type=_KIND, gated="auto")
            # A list, because the client marks the operations as it uploads their files.
            contents = [part.content if isinstance(part.content, bytes) else str(part.content) for part in parts]
            additions = [CommitOperationAdd(part.name, each) for part, each in zip(parts, contents, strict=True)]
            with dataset.unchanged():
                self._api.preupload_lfs_files(self.name, additions, repo_type=_KIND, free_memory=False)
                _check_hashes(dataset, parts, additions)
            done = self._api.create_commit(
                self.name,
                [*additions, *(CommitOperationDelete(name) for name in sorted(earlier - new))],
                commit_message="Publish the dataset with imagenet-captions",
                repo_type=_KIND,
                parent_commit=before.sha,
            )
        return without_secrets(str(done.commit_url))

    def _files_of_ours(self, before: DatasetInfo, new: Set[str]) -> set[str]:
        """Return the files of an earlier version. Raises InputError where files of others would be lost or read."""
        names = {sibling.rfilename for sibling in before.siblings or ()} - _OF_THE_HUB
        listed = self._listed(before) if MANIFEST in names else {}
        for name in sorted(names - listed.keys() - {MANIFEST}):
            if not listed or name in new or name.startswith(("data/", "raw/")):  # the latter `load_dataset` reads
                raise self._not_ours(name)
        if CARD in names and hashlib.sha256(self._read(before, CARD)).hexdigest() != listed[CARD].sha256:
            raise InputError(
                f"{CARD} of the repository {self.name} was edited there; keep the edit elsewhere and delete that "
                f"{CARD}, or give another name"
            )
        return names & listed.keys()

    def _listed(self, before: DatasetInfo) -> dict[str, FileEntry]:
        try:
            listing = parse_json(self._read(before, MANIFEST), _Listing, MANIFEST)
        except InputError:
            raise self._not_ours(MANIFEST) from None
        if listing.format != DATASET_FORMAT:
            raise self._not_ours(MANIFEST)
        return listing.files

    def _not_ours(self, name: str) -> InputError:
        return InputError(f"the repository {self.name} holds {name}, which is not ours; give another name")

    def _read(self, before: DatasetInfo, name: str) -> bytes:
        url = f"{self._api.endpoint}/datasets/{self.name}/resolve/{before.sha}/{name}"
        response = get_session().get(url, headers={"Authorization": f"Bearer {get_token()}"})
        response.raise_for_status()
        return bytes(response.content)

    @contextmanager
    def _in_one_sentence(self) -> Iterator[None]:
        try:
            yield
        except ImagenetCaptionsError:
            raise
        except (OSError, RuntimeError, ValueError, client_error()) as error:
            raise self._explained(error) from None

    def _explained(self, error: BaseException) -> ImagenetCaptionsError:
        causes = list(causes_of(error))
        codes = [getattr(getattr(cause, "response", None), "status_code", None) for cause in causes]
        if 401 in codes:
            return InputError("the hub does not know the token; log in again with `hf auth login`, or renew HF_TOKEN")
        if 403 in codes:
            return InputError(f"the token may not write to {self.name}; give a name of your own, or a token that may")
        if 412 in codes:
            return NetworkError(f"somebody else changed {self.name} at the same time; {_AGAIN}")
        if any(map(is_unreached, causes)):
            return NetworkError(f"the connection to {self._hub} broke; {_AGAIN}")
        return NetworkError(f"the hub did not take {self.name} ({message_of(causes[-1])}); {_AGAIN}")


def _check_hashes(dataset: Shards, parts: Sequence[Part], additions: Sequence[CommitOperationAdd]) -> None:
    """Refuse a damaged file before the commit; the client has computed the hashes anyway."""
    for part, addition in zip(parts, additions, strict=True):
        if part.sha256 not in (None, addition.upload_info.sha256.hex()):
            raise InputError(
                f"{dataset.dataset} is damaged: {part.name} has other bytes than when it was written; package it again"
            )
