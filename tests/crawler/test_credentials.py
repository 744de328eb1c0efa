"""Where the key is read from, and that it stays out of an answer in every form that a later stage would read as it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imagenet_captions.cleaner.text import clean_description, clean_title
from imagenet_captions.crawler.client import Credentials, Scrubber, read_credentials
from imagenet_captions.crawler.source import parse_photo
from imagenet_captions.errors import InputError
from tests.crawler.crawl_tools import KEY, SECRET, ok

ENVIRONMENT = {"FLICKR_API_KEY": "environment-key", "FLICKR_API_SECRET": "environment-secret"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FLICKR_API_KEY=k1\nFLICKR_API_SECRET=s1\n", Credentials("k1", "s1")),
        ("# mine\r\n\r\nexport FLICKR_API_SECRET='s1'\r\nFLICKR_API_KEY = \"k1\"\r\n", Credentials("k1", "s1")),
        ("FLICKR_API_KEY=k1", Credentials("k1")),
        ("k1\ns1\n", Credentials("k1", "s1")),
        ("\ufeffk1\n", Credentials("k1")),
    ],
)
def test_a_key_file_wins_over_the_environment(tmp_path: Path, text: str, expected: Credentials) -> None:
    (tmp_path / "key").write_text(text, encoding="utf-8", newline="")
    assert read_credentials(tmp_path / "key", ENVIRONMENT) == expected


def test_the_environment() -> None:
    assert read_credentials(None, ENVIRONMENT) == Credentials("environment-key", "environment-secret")


def test_no_key_is_said_with_both_ways_to_give_one(tmp_path: Path) -> None:
    for text in ("", "# nothing\n", "FLICKR_API_KEY=\n", "OTHER=x\n"):
        (tmp_path / "key").write_text(text)
        with pytest.raises(InputError, match=r"the key file .*key has no Flickr key; set FLICKR_API_KEY .*`key_file`"):
            read_credentials(tmp_path / "key", ENVIRONMENT)
    with pytest.raises(InputError, match=r"no Flickr key is set; set FLICKR_API_KEY .*`key_file`"):
        read_credentials(None, {"FLICKR_API_KEY": " "})


def test_a_bad_key_file_is_never_quoted(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"FLICKR_API_KEY=s3cr3t\xff\n")
    (tmp_path / "blank").write_text("my s3cr3t key\n")
    for name in ("key", "blank"):
        with pytest.raises(InputError) as caught:
            read_credentials(tmp_path / name, {})
        assert "s3cr3t" not in str(caught.value)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
    with pytest.raises(InputError, match="does not exist"):
        read_credentials(tmp_path / "nowhere", {})


def test_credentials_do_not_show() -> None:
    assert "k1" not in f"{Credentials('k1', 's1')!r} {Credentials('k1', 's1')}"


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
