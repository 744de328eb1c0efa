"""The classes: numbers that are known from WordNet, names that mean several things, names that mean none."""

from __future__ import annotations

import numpy as np
import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.imagenet.spellings import plurals


def test_wnid_and_index_lead_to_each_other_for_every_class() -> None:
    assert (len(classes.wnids()), list(classes.wnids())) == (1000, sorted(set(classes.wnids())))
    for index, wnid in enumerate(classes.wnids()):
        found = classes.by_wnid(wnid)
        assert (found.wnid, found.index) == (wnid, index)
        assert classes.index_of(wnid) == index
        assert found.name
        assert all(found.lemmas)
        for name in (wnid, index, str(index), wnid.upper()):
            assert classes.resolve(name) == (wnid,)


# Known points of the published order: open_clip's names, torchvision's labels.
@pytest.mark.parametrize(
    ("index", "wnid", "name"),
    [
        (0, "n01440764", "tench"),
        (134, "n02012849", "crane bird"),
        (638, "n03710637", "tights"),
        (850, "n04399382", "teddy bear"),
        (999, "n15075141", "toilet paper"),
    ],
)
def test_index_wnid_and_curated_name_belong_together(index: int, wnid: str, name: str) -> None:
    found = classes.by_index(index)
    assert (found.wnid, found.name) == (wnid, name)
    assert classes.resolve(index) == classes.resolve(np.int64(index)) == (wnid,)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        *(("dog", 118), ("domestic dog", 118), ("bird", 59), ("vehicle", 67), ("animal", 398), ("snake", 17)),
        *(("insect", 27), ("shark", 3), ("true cat", 7), ("n02121620", 7), ("n02127808", 6), ("entity", 1000)),
    ],
)
def test_an_ancestor_stands_for_the_classes_below_it(name: str, count: int) -> None:
    found = classes.resolve(name)
    assert len(found) == count
    assert list(found) == sorted(found)
    assert all(classes.is_class(wnid) for wnid in found)


@pytest.mark.parametrize("among", ClassSet)
def test_a_wnid_stands_for_the_classes_at_or_below_it(among: ClassSet) -> None:
    below: dict[str, list[str]] = {wnid: [wnid] for wnid in classes.wnids(among)}
    for wnid in classes.wnids(among):
        for above in classes.by_wnid(wnid, among).ancestors:
            below.setdefault(above, []).append(wnid)
    for wnid, expected in below.items():
        assert list(classes.resolve(wnid, among)) == sorted(expected)


def test_ancestors_stand_nearest_first() -> None:
    great_white = classes.by_wnid("n01484850").ancestors
    assert (great_white[0], great_white[-1]) == ("n01483522", "n00001740")  # mackerel shark, entity
    assert great_white.index("n01482330") < great_white.index("n00015388")  # shark, animal


@pytest.mark.parametrize("name", ["Tinca tinca", "tinca_tinca", "TENCH", "  tench\n", "Tinca  Tinca"])
def test_case_blanks_and_underscores_make_no_difference(name: str) -> None:
    assert classes.resolve(name) == ("n01440764",)


@pytest.mark.parametrize(
    ("name", "candidates"),
    [
        ("crane", {"n02012849": "1 class", "n03126707": "1 class"}),
        ("cat", {"n02121620": "7 classes", "n02127808": "6 classes"}),
        ("food", {"n00021265": "26 classes", "n07555863": "27 classes"}),
        ("sunglasses", {"n04355933": "1 class", "n04356056": "1 class"}),
        # The curated name of one class, and WordNet's word for more than that class.
        ("duck", {"n01846331": "2 classes", "n01847000": "1 class"}),
    ],
)
def test_a_name_of_several_things_lists_them_and_the_wnid_settles_it(name: str, candidates: dict[str, str]) -> None:
    with pytest.raises(InputError) as raised:
        classes.resolve(name)
    first, *rest = str(raised.value).splitlines()
    assert repr(name) in first
    assert "wnid" in first
    assert len(rest) == len(candidates)
    for (wnid, count), line in zip(candidates.items(), rest, strict=True):
        assert line.split()[0] == wnid
        assert f"({count}): " in line
        assert len(line.partition("): ")[2]) > 10  # the gloss
        assert len(classes.resolve(wnid)) == int(count.split()[0])


def test_several_things_with_the_same_classes_are_no_question() -> None:
    assert classes.resolve("cabbage") == ("n07714571",)  # the vegetable, and the family, in which it is the one class


def test_every_name_of_every_class_leads_to_it_or_to_a_question_that_lists_it() -> None:
    ambiguous = set()
    for wnid in classes.wnids():
        names = classes.by_wnid(wnid)
        for name in (names.name, *names.lemmas):
            try:
                found = " ".join(classes.resolve(name))
            except InputError as error:
                found = str(error)
                ambiguous.add(name)
            assert wnid in found
    assert {"crane", "missile", "maillot", "sunglasses"} <= ambiguous
    assert len(ambiguous) < 100


@pytest.mark.parametrize(
    ("typo", "meant"),
    [("golden retreiver", "golden retriever"), ("vehicel", "vehicle")],
)
def test_an_unknown_name_gets_the_nearest_ones(typo: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"no class is called '{typo}'; did you mean .*{meant}"):
        classes.resolve(typo)


@pytest.mark.parametrize("name", ["", "qqqqzzzz", "n00000000", "n0144076", "①", "x" * 10_000_000, "犬"])
def test_a_name_like_no_other_says_what_can_be_given(name: str) -> None:
    with pytest.raises(InputError, match="no class is called") as raised:
        classes.resolve(name)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("index", [-1, 1000, "1000", "99999999999999999999"])
def test_an_index_out_of_range_is_refused(index: str | int) -> None:
    with pytest.raises(InputError, match="0 to 999"):
        classes.resolve(index)


@pytest.mark.parametrize("wnid", ["n02084071", "", "../../x", "n" * 10_000_000])
def test_what_is_not_a_class_has_no_index(wnid: str) -> None:
    assert classes.index_of(wnid) is None
    assert not classes.is_class(wnid)
    with pytest.raises(InputError, match="is not the wnid of one of the 1000 classes") as raised:
        classes.by_wnid(wnid)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("name", "forms"),
    [
        ("English foxhound", ("English foxhounds",)),
        ("red fox", ("red foxes",)),
        ("daisy", ("daisies",)),
        ("donkey", ("donkeys",)),
        ("blueberries", ("blueberry",)),
        ("ties", ()),
        ("hippo", ("hippos", "hippoes")),
        ("tights", ()),
        ("Granny Smith 2", ()),
    ],
)
def test_a_name_is_also_read_in_the_other_number(name: str, forms: tuple[str, ...]) -> None:
    assert plurals(name) == forms
