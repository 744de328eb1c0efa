"""Flags that several commands share."""

from __future__ import annotations

from typing import Annotated

from imagenet_captions.engines.local import WORKERS
from imagenet_captions.options import argument, option
from imagenet_captions.storage.places import Place

DATASET = "A dataset folder."
Dataset = Annotated[Place, argument(DATASET)]
Out = Annotated[Place, option("The output: a path, or a URL such as s3://bucket/name.")]
Overwrite = Annotated[bool, option("Replace a file that exists. Inputs are never replaced.")]
Workers = Annotated[int | None, option(WORKERS, least=1)]
