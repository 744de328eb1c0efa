"""Upload the files of a dataset to a repository of the Hugging Face Hub, in one commit."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.hf_api import DatasetInfo

from imagenet_captions.dataset.manifest import unchanged
from imagenet_captions.errors import ImagenetCaptionsError, InputError, NetworkError, shortened
from imagenet_captions.publishing.parts import Part
from imagenet_captions.storage.faults import causes_of, client_error, hub_answers, is_unreached
from imagenet_captions.storage.files import CARD, MANIFEST

log = logging.getLogger(__name__)

_KIND = "dataset"
_SHARD = re.compile(r"(?:data|raw)/train-[0-9]{5}-of-[0-9]{5}\.parquet")
_OF_A_NEW_ONE = {".gitattributes", CARD}  # what the Hub puts into a repository
_AGAIN = "run the same command again: what was sent is kept"


class Repository:
    """A dataset repository of the Hub, which may not exist yet."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._api = HfApi()

    def publish(self, dataset: Path, parts: Sequence[Part], private: bool, gated: bool) -> str:
        """Make the repository hold these parts, and return the address of the commit."""
        self._check_access()
        with self._in_one_sentence():
            self._api.create_repo(self.name, repo_type=_KIND, private=private, exist_ok=True)
            before = self._api.dataset_info(self.name)
            self._check(before, private)
            if gated and not before.gated:
                self._api.update_repo_settings(self.name, repo_type=_KIND, gated="auto")
            # A list, because the client marks the operations as it uploads their files.
            additions = [CommitOperationAdd(part.name, _content(part)) for part in parts]
            with unchanged(dataset):
                self._api.preupload_lfs_files(self.name, additions, repo_type=_KIND, free_memory=False)
                _check_hashes(dataset, parts, additions)
            done = self._api.create_commit(
                self.name,
                [*additions, *_removals(before, parts)],
                commit_message="Publish the dataset with imagenet-captions",
                repo_type=_KIND,
                parent_commit=before.sha,
            )
        return str(done.commit_url)

    def _check_access(self) -> None:
        if get_token() is None:
            raise InputError(
                "no token for the hub was found; log in with `hf auth login`, or put one that may write into HF_TOKEN"
            )
        if not hub_answers():
            raise NetworkError(f"the hub {self._api.endpoint} cannot be reached from here; run it again with a network")

    def _check(self, before: DatasetInfo, private: bool) -> None:
        """Refuse a repository of somebody else's files, and a public one where a private one is wanted."""
        names = _names(before)
        if MANIFEST not in names and (others := sorted(names - _OF_A_NEW_ONE)):
            raise InputError(f"the repository {self.name} holds {others[0]}, which is not ours; give another name")
        if private and not before.private:
            raise InputError(
                f"the repository {self.name} exists and is public; give another name, or leave out `private`"
            )

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
            return NetworkError(f"the connection to the hub {self._api.endpoint} broke; {_AGAIN}")
        return NetworkError(f"the hub did not take {self.name} ({shortened(causes[-1], 200)}); {_AGAIN}")


def _content(part: Part) -> str | bytes:
    return part.content if isinstance(part.content, bytes) else str(part.content)


def _check_hashes(dataset: Path, parts: Sequence[Part], additions: Sequence[CommitOperationAdd]) -> None:
    """Refuse a damaged file before the commit; the client has computed the hashes anyway."""
    for part, addition in zip(parts, additions, strict=True):
        if part.sha256 not in (None, addition.upload_info.sha256.hex()):
            raise InputError(
                f"{dataset} is damaged: {part.name} has other bytes than when it was written; package it again"
            )


def _removals(before: DatasetInfo, parts: Sequence[Part]) -> list[CommitOperationDelete]:
    """Return the removal of shards of an earlier version, which `load_dataset` would read too."""
    old = {name for name in _names(before) if _SHARD.fullmatch(name)} - {part.name for part in parts}
    return [CommitOperationDelete(name) for name in sorted(old)]


def _names(info: DatasetInfo) -> set[str]:
    return {sibling.rfilename for sibling in info.siblings or ()}
