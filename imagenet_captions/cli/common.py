"""Flags that several commands share, and what a command that knows --json returns."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Annotated, Any, NamedTuple

from imagenet_captions.engines.local import WORKERS
from imagenet_captions.options import argument, option
from imagenet_captions.storage.places import Place

DATASET = "A dataset folder."
Dataset = Annotated[Place, argument(DATASET)]
Out = Annotated[Place, option("The output: a path, or a URL such as s3://bucket/name.")]
Overwrite = Annotated[bool, option("Replace a file that exists. Inputs are never replaced.")]
Workers = Annotated[int | None, option(WORKERS, least=1)]


class Told(NamedTuple):
    """What a command found: its text, the same as values that become a JSON object, and the files that it wrote."""

    text: object
    found: Any
    outputs: Sequence[object] = ()

    def __str__(self) -> str:
        return "\n".join(map(str, (self.text, *self.outputs)))

    def as_json(self) -> str:
        """Return the JSON object."""
        outputs = {"outputs": self.outputs} if self.outputs else {}
        return json.dumps(_plain({**_plain(self.found), **outputs}), ensure_ascii=False, indent=2)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; what is not a number is null, and a path a text."""
    if hasattr(value, "as_dict"):
        value = value.as_dict()
    elif hasattr(value, "_asdict"):
        value = value._asdict()
    elif is_dataclass(value):
        value = {each.name: getattr(value, each.name) for each in fields(value)}
    if isinstance(value, Mapping):
        return {"null" if key is None else str(_plain(key)): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [*map(_plain, value)]
    value = value.value if isinstance(value, Enum) else value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (str, bool, int, float)) else str(value)
