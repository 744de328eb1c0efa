"""The denylist's file, and what it leaves out of a table."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.flickr.denylist import NOTHING_DENIED, Denylist

ENTRIES = {
    ("photo", "2737866473"): [
        "2737866473",
        "http://farm4.static.flickr.com/3175/2737866473_7958dc8760.jpg",
        *("https://www.flickr.com/photos/heron/2737866473/", "www.flickr.com/photos/11632020@N00/2737866473"),
    ],
    ("photo", "2740837319"): ["https://flic.kr/p/5bcvrR"],
    ("owner", "11632020@n00"): [
        *("11632020@N00", "11632020@n00", "https://www.flickr.com/photos/11632020@N00/"),
        "https://www.flickr.com/photos/11632020%40N00",
    ],
    ("owner", "heron"): ["flickr.com/people/Heron/", "https://www.flickr.com/photos/heron/?page=2"],
    ("image", "n01440764_10026"): [
        *("n01440764_10026.JPEG", "n01440764_10026", "train/n01440764/n01440764_10026.JPEG")
    ],
    None: [
        *("the heron", "0", "12345678901234567890", "https://www.example.com/photos/heron/"),
        *("https://www.flickr.com/photos/tags/", "https://www.flickr.com/"),
        "n01440764",  # a whole class is not one photo
        "\uff11\uff12\uff13",  # digits, but not ASCII
    ],
}


@pytest.mark.parametrize(("text", "entry"), [(text, entry) for entry, texts in ENTRIES.items() for text in texts])
def test_a_line_names_one_thing(tmp_path: Path, text: str, entry: tuple[str, str] | None) -> None:
    file = tmp_path / "deny.txt"
    file.write_text(text, encoding="utf-8")
    if entry is None:
        with pytest.raises(InputError, match=r"line 1 of the denylist .* is not understood"):
            Denylist.parse(file)
        return
    kind, name = entry
    assert Denylist.parse(file) == Denylist(**{f"{kind}s": (name,)})


def test_a_file_with_remarks_blanks_and_repeats(tmp_path: Path) -> None:
    file = tmp_path / "deny.txt"
    file.write_text(
        "\ufeff# asked by mail, 2026-01-03\n\n 2737866473  # the heron\r\n"
        "https://www.flickr.com/photos/x/2737866473/#comment1\n11632020@N00\nn01440764_4 #\n",
        encoding="utf-8",
    )
    read = Denylist.parse(file)
    assert read == Denylist(("2737866473",), ("11632020@n00",), ("n01440764_4",))
    file.write_text("n01440764_4.JPEG\n11632020@n00\n2737866473\n", encoding="utf-8")
    assert Denylist.parse(file).digest() == read.digest()
    file.write_text("n01440764_4.JPEG\n11632020@n00\n", encoding="utf-8")
    assert Denylist.parse(file).digest() != read.digest()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"2737866473\n" + b"x" * 500, "line 2 of the denylist"),
        (b"\xff\xfe", "not a text file"),
    ],
)
def test_a_line_that_is_not_understood_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    file = tmp_path / "deny.txt"
    file.write_bytes(content)
    with pytest.raises(InputError, match=sentence) as error:
        Denylist.parse(file)
    assert len(str(error.value)) < 400 + len(str(tmp_path))
    with pytest.raises(InputError, match="does not exist"):
        Denylist.parse(tmp_path / "none.txt")


ROWS = pa.table(
    {
        "image_id": ["n01440764_1", "n01440764_2", "n01440764_3", "n01440764_4", "n01440764_5", "n01440764_6"],
        "photo_id": ["11", "12", None, "14", "15", "16"],
        "owner": ["1@N00", None, None, "11632020@N00", "5@N00", None],
        "photo_page": [
            "https://www.flickr.com/photos/one/11/",
            "https://www.flickr.com/photos/two/12/",
            None,
            None,
            "https://www.flickr.com/photos/Heron/15/\nmore",
            "https://www.flickr.com/photos/heroness/16/",
        ],
    }
)
DENY = Denylist(photos=("12",), owners=("11632020@n00", "heron"), images=("n01440764_3",))


def test_rows_are_denied_by_image_photo_owner_and_page() -> None:
    kept, denied = DENY.drop(ROWS)
    assert kept["image_id"].to_pylist() == ["n01440764_1", "n01440764_6"]
    assert denied["image_id"].to_pylist() == [f"n01440764_{number}" for number in (2, 3, 4, 5)]
    why = ("the photo", "the image", "its owner", "its owner")
    assert denied["detail"].to_pylist() == [f"on the denylist: {each}" for each in why]
    assert set(denied["outcome"].to_pylist()) == {"denied"}
    assert DENY.drop(ROWS.to_batches()[0])[0].num_rows == 2


def test_columns_that_are_not_there_deny_nothing() -> None:
    rows = ROWS.select(["image_id"])
    assert DENY.drop(rows)[1]["image_id"].to_pylist() == ["n01440764_3"]
    assert DENY.drop(rows.slice(0, 0))[1].num_rows == 0


def test_an_owner_by_any_name_who_stays_out_of_the_settings() -> None:
    assert "4 entries" in DENY.settings()["deny"]
    assert "heron" not in str(DENY.settings())
    assert NOTHING_DENIED.settings() == {}
    assert DENY.denies_owner("11632020@N00", None)
    assert DENY.denies_owner(None, "https://www.flickr.com/photos/Heron/15/")
    assert not DENY.denies_owner("1@N00", "https://www.flickr.com/photos/heroness/16/")
