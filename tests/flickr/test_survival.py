"""Survival by year: a photo that is gone counts for the year of photos with close numbers."""

from __future__ import annotations

from dataclasses import replace

from imagenet_captions.crawler.source import parse_photo
from imagenet_captions.flickr.photos import PhotoRecord, Survival

IN_2007, IN_2008 = 1_180_000_000, 1_210_000_000


def photo(posted: int | None, license_number: int | None) -> PhotoRecord:
    return replace(parse_photo("7", {}), date_posted=posted, license=license_number)


def test_a_photo_that_is_gone_counts_for_the_year_of_close_numbers() -> None:
    survival = Survival()
    for number in (100, 1_000_000_005, 1_900_000_000, 2_500_000_002, 9_000_000_000):
        survival.add(str(number), None)
    for number in range(3):
        survival.add(str(1_000_000_000 + number), photo(IN_2007, 4))
    survival.add("1000000009", photo(IN_2008, 0))  # a wrong clock among photos of 2007
    survival.add("2500000000", photo(IN_2008, None))
    survival.add("2500000001", photo(None, 4))
    assert survival.result() == {"years": {"2007": [3, 6], "2008": [3, 5]}, "licenses": {"0": 1, "4": 4}}


def test_without_an_answer_nothing_is_known() -> None:
    survival = Survival()
    assert survival.result() == {}
    survival.add("7", None)
    assert survival.result() == {}
