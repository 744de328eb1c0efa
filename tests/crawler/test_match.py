"""Matching: which address counts, and where every input id ends."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from imagenet_captions import schema as records
from imagenet_captions.crawler import match as matching
from imagenet_captions.crawler.match import MatchSettings, match
from imagenet_captions.errors import InputError
from imagenet_captions.outcomes import OUTCOMES, Outcome
from imagenet_captions.storage import parquet as spool
from imagenet_captions.storage import texts as reading

FLICKR = "http://farm4.static.flickr.com/3175/{}_7958dc8760.jpg"
ELSEWHERE = "http://www.example.com/images/{}.jpg"
TENCH = "n01440764"
OUTSIDE = "n00004475"  # organism: in ImageNet's list, not among the 1000


class Matched:
    """What one run left."""

    def __init__(self, folder: Path, counts: dict[Outcome, int]) -> None:
        self.counts = counts
        self.matches: list[dict[str, Any]] = pq.read_table(folder / "matches.parquet").to_pylist()
        self.outcomes: list[dict[str, Any]] = pq.read_table(folder / "matches.outcomes.parquet").to_pylist()

    def ends(self) -> dict[str, tuple[str, str | None]]:
        """Photo or outcome, and detail, by id."""
        photos = {row["image_id"]: (row["photo_id"], row["detail"]) for row in self.matches}
        others = {row["image_id"]: (row["outcome"], row["detail"]) for row in self.outcomes if row["image_id"]}
        assert not photos.keys() & others.keys()
        return photos | others


def run(folder: Path, *lists: str | bytes, ids: Iterable[str] | None = None) -> Matched:
    folder.mkdir(exist_ok=True)
    paths = []
    for number, text in enumerate(lists):
        paths.append(folder / f"urls_{number}.txt")
        paths[-1].write_bytes(text if isinstance(text, bytes) else text.encode())
    chosen = None
    if ids is not None:
        chosen = folder / "ids.txt"
        chosen.write_bytes("\n".join(ids).encode())
    return Matched(folder, match(paths, folder / "matches.parquet", MatchSettings(chosen)))


def test_a_match_has_id_class_photo_and_address(tmp_path: Path) -> None:
    matched = run(tmp_path, f"{TENCH}_10026\t{FLICKR.format(27)}\n")
    assert matched.matches == [
        {"image_id": "n01440764_10026", "wnid": TENCH, "photo_id": "27", "url": FLICKR.format(27), "detail": None}
    ]
    assert matched.outcomes == []
    assert matched.counts == {Outcome.KEPT: 1}
    assert pq.read_schema(tmp_path / "matches.parquet").equals(records.MATCHES)
    assert pq.read_schema(tmp_path / "matches.outcomes.parquet").equals(OUTCOMES)


# What stands in a line beside its id and address; the first as in fall11_urls.txt, the dirt as seen in the wild.
LINES = [
    (b"{}\thttp://farm4.static.flickr.com/3175/27_ab.jpg", "http://farm4.static.flickr.com/3175/27_ab.jpg"),
    (b"{} http://a.org/x.jpg", "http://a.org/x.jpg"),
    (b"{}\thttp://a.org/a b\tc.jpg ", "http://a.org/a b c.jpg"),
    (b"{}\thttp://a.org/a\rb.jpg", "http://a.org/a b.jpg"),
    (b"{}\thttp://www.b\xe9b\xe9.fr/\xe9.jpg", "http://www.b\u00e9b\u00e9.fr/\u00e9.jpg"),
    ("{}\thttp://www.b\u00e9b\u00e9.fr/".encode(), "http://www.b\u00e9b\u00e9.fr/"),
    (b"{}\thttp://a.org/\0.jpg", "http://a.org/ .jpg"),
    (b"{}", None),
    (b"\xef\xbb\xbf{}\thttp://a.org/", "http://a.org/"),
    (b"{}.JPEG\thttp://a.org/", "http://a.org/"),
    (b"{}_n01440764.jpg\thttp://a.org/", "http://a.org/"),
]
UNREADABLE = [
    *[name + b"\tx" for name in (b"n01440764_1234567890", b"n0144076_1", b"N01440764_1", b"n01440764")],
    b"n01440764_1_n01443537\tx",
    b"n0144076\xb2_1\tx",
    b"n01440764_1\0\tx",
    b"n" + b"0" * 100_000,
]


def test_dirty_lines_keep_id_and_address(tmp_path: Path) -> None:
    ids = [f"{TENCH}_{at}" for at in range(len(LINES))]
    lines = [line.replace(b"{}", image_id.encode()) for image_id, (line, _) in zip(ids, LINES, strict=True)]
    found = run(tmp_path, b"\n".join(lines))
    shown = {row["image_id"]: row["url"] for row in found.matches}
    shown |= {row["image_id"]: row["detail"] for row in found.outcomes}
    assert shown == dict(zip(ids, (address for _, address in LINES), strict=True))


def test_lines_without_an_id_are_counted_and_blank_ones_are_not(tmp_path: Path) -> None:
    blank = [b"", b" \t\r", b"\xef\xbb\xbf", b"\xef\xbb\xbf \r"]
    good = f"{TENCH}_1\t{FLICKR.format(1)}\n".encode()
    found = run(tmp_path, good + b"".join(line + b"\n" for line in [*blank, *UNREADABLE]) + good)
    assert [row["detail"] for row in found.outcomes] == ["list 1: lines without an image id, the first is line 6"]
    assert found.counts == {Outcome.KEPT: 1, Outcome.BAD_RECORD: len(UNREADABLE)}


def test_the_first_flickr_photo_wins_over_all_lists(tmp_path: Path) -> None:
    first = f"{TENCH}_1\t{ELSEWHERE.format(1)}\n{TENCH}_1\t\n{TENCH}_1\t{FLICKR.format(3)}\n"
    second = f"{TENCH}_1\t{FLICKR.format(2)}\n{TENCH}_1\t{ELSEWHERE.format(1)}\n"
    ends = run(tmp_path, first, second).ends()
    assert ends == {f"{TENCH}_1": ("3", f"{FLICKR.format(2)} | {ELSEWHERE.format(1)}")}


def test_without_a_photo_the_best_address_tells_why(tmp_path: Path) -> None:
    urls = ["", "junk", ELSEWHERE.format(1), ELSEWHERE.format(2), "http://www.flickr.com/photos/someone/"]
    text = "".join(f"{TENCH}_1\t{url}\n" for url in [*urls, *urls]) + f"{TENCH}_2\t\n{TENCH}_2\tjunk\n"
    ends = run(tmp_path, text).ends()
    detail = f"{urls[4]} | {ELSEWHERE.format(1)} | {ELSEWHERE.format(2)} | junk"
    assert ends == {f"{TENCH}_1": ("not_a_photo", detail), f"{TENCH}_2": ("bad_url", "junk")}


def test_details_are_bounded(tmp_path: Path) -> None:
    urls = [FLICKR.format(1), *(ELSEWHERE.format(f"{number}" + "x" * 1000) for number in range(9))]
    text = "".join(f"{TENCH}_1\t{url}\n" for url in urls) + f"{TENCH}_2\thttp://a.org/{'x' * 10_000_000}\n"
    ends = run(tmp_path, text).ends()
    photo, detail = ends[f"{TENCH}_1"]
    assert photo == "1"
    assert detail is not None
    assert detail.count("…") == 5
    assert detail.endswith("… | and 4 more")
    assert len(detail) < 1100
    outcome, detail = ends[f"{TENCH}_2"]
    assert (outcome, len(detail or "")) == ("bad_url", 200)


def test_other_classes_are_counted_each_id_once(tmp_path: Path) -> None:
    lines = [f"{OUTSIDE}_{number}\t{FLICKR.format(number)}\n" for number in (1, 2, 3, 3, 2)]
    lines += [f"{OUTSIDE}_03\tx\n", f"n99999999_1\t{ELSEWHERE.format(1)}\n"]
    matched = run(tmp_path, "".join(lines), "".join(lines[:3]) + f"{TENCH}_1\t{FLICKR.format(1)}\n")
    assert matched.outcomes == [
        {"image_id": None, "wnid": OUTSIDE, "outcome": "unknown_class", "detail": None, "count": 4},
        {"image_id": None, "wnid": "n99999999", "outcome": "unknown_class", "detail": None, "count": 1},
    ]
    assert matched.counts == {Outcome.KEPT: 1, Outcome.UNKNOWN_CLASS: 5}


def test_ids_say_which_images_count(tmp_path: Path) -> None:
    ids = [f"{wnid}_{number}" for wnid in (OUTSIDE, TENCH) for number in range(9)]
    text = "".join(f"{image_id}\t{FLICKR.format(image_id[10:] + '5')}\n" for image_id in ids)
    chosen = [f"{TENCH}_3", f"{TENCH}_77", f"{OUTSIDE}_1", f"{OUTSIDE}_99", f"{TENCH}_0", "x", "y"]
    matched = run(tmp_path, text, ids=chosen)
    assert matched.ends() == {f"{TENCH}_0": ("5", None), f"{TENCH}_3": ("35", None), f"{TENCH}_77": ("no_url", None)}
    assert [(row["wnid"], row["detail"], row["count"]) for row in matched.outcomes if row["image_id"] is None] == [
        (OUTSIDE, None, 2),
        (None, "ids: entries that are not image ids, the first is 'x'", 2),
    ]
    none = run(tmp_path / "none", f"{OUTSIDE}_1\t{FLICKR.format(1)}\n", ids=[f"{TENCH}_3"])
    assert (none.matches, none.ends()) == ([], {f"{TENCH}_3": ("no_url", None)})


def dirty_list(seed: int, lines: int = 3000) -> bytes:
    """A list in no order, with repeated ids, several addresses, other classes and junk."""
    rng = random.Random(seed)
    made = []
    for _ in range(lines):
        wnid = rng.choice([TENCH, "n01443537", "n02017213", OUTSIDE, "n00001930", "n15300358"])
        image_id = f"{wnid}_{rng.choice(['', '0'])}{rng.randrange(300)}"
        forms = [FLICKR, FLICKR, ELSEWHERE, "junk", "", "http://www.flickr.com/photos/x/"]
        url = rng.choice(forms).format(rng.randrange(1, 9))
        dirt = [f"{image_id} {url}\r", "", "junk", f"{wnid}\t{url}", f"{image_id}\té\t"]
        line = rng.choice([f"{image_id}\t{url}"] * 30 + dirt)
        made.append(line.encode(rng.choice(["utf-8", "latin-1"])))
    return b"\n".join(made)


@pytest.mark.parametrize("chosen", [False, True])
def test_the_counts_add_up_and_the_bytes_are_the_same_whatever_the_blocks_and_threads(
    tmp_path: Path, chosen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = [dirty_list(1), dirty_list(2)]
    ids = [f"{wnid}_{number}" for wnid in (TENCH, "n02017213", OUTSIDE) for number in range(100, 350)]
    found = run(tmp_path / "a", *lists, ids=ids if chosen else None)
    total = len(found.matches) + sum(row["count"] for row in found.outcomes)
    assert total == sum(found.counts.values())
    assert total - found.counts[Outcome.BAD_RECORD] == len(ids) or not chosen
    for rows in (found.matches, [row for row in found.outcomes if row["image_id"]]):
        assert len(rows) > 50
        assert rows == sorted(rows, key=lambda row: row["image_id"])
    monkeypatch.setattr(reading, "BLOCK", 500)
    monkeypatch.setattr(matching, "default_workers", lambda: 3)
    monkeypatch.setattr(spool, "HELD_ROWS", 50)
    monkeypatch.setattr(spool, "SORTED_ROWS", 7)
    run(tmp_path / "b", *lists, ids=ids if chosen else None)
    for file in ("matches.parquet", "matches.outcomes.parquet"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_provenance_names_digests_and_no_paths(tmp_path: Path) -> None:
    run(tmp_path, f"{TENCH}_1\t{FLICKR.format(1)}\n", f"{TENCH}_1\t{FLICKR.format(2)}\n", ids=[f"{TENCH}_1"])
    for file in ("matches.parquet", "matches.outcomes.parquet"):
        found = records.provenance(pq.read_schema(tmp_path / file))
        assert set(found["inputs"]) == {"urls", "urls_2", "ids"}
        assert all(len(digest) == 64 for digest in found["inputs"].values())
        assert str(tmp_path).encode() not in (tmp_path / file).read_bytes()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no line of an image id"),
        ('[{"filename": "n01440764_10026.JPEG", "title": "http://www.flickr.com/"}]\n', "no line of an image id"),
    ],
)
def test_a_list_that_cannot_be_used_is_an_error_and_leaves_nothing(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        run(tmp_path, f"{TENCH}_1\t{FLICKR.format(1)}\n", text)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["urls_0.txt", "urls_1.txt"]
