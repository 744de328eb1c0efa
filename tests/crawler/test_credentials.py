"""Where the key is read from."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagenet_captions.crawler.client import Credentials, read_credentials
from imagenet_captions.errors import InputError

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
