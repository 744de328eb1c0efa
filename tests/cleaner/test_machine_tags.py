"""Machine tags, and tags for people."""

from __future__ import annotations

import re

import pytest

from imagenet_captions.cleaner.clean import MACHINE_TAG


@pytest.mark.parametrize("tag", ["geo:lat=52.1", "dc:identifier=", "tna:PieceReference=COAL80p97", "a:b_2=c=d"])
def test_machine_tags(tag: str) -> None:
    assert re.search(MACHINE_TAG, tag)


@pytest.mark.parametrize(
    "tag", ["geo:lat", "1st:b=c", "a:1=2", "a = b", "E=mc2", "note: a=b", "10:30=late", "x:=y", ":a=b", "a:b:c=d"]
)
def test_tags_for_people(tag: str) -> None:
    assert not re.search(MACHINE_TAG, tag)
