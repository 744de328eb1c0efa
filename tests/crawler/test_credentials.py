"""Where the key is read from, and that it stays out of an answer in every form that a later stage would read as it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imagenet_captions.crawler.client import Credentials, read_credentials, repeats_secret
from imagenet_captions.errors import InputError
from tests.crawler.crawl_tools import KEY, SECRET, ok

ENVIRONMENT = {"FLICKR_API_KEY": "environment-key", "FLICKR_API_SECRET": "environment-secret"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FLICKR_API_KEY=k1\nFLICKR_API_SECRET=s1\n", Credentials("k1", "s1")),
        ("# mine\r\n\r\nexport FLICKR_API_SECRET='s1'\r\nFLICKR_API_KEY = \"k1\"\r\n", Credentials("k1", "s1")),
        ("\ufeffFLICKR_API_KEY=k1", Credentials("k1")),
    ],
)
def test_a_key_file_wins_over_the_environment(tmp_path: Path, text: str, expected: Credentials) -> None:
    (tmp_path / "key").write_text(text, encoding="utf-8", newline="")
    assert read_credentials(tmp_path / "key", ENVIRONMENT) == expected


def test_the_environment_has_a_key_that_does_not_show() -> None:
    found = read_credentials(None, ENVIRONMENT)
    assert found == Credentials("environment-key", "environment-secret")
    assert "environment-" not in f"{found!r} {found}"


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


def escaped(text: str) -> str:
    """Every character as JSON may write it."""
    return "".join(f"\\u{ord(character):04x}" for character in text)


@pytest.mark.parametrize(
    "hidden",
    [
        f"my {KEY}, and more",
        SECRET,
        escaped(KEY).upper().replace("\\U", "\\u"),
        KEY[:-1] + escaped(KEY[-1]),
        "".join(f"&#{ord(character)};" for character in KEY),
        "".join(f"\\u0026#{ord(character)};" for character in KEY),
        "".join(f"%{ord(character):x}" for character in KEY),
        f"{KEY[:5]}<b></b>{KEY[5:]}",
        f"<a title='{KEY}'>",
        f"{KEY[:5]}\\u00ad{KEY[5:]}",
        f"{KEY[:5]}\\ud83d{KEY[5:]}",
    ],
)
@pytest.mark.parametrize(
    "answer",
    [
        '{"photo":{"id":"7","tags":{"tag":[{"raw":"a"},{"raw":"%s"}]}},"stat":"ok"}',
        '{"photo":{"id":"7","title":"%s","title":"the second counts"},"stat":"ok"}',
        "<html>%s</html>",
    ],
)
def test_the_key_is_found_in_every_form_that_a_later_stage_decodes(answer: str, hidden: str) -> None:
    assert repeats_secret((answer % hidden).encode(), Credentials(KEY, SECRET))


@pytest.mark.parametrize(
    ("secret", "answer", "found"),
    [
        (KEY, json.dumps(ok("7", title={"_content": "caf\u00e9 <b>&amp;</b> 1/2"}), indent=1), False),
        (KEY, '{"photo": {"id": "7", "title": "\\u0066ox", "title": "\\ud83d"}, "stat": "ok"}  ', False),
        (KEY, "\\" * 100_000 + "&", False),
        (KEY, "", False),
        ("a key/with+signs&more=of#them", '["a%20key/with%2Bsigns%26more%3Dof%23them."]', True),
        ("demo", "a demo", False),  # a short one stands in texts by chance
    ],
)
def test_other_answers_and_keys(secret: str, answer: str, found: bool) -> None:
    assert repeats_secret(answer.encode(), Credentials(secret)) == found
