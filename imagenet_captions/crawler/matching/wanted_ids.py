"""The wanted images: the ids of an ImageNet training set, from any form in which people keep one."""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc

from imagenet_captions.crawler.matching.id_keys import Keys, keys_of_names
from imagenet_captions.crawler.matching.id_sources import is_list, names_in
from imagenet_captions.errors import InputError, quoted
from imagenet_captions.outcomes import MOST_LISTED
from imagenet_captions.storage.files import require_there
from imagenet_captions.storage.places import Place

log = logging.getLogger(__name__)

_FORMS = (
    "give an ILSVRC train folder, ILSVRC2012_img_train.tar, LOC_train_solution.csv, train_cls.txt, "
    "a folder of imagenet-1k Parquet, or a text file with an id a line"
)


class WantedIds(NamedTuple):
    """The sorted keys of the wanted ids, each once, and the other entries of a list of ids."""

    keys: Keys
    unreadable: int = 0
    listed: tuple[str, ...] = ()  # the first of the unreadable entries


def read_ids(path: Place) -> WantedIds:
    """Read all image ids in `path`.

    An entry of a list that is not an id is an input like the others, and is counted. A folder, tar or Parquet holds
    other files too (a README, the validation images), so names without an id are only logged. Raises InputError if the
    path does not exist, is damaged, or has no id.
    """
    require_there(path, "the source of ids")
    chunks: list[Keys] = [np.empty(0, np.int64)]
    others = 0
    listed: list[str] = []
    for names in names_in(path):
        keys = keys_of_names(names)
        if keys.null_count:
            others += keys.null_count
            listed += names.filter(pc.is_null(keys)).slice(0, MOST_LISTED - len(listed)).to_pylist()
        chunks.append(np.unique(keys.drop_null().to_numpy()))
    found: Keys = np.unique(np.concatenate(chunks))
    if not len(found):
        raise InputError(f"the ids {path} have no image id such as n01440764_10026; {_FORMS}")
    if others:
        log.info("%d names among the ids are not ids of training images, such as %s", others, quoted(listed[0]))
    return WantedIds(found, others, tuple(listed)) if is_list(path) else WantedIds(found)
