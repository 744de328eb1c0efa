"""What each rule changes in a record."""

from __future__ import annotations

import pytest

from imagenet_captions.cleaner.text import Change, record_changes


@pytest.mark.parametrize(
    ("texts", "changes"),
    [
        (("A tench", "", ["fish"]), []),
        (
            ("Tom &amp;lt; x\u00ad", "", []),
            [
                ("entities", "Tom &amp;lt; x\u00ad", "Tom &lt; x\u00ad"),
                ("entities", "Tom &lt; x\u00ad", "Tom < x\u00ad"),
                ("controls", "Tom < x\u00ad", "Tom < x"),
            ],
        ),
        (("", "a<br>b", []), [("markup", "a<br>b", "a b")]),
        (("IMG_1234", "", []), [("camera file names", "IMG_1234", None)]),
        (
            ("", "", ["www.a.org", "geo:lat=1", "Straße", "STRASSE"]),
            [
                ("addresses", "www.a.org", " "),
                ("white space", " ", ""),
                ("empty tags", "www.a.org", None),
                ("machine tags", "geo:lat=1", None),
                ("repeated tags", "STRASSE", None),
            ],
        ),
    ],
)
def test_each_rule_notes_what_it_changes(
    texts: tuple[str, str, list[str]], changes: list[tuple[str, str, str | None]]
) -> None:
    assert [(each.rule, each.before, each.after) for each in record_changes(*texts)] == changes


def test_a_change_is_shown_on_a_line_and_a_long_text_around_it() -> None:
    assert str(Change("machine tags", "tags", "geo:lat=1", None)) == "tags: 'geo:lat=1' left out"
    assert str(Change("entities", "title", "&lt;", "<")) == "title: '&lt;' → '<'"
    early = str(Change("entities", "title", "ab" + "x" * 150, "ac" + "x" * 150))
    assert early == f"title: 'ab{'x' * 118}…' → 'ac{'x' * 118}…'"
    shown = str(Change("entities", "description", "x" * 500 + "&lt;" + "y" * 500, "x" * 500 + "<" + "y" * 500))
    assert shown == f"description: '…{'x' * 24}&lt;{'y' * 92}…' → '…{'x' * 24}<{'y' * 95}…'"
