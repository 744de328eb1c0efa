"""Tables of captions in WebDataset tars: the text members of each sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pyarrow as pa

from imagenet_captions.engines.local import in_batches
from imagenet_captions.images.readers.samples import Sample, json_object, read_samples
from imagenet_captions.images.readers.tars import TarReader
from imagenet_captions.storage.places import Place
from imagenet_captions.storage.progress import track

_TEXTS = ("title", "description", "caption")
_MEMBERS = frozenset({"txt", "json", "cls"})
_LARGEST_MEMBER = 16 << 20


class TarTable:
    """One row a sample: its key and tar, its .txt, the known fields of its .json, its .cls.

    The labeled result is a table by `__key__`, since tars with new .cls members would repeat all images.
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

    def __init__(self, paths: list[Place]) -> None:
        self._paths = paths
        self.skipped: Counter[str] = Counter()

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield batches of the samples of all tars, in order; a sample without any text is skipped and counted."""
        samples = chain.from_iterable(map(self._samples, track(self._paths, "read", len(self._paths), "tars")))
        for batch in in_batches(samples, rows):
            yield pa.RecordBatch.from_pylist(batch, schema=self.schema)

    def _samples(self, path: Place) -> Iterator[dict[str, Any]]:
        with TarReader(path) as tar:
            for sample in read_samples(tar, _MEMBERS, _LARGEST_MEMBER):
                said = json_object(sample.contents.get("json", b"{}"))
                if said is None:
                    self.skipped["a .json that is no JSON object"] += 1
                elif (row := _row(sample, said)) is None:
                    self.skipped["a sample without text"] += 1
                else:
                    yield {"__key__": sample.key, "__tar__": path.name, **row}


def _row(sample: Sample, said: dict[str, Any]) -> dict[str, Any] | None:
    texts = {name: said[name] for name in _TEXTS if isinstance(said.get(name), str)}
    if "txt" in sample.contents:
        texts["txt"] = sample.contents["txt"].decode("utf-8", "replace")
    tags, wnid, label = said.get("tags"), said.get("wnid"), sample.label()
    if not texts and not tags:
        return None
    return {
        **texts,
        "tags": [str(tag) for tag in tags] if isinstance(tags, list) else None,
        "wnid": wnid if isinstance(wnid, str) else None,
        "label": _whole(said.get("label")) if label is None else label,
    }


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
