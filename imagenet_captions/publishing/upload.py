"""Upload the files of a dataset to a repository of the Hugging Face Hub, in one commit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager

import msgspec
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_session, get_token
from huggingface_hub.hf_api import DatasetInfo

from imagenet_captions.dataset.shards import FileEntry, Shards
from imagenet_captions.errors import ImagenetCaptionsError, InputError, NetworkError
from imagenet_captions.publishing.publish import Part
from imagenet_captions.storage.faults import (
    causes_of,
    client_error,
    hub_answers,
    message_of,
    without_secrets,
)
from imagenet_captions.storage.files import CARD, MANIFEST, parse_json
from imagenet_captions.storage.outputs import DATASET_FORMAT

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
        return NetworkError(f"{self._hub} did not take {self.name} ({message_of(causes[-1])}); {_AGAIN}")


def _check_hashes(dataset: Shards, parts: Sequence[Part], additions: Sequence[CommitOperationAdd]) -> None:
    """Refuse a damaged file before the commit; the client has computed the hashes anyway."""
    for part, addition in zip(parts, additions, strict=True):
        if part.sha256 not in (None, addition.upload_info.sha256.hex()):
            raise InputError(
                f"{dataset.dataset} is damaged: {part.name} has other bytes than when it was written; package it again"
            )
