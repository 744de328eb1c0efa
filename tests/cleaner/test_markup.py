"""The short way through simple markup, against the parser."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from imagenet_captions.cleaner.text import strip_markup

INLINE = ["<b>", "</b>", "<I>", "</i >", '<a href="http://x.org/?a=1&amp;b=2" rel="nofollow">', "</a>", "<u/>", "</em>"]
TEXT = ["x", " ", ">", "< ", "<3", "&amp;", "&lt;b&gt;", "é", '"', "'", "b>"]

# No description ends with this tag, which only the parser knows.
PARSED = "<wbr>"


@given(st.lists(st.sampled_from([*INLINE, *TEXT]), max_size=12).map("".join))
def test_simple_tags_are_taken_out_as_the_parser_does(text: str) -> None:
    assert strip_markup(text) == strip_markup(text + PARSED)
