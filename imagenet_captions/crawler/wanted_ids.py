"""Which images count (`--ids`): the ids of an ImageNet training set, in any form in which people keep one."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from imagenet_captions.crawler.id_keys import Keys, keys_of_names
from imagenet_captions.crawler.id_sources import names_in
from imagenet_captions.errors import InputError

log = logging.getLogger(__name__)

_FORMS = (
    "give an ILSVRC train folder, ILSVRC2012_img_train.tar, LOC_train_solution.csv, train_cls.txt, "
    "a folder of imagenet-1k Parquet, or a text file with an id a line"
)


def read_ids(path: Path) -> Keys:
    """The keys of all image ids in `path`, sorted, each once.

    Names without an id (a README, the validation images) are left out, and the log says how many. Raises InputError if
    the path does not exist, is damaged, or has no id at all.
    """
    if not path.exists():
        raise InputError(f"the ids {path} do not exist; {_FORMS}")
    chunks: list[Keys] = [np.empty(0, np.int64)]
    others, example = 0, ""
    for names in names_in(path):
        keys = keys_of_names(names)
        if keys.null_count:
            example = example or names.filter(pc.is_null(keys))[0].as_py()
            others += keys.null_count
        chunks.append(np.unique(keys.drop_null().to_numpy()))
    found: Keys = np.unique(np.concatenate(chunks))
    if not len(found):
        raise InputError(f"the ids {path} hold no image id such as n01440764_10026; {_FORMS}")
    if others:
        log.info("%d names among the ids are no id of a training image, %r for one", others, example[:80])
    return found
