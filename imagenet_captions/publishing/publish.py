"""Publish a dataset on the Hugging Face Hub: the files of its manifest and the manifest, in one commit or none."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from imagenet_captions.dataset.shards import FileEntry, Shards
from imagenet_captions.errors import ImagenetCaptionsError, InputError, NetworkError, aligned, quoted
from imagenet_captions.storage.faults import causes_of, client_error, hub_answers, message_of, without_secrets
from imagenet_captions.storage.files import CARD, MANIFEST, checked, read_json
from imagenet_captions.storage.outputs import DATASET_FORMAT
from imagenet_captions.storage.parquet import read_schema
from imagenet_captions.storage.places import PlaceLike, place, require_local

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import DatasetInfo

NOTICE = """\
ImageNet's terms of access (https://www.image-net.org/download.php) bind everyone who passes its images on: they are for
non-commercial research and education, and only for people who have agreed to the same terms first. The repository is
made gated, so that the Hub asks everybody to agree before it shows a file."""

# The fields that the Hub reads in a card's header; timm/imagenet-12k-wds has the same form.
_GATE = """\
---
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

MESSAGE = "Publish the dataset with imagenet-captions"

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_OF_THE_HUB = {".gitattributes"}  # what the Hub puts into a new repository
_READ_BY_LOAD_DATASET = ("data/", "raw/")


@dataclass(frozen=True)
class Published:
    """The files of a publication with their sizes in bytes, and the address of its commit; `str` lists them."""

    files: Mapping[str, int]
    url: str | None  # None after a dry run

    def __str__(self) -> str:
        sizes = {**self.files, f"{len(self.files)} files": sum(self.files.values())}
        return "\n".join(aligned([(name, f"{size:,} bytes") for name, size in sizes.items()]))


class _Listing(msgspec.Struct):
    """What is read of the manifest in a repository."""

    format: Annotated[str, msgspec.Meta(pattern=f"^{DATASET_FORMAT}$")]
    files: dict[str, FileEntry]


def publish(
    dataset: PlaceLike,
    repo: str,
    *,
    with_images: bool = False,
    private: bool = False,
    dry_run: bool = False,
    revision: str | None = None,
    create_pr: bool = False,
    message: str = MESSAGE,
) -> Published:
    """Publish a dataset folder as the dataset repository `repo` of the Hugging Face Hub.

        ic.publish("texts", "my-group/imagenet-captions-2026", dry_run=True)

    All files appear in one commit, which also removes files that only an earlier version had. If the upload is
    interrupted, nothing is published, and the same call goes on: what the Hub has already is not sent again. A dataset
    with images needs `with_images`, which makes the repository gated under ImageNet's terms. The token is the one that
    `huggingface_hub` finds. `dry_run` lists the files and contacts nobody. `huggingface_hub` makes the commit with
    `revision`, a branch that exists, with `create_pr` and with `message`.

    Raises InputError for a dataset or a repository that cannot be used, and without the right to write; NetworkError if
    the Hub cannot be reached or fails.
    """
    dataset = require_local(place(dataset), "the dataset", "publishing reads this machine alone")
    if not _REPOSITORY.fullmatch(str(repo)):
        raise InputError(f"a repository is named ORG/NAME, such as my-group/captions, not {quoted(repo)}")
    with Shards(dataset).unchanged() as shards:
        files = _files_of(shards, dataset, with_images)
    sizes = {}
    for name, file in files.items():
        sizes[name] = len(file) if isinstance(file, bytes) else file.stat().st_size
    if dry_run:
        return Published(sizes, None)
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token

    api = HfApi()
    hub = f"the hub {without_secrets(api.endpoint)}"
    if get_token() is None:
        raise InputError(
            "no token for the hub was found; log in with `hf auth login`, or put one that may write into HF_TOKEN"
        )
    if not hub_answers():
        raise NetworkError(f"{hub} cannot be reached from here; run it again with a network")
    where: dict[str, Any] = {"repo_type": "dataset", "revision": revision, "create_pr": create_pr}
    try:
        api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
        before = api.dataset_info(repo, revision=revision)
        earlier = _files_of_ours(api, repo, before, files.keys())
        if private and not before.private:
            raise InputError(f"the repository {repo} exists and is public; give another name, or leave out `private`")
        if with_images and not before.gated:
            api.update_repo_settings(repo, repo_type="dataset", gated="auto")
        additions = []  # which the client marks as it uploads their files
        for name, file in files.items():
            additions.append(CommitOperationAdd(name, file if isinstance(file, bytes) else str(file)))
        with shards.unchanged():
            api.preupload_lfs_files(repo, additions, free_memory=False, **where)
            for name, addition in zip(files, additions, strict=True):
                entry = shards.manifest.files.get(name)  # the client has hashed the file anyway
                if entry and isinstance(files[name], Path) and entry.sha256 != addition.upload_info.sha256.hex():
                    raise InputError(
                        f"{dataset} is damaged: {name} has other bytes than when it was written; package it again"
                    )
        removals = [CommitOperationDelete(name) for name in sorted(earlier - files.keys())]
        operations: list[Any] = [*additions, *removals]
        done = api.create_commit(repo, operations, commit_message=message, parent_commit=before.sha, **where)
    except (OSError, RuntimeError, ValueError, client_error()) as error:
        raise _explained(error, repo, hub) from None
    return Published(sizes, without_secrets(str(done.pr_url or done.commit_url)))


