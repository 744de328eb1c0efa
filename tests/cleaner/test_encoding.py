"""Safe characters: no rule changes them, so that most texts skip ftfy and a second round."""

from __future__ import annotations

import re
import unicodedata
from itertools import product

import pyarrow as pa
import pytest
from ftfy.badness import MOJIBAKE_CATEGORIES, is_bad
from hypothesis import given
from hypothesis import strategies as st

from imagenet_captions.cleaner.clean import clean_strings, clean_tags
from imagenet_captions.cleaner.text import SAFE, SAFE_ALONE, clean_description, clean_title, is_safe

BEYOND_ASCII = "".join(map(chr, [*range(0x80, 0xD800), *range(0xE000, 0x10000)]))
ANYWHERE = re.findall(f"[{SAFE}]", BEYOND_ASCII)
ALONE = re.findall(f"[{SAFE_ALONE}]", BEYOND_ASCII)
ASCII = [chr(code) for code in range(0x20, 0x7F)]
SIGNS = set(re.findall(f"[{''.join(MOJIBAKE_CATEGORIES.values())}œŒ]", BEYOND_ASCII))  # of ftfy

mixed = st.text(
    st.sampled_from([*"  .aZ9'&<", *"éüñçßяВГўΒα猫й가の", *"ÉÖ\u2013\u2019”«»…£°²€™", *"ÃÂœŒ\x92\xa0\u0301Ђ"])
)


@pytest.mark.parametrize("characters", [ANYWHERE, ALONE], ids=["anywhere", "alone"])
def test_no_rule_changes_a_safe_character(characters: list[str]) -> None:
    assert len(characters) > 100
    text = " ".join(f"{character}a {character}" for character in characters)
    assert clean_title(text) == clean_description(text) == text
    assert unicodedata.normalize("NFC", "".join(characters)) == "".join(characters)
    assert not [
        character for character in characters if unicodedata.combining(character) or not character.isprintable()
    ]


def test_no_sign_of_ftfy_is_made_of_characters_that_are_safe_anywhere() -> None:
    known = sorted(SIGNS.intersection(ANYWHERE))
    assert len(known) > 100
    for first, second in product(known, known):
        assert not is_bad(f"a{first}{second}a {first}{second} "), (first, second)


def test_no_sign_of_ftfy_has_one_safe_character() -> None:
    for before, character in product(" a.9", SIGNS.intersection(ANYWHERE + ALONE)):
        assert not is_bad("".join(f"{before}{character}{after}" for after in ASCII)), character
        assert not is_bad(character + before), character


@given(mixed)
def test_a_safe_text_is_not_bad(text: str) -> None:
    assert not (is_safe(text) and is_bad(text))


@given(mixed)
def test_a_column_is_cleaned_as_its_strings_are(text: str) -> None:
    for clean in (clean_title, clean_description):
        assert clean_strings(pa.array([text]), clean).to_pylist() == [clean(text)]


def test_equal_tags_are_cleaned_alike_and_nulls_are_none() -> None:
    assert clean_tags(pa.array([["cafÃ©"], ["cafÃ©"], None, [None, "x"]])).to_pylist() == [["café"]] * 2 + [[], ["x"]]
