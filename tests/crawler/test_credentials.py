"""Where the key is read from, and the pace as the user writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagenet_captions.crawler.credentials import Credentials, read_credentials
from imagenet_captions.crawler.schedule import Pace, parse_rate
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


@pytest.mark.parametrize("text", ["", "0/s", "-1/s", "1", "1/day", "1e9/s", "nan/s", "1 / s / s", "٣/s", "0.0/h"])
def test_a_pace_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no pace"):
        parse_rate(text)


def test_a_late_call_does_not_let_the_next_ones_hurry() -> None:
    pace = Pace(10.0, now=0.0, since_last=None)
    sent = []
    for late in (0.0, 0.01, 0.0, 0.5, 0.0, 0.0):
        now = pace.next_call + late
        pace.take(now)
        sent.append(round(now, 3))
    # 10 ms late are made up for by the next call; of 500 ms, all but the 20 ms of slack are lost.
    assert sent == [0.0, 0.11, 0.2, 0.8, 0.88, 0.98]


@pytest.mark.parametrize(
    ("since_last", "wait"), [(None, 0.0), (0.0, 2.0), (1.5, 0.5), (9.0, 0.0), (-1e9, 2.0), (1e9, 0.0)]
)
def test_the_pace_holds_over_a_restart_whatever_the_clock_did(since_last: float | None, wait: float) -> None:
    assert Pace(0.5, now=100.0, since_last=since_last).next_call == 100.0 + wait