def _files_of(shards: Shards, folder: Path, with_images: bool) -> dict[str, Path | bytes]:
    """Return the files to publish by name; with images, the card asks for agreement to ImageNet's terms."""
    shards.require_whole()
    schemas = map(read_schema, [*shards.files("data"), *shards.files("raw")])
    has_images = any("binary" in str(kind) for schema in schemas for kind in schema.types)
    if with_images and not has_images:
        raise InputError(f"{folder} has no images; leave out `with_images`")
    if has_images and not with_images:
        raise InputError(
            f"{folder} has images, which ImageNet's terms keep out of open repositories; make a copy without them "
            "(`without_images` of filter), or give `with_images`"
        )
    names = sorted([*shards.manifest.files, MANIFEST])
    files: dict[str, Path | bytes] = {name: folder / name for name in names}
    if with_images:
        card = (_GATE + (folder / CARD).read_text(encoding="utf-8").removeprefix("---\n")).encode()
        listing = read_json(folder / MANIFEST, dict[str, Any], "the manifest")
        listing["files"][CARD] = {"sha256": hashlib.sha256(card).hexdigest(), "bytes": len(card), "rows": None}
        text = json.dumps(listing, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        files |= {CARD: card, MANIFEST: text.encode()}
    return files


def _files_of_ours(api: HfApi, repo: str, before: DatasetInfo, new: Set[str]) -> set[str]:
    """Return the files of an earlier version. Raises InputError where files of others would be lost or read."""
    from huggingface_hub import get_session, get_token

    def read(name: str) -> bytes:
        url = f"{api.endpoint}/datasets/{repo}/resolve/{before.sha}/{name}"
        response = get_session().get(url, headers={"Authorization": f"Bearer {get_token()}"})
        response.raise_for_status()
        return bytes(response.content)

    names = {sibling.rfilename for sibling in before.siblings or ()} - _OF_THE_HUB
    listed: dict[str, FileEntry] = {}
    if MANIFEST in names:
        with suppress(InputError):
            listed = checked(read(MANIFEST), _Listing, MANIFEST).files
    for name in sorted(names - listed.keys()):
        if listed and name == MANIFEST:
            continue
        if not listed or name in new or name.startswith(_READ_BY_LOAD_DATASET):
            raise InputError(f"the repository {repo} holds {name}, which is not ours; give another name")
    if CARD in names and hashlib.sha256(read(CARD)).hexdigest() != listed[CARD].sha256:
        raise InputError(
            f"{CARD} of the repository {repo} was edited there; keep the edit elsewhere and delete that {CARD}, or "
            "give another name"
        )
    return names & listed.keys()


def _explained(error: BaseException, repo: str, hub: str) -> ImagenetCaptionsError:
    causes = list(causes_of(error))
    codes = [getattr(getattr(cause, "response", None), "status_code", None) for cause in causes]
    if 401 in codes:
        return InputError("the hub does not know the token; log in again with `hf auth login`, or renew HF_TOKEN")
    if 403 in codes:
        return InputError(f"the token may not write to {repo}; give a name of your own, or a token that may")
    if 404 in codes:
        return InputError(f"the hub has no such branch of {repo}; make it first, or leave out `revision`")
    return NetworkError(
        f"{hub} did not take {repo} ({message_of(causes[-1])}); run the same command again: what was sent is kept"
    )
