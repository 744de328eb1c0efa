"""Survival by year: a photo that is gone counts for the year of photos with close numbers."""

from __future__ import annotations

from imagenet_captions.flickr.photos import Survival

IN_2007, IN_2008 = 1_180_000_000, 1_210_000_000


def test_a_photo_that_is_gone_counts_for_the_year_of_close_numbers() -> None:
    survival = Survival()
    survival.add_gone("100")
    for number in range(3):
        survival.add(str(1_000_000_000 + number), IN_2007, 4)
    survival.add("1000000009", IN_2008, 0)  # a wrong clock among photos of 2007
    survival.add("2500000000", IN_2008, None)
    survival.add("2500000001", None, 4)
    for number in (1_000_000_005, 1_900_000_000, 2_500_000_002, 9_000_000_000):
        survival.add_gone(str(number))
    assert survival.result() == {"years": {"2007": [3, 6], "2008": [3, 5]}, "licenses": {"0": 1, "4": 4}}


def test_without_an_answer_nothing_is_known() -> None:
    survival = Survival()
    assert survival.result() == {}
    survival.add_gone("7")
    assert survival.result() == {}
