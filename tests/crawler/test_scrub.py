"""The key stays out of an answer in every form that a later stage would read as the key."""

from __future__ import annotations

import json
from typing import Any

import pytest

from imagenet_captions.cleaner.text import clean_description, clean_title
from imagenet_captions.crawler.client import Scrubber
from imagenet_captions.crawler.source import parse_photo
from tests.crawler.crawl_tools import KEY, SECRET, ok

scrub = Scrubber([KEY, SECRET])


def escaped(text: str) -> str:
    """Every character as JSON may write it."""
    return "".join(f"\\u{ord(character):04x}" for character in text)


HIDDEN = [
    KEY,
    SECRET,
    f"my {KEY}, {SECRET}",
    escaped(KEY),
    escaped(KEY).upper().replace("\\U", "\\u"),
    KEY[:-1] + escaped(KEY[-1]),
    escaped(KEY[0]) + KEY[1:],
    "".join(f"&#{ord(character)};" for character in KEY),
    "".join(f"&#x{ord(character):x}" + ";" for character in KEY),
    "".join(f"&amp;#{ord(character)};" for character in KEY),
    "".join(f"\\u0026#{ord(character)};" for character in KEY),
    f"{KEY[:5]}<b></b>{KEY[5:]}",
    f"{KEY[:5]}&lt;b&gt;{KEY[5:]}",
    f"{KEY[:5]}\\u00ad{KEY[5:]}",
    f"{KEY[:5]}\\u200b{KEY[5:]}",
    f"{KEY[:5]}\u00ad{KEY[5:]}",
    f"{KEY[:5]}\\u0000{KEY[5:]}",
    f"{KEY[:5]}\\ud83d{KEY[5:]}",
    "\\u003cb>" + escaped(KEY) + "\\u003c/b>",
]


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize(
    "answer",
    [
        '{"photo":{"id":"7","title":{"_content":"%s"}},"stat":"ok"}',
        '{"photo":{"id":"7","description":"%s"},"stat":"ok"}',
        '{"photo":{"id":"7","tags":{"tag":[{"raw":"a"},{"raw":"%s"}]}},"stat":"ok"}',
        '{"photo":{"id":"7","owner":{"nsid":"1@N01","username":"%s"}},"stat":"ok"}',
        '{"photo":{"id":"7","title":"%s","title":"the second counts"},"stat":"ok"}',
        '{"photo":{"id":"7","%s":1},"stat":"ok"}',
    ],
)
def test_no_text_of_an_answer_becomes_the_key(answer: str, hidden: str) -> None:
    body = scrub((answer % hidden).encode())
    photo: dict[str, Any] = json.loads(body)["photo"]
    record = parse_photo("7", photo)
    texts = [record.title, record.description, *record.tags, record.owner_name or "", *photo]
    for text in texts:
        for cleaned in (text, clean_title(text), clean_description(text)):
            assert KEY not in cleaned
            assert SECRET not in cleaned
    assert KEY.encode() not in body
    assert photo["id"] == "7"


def test_an_answer_without_the_key_stays_as_it_came() -> None:
    for body in (
        json.dumps(ok("7", title={"_content": "caf\u00e9 <b>&amp;</b> 1/2"}), indent=1).encode(),
        b'{"photo": {"id": "7", "title": "\\u0066ox caf\xe9", "title": "\\ud83d"}, "stat": "ok"}  ',
        b"<html>&amp; no JSON</html>",
        b"\\" * 100_000,
        b"[" * 100_000 + b"&",
        b"",
    ):
        assert scrub(body) == body


def test_a_page_is_scrubbed_too() -> None:
    assert scrub(f"<p>{KEY}</p>".encode()) == b"<p>[removed]</p>"


def test_a_key_of_other_characters_is_known_in_the_form_that_was_sent() -> None:
    other = Scrubber(["a key/with+signs&more=of#them"])
    assert other(b'["a key/with+signs&more=of#them"]') == b'["[removed]"]'
    assert other(b'["a%20key/with%2Bsigns%26more%3Dof%23them."]') == b'["[removed]."]'
    assert other(b'{"t": "a key\\/with+signs&amp;more=of#them"}') == b'{"t": "[removed]"}'


def test_short_ones_stand_in_texts_by_chance() -> None:
    assert Scrubber(["demo", "", "---------------------"])(b'{"t": "a demo & ---"}') == b'{"t": "a demo & ---"}'
