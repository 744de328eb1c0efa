"""Captions in WebDataset tars: the text members of each sample, images passed over."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from imagenet_captions.images.readers.tars import TarReader
from imagenet_captions.storage.progress import track

_TEXTS = ("title", "description", "caption")
_MEMBERS = frozenset({"txt", "json", "cls"})
_LARGEST_MEMBER = 16 << 20


class TarTable:
    """One row a sample: its key and tar, its .txt, what its .json says in fields that we know, its .cls.

    The result is a table by `__key__` and not tars with .cls members: that would mean to write the images again.
    """

    schema = pa.schema(
        [
            pa.field("__key__", pa.string()),
            pa.field("__tar__", pa.string()),
            pa.field("txt", pa.string()),
            *[pa.field(name, pa.string()) for name in _TEXTS],
            pa.field("tags", pa.list_(pa.string())),
            pa.field("wnid", pa.string()),
            pa.field("label", pa.int64()),
        ]
    )

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self.skipped: Counter[str] = Counter()

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield batches of the samples of all tars, in order; a sample without any text is skipped and counted."""
        held: list[dict[str, Any]] = []
        for path in track(self._paths, "read", len(self._paths), "tars"):
            for sample in self._samples(path):
                held.append(sample)
                if len(held) == rows:
                    yield pa.RecordBatch.from_pylist(held, schema=self.schema)
                    held = []
        if held:
            yield pa.RecordBatch.from_pylist(held, schema=self.schema)

    def _samples(self, path: Path) -> Iterator[dict[str, Any]]:
        with TarReader(path) as tar:
            for sample in tar.samples(_MEMBERS, _LARGEST_MEMBER):
                yield from self._sample(sample.key, path, sample.contents)

    def _sample(self, key: str, path: Path, members: dict[str, bytes]) -> Iterator[dict[str, Any]]:
        said = _object(members.get("json", b"{}"))
        if said is None:
            self.skipped["a .json that is no JSON object"] += 1
            return
        texts = {name: said[name] for name in _TEXTS if isinstance(said.get(name), str)}
        tags = said.get("tags")
        if "txt" in members:
            texts["txt"] = members["txt"].decode("utf-8", "replace")
        if not texts and not tags:
            self.skipped["a sample without text"] += 1
            return
        label = members.get("cls", b"").strip()
        yield {
            "__key__": key,
            "__tar__": path.name,
            **texts,
            "tags": [str(tag) for tag in tags] if isinstance(tags, list) else None,
            "wnid": said["wnid"] if isinstance(said.get("wnid"), str) else None,
            "label": int(label) if label.isdigit() and len(label) < 9 else _whole(said.get("label")),
        }


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        # Half a surrogate pair can be written in JSON, but not in Arrow.
        value = json.loads(text.decode("utf-8", "replace"), parse_int=_bounded)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    return {name: _storable(each) for name, each in value.items()}


def _bounded(digits: str) -> int | None:
    return int(digits) if len(digits) < 18 else None


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return [_storable(each) for each in value] if isinstance(value, list) else value


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
