"""Made-up texts through the cleaner."""

from __future__ import annotations

import random
import re
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from counting import Chunk

from imagenet_captions.cleaner.clean import clean_strings, clean_tags
from imagenet_captions.cleaner.text import clean_description, clean_title

_TEXTS = 5_000  # a chunk
_GIANT = 100_000  # characters; four times as many must take at most eight times as long
_SLACK = 0.2  # seconds

# First and last letters of alphabets, small letters where there are two cases.
_SCRIPTS = [
    ("a", "z"), ("α", "ω"), ("а", "я"), ("ա", "ֆ"), ("א", "ת"), ("ب", "غ"), ("अ", "ह"), ("ก", "ฮ"), ("ა", "ჰ"),
    ("ሀ", "ሆ"), ("ァ", "ロ"), ("一", "鿋"), ("가", "힣"), ("ཀ", "ཇ"), ("ᐁ", "ᐆ"), ("0", "9"),
]  # fmt: skip
# Words with marks above, below and around their letters.
_MARKED = ["हिन्दी", "की", "ที่", "น้ำ", "مُدُن", "שָׁלוֹם", "བོད་", "தமிழ்", "ខ្មែរ", "Việt", "naïve", "ё", "ガ"]
_MARKUP = [
    "<b>", "</b>", "<br/>", '<a href="http://x.org/?a=1&amp;b=2" rel="nofollow">', "</a>", "<!--", "-->", "<3", "<",
    ">", "</", "<script>", "<style>", "</style>", "<plaintext>", "[url=http://x.org/]", "[/url]", "[img]", "[", "]",
    '"', "'",
    "<a href='http://x.org/", "<a\nhref=x>", "a < b", "<table><td>", "<svg>", "<title>", "&lt;b&gt;", "&#60;i&#62;",
]  # fmt: skip
_ENTITIES = [
    "&amp;", "&amp;amp;amp;amp;lt;", "&lt", "&gt;", "&quot;", "&copy", "&nbsp;", "&shy;", "&#0;", "&#xD800;", "&#13;",
    "&#x10FFFF;", "&#99999999999;", "&zwj;", "&", "&;", "&#;", "&#x;",
]  # fmt: skip
_MOJIBAKE = ["Ã©", "â€™", "â€œ", "Ã", "Ã\x83Â©", "Â", "Ð¿Ñ€", "РєСЂ", "å°\x8f", "ðŸ˜€", "\x92", "ï»¿", "Ã¢â‚¬â„¢"]
_CONTROLS = [
    "\x00", "\x1b[31m", "\x7f", "\x85", "\xad", "\u200b", "\u200d", "\u202e", "\u2066", "\ufeff", "\ufffe",
    "\U000e0041", "\u2028", "\u3000", "\u0301" * 40, "e\u0301", "\ufe0f", "👩\u200d👩\u200d👧", "🇩🇪",
    "\U0001f3fd", "\ufdfa",
]  # fmt: skip
_ADDRESSES = ["http://a.b/c_(d)", "www.x.de", "me@example.com", "mailto:", "https://", "x@y", "www.", "ftp://u:p@h/"]
_PLAIN = [" ", "\n", "\r\n", "\t", ".", ", ", "!", "(", ")", "_", "-", "“", "…", "1"]
_WILD = [_MARKUP, _ENTITIES, _MOJIBAKE, _CONTROLS, _ADDRESSES, _PLAIN, _PLAIN]
# Between words that have to stay; each stands by itself and is whole.
_TAME = [
    " <b>",
    "</b> ",
    " <br/> ",
    " &amp; ",
    " http://a.b/c ",
    " www.x.de/a ",
    " me@example.com ",
    ", ",
    " — ",
    " 😀 ",
]
_APART = re.compile(r"(?:</?b>|[\s,—😀])+")  # a title keeps a tag without its other half


def chunk(rng: random.Random, scratch: Path) -> Chunk:
    """Check some texts of each kind."""
    losses: list[str] = []
    wild = [_wild(rng) for _ in range(_TEXTS * 3 // 4)]
    for clean in (clean_title, clean_description):
        losses += _settled(wild, clean)
    losses += _tags_settled(rng, wild)
    tame = [_words_between(rng) for _ in range(_TEXTS - len(wild))]
    for words, text in tame:
        title, description = clean_title(text), clean_description(text)
        left = set(_APART.split(title)) & set(_APART.split(description))
        losses += [f"{word!r} is gone from {text!r}" for word in words if word not in left]
    slow = _slow(rng) if rng.random() < 0.05 else None
    return Chunk(_TEXTS, losses + (slow or []), {"giants": slow is not None})


def _wild(rng: random.Random) -> str:
    parts = []
    for _ in range(int(rng.expovariate(0.15)) + 1):
        roll = rng.random()
        if roll < 0.3:
            parts.append(_word(rng))
        elif roll < 0.36:
            parts.append(chr(rng.choice([rng.randrange(0x20, 0x500), rng.randrange(0x110000)])))
        else:
            parts.append(rng.choice(rng.choice(_WILD)))
    return "".join(parts)


def _word(rng: random.Random) -> str:
    first, last = rng.choice(_SCRIPTS)
    letters = (chr(rng.randint(ord(first), ord(last))) for _ in range(rng.randint(1, 8)))
    return "".join(letter for letter in letters if letter.isalnum()) or first


def _words_between(rng: random.Random) -> tuple[list[str], str]:
    words = [
        unicodedata.normalize("NFC", rng.choice(_MARKED) if rng.random() < 0.2 else _word(rng))
        for _ in range(rng.randint(1, 8))
    ]
    return words, "".join(word + rng.choice([" ", " ", rng.choice(_TAME)]) for word in words)


def _settled(texts: list[str], clean: Callable[[str], str]) -> list[str]:
    """Return what is wrong: an error, a second cleaning that changes something, a column that differs."""
    losses, once = [], []
    for text in texts:
        try:
            once.append(clean(text))
            if clean(once[-1]) != once[-1]:
                losses.append(f"{clean.__name__} twice differs: {text!r}")
        except Exception as error:  # noqa: BLE001  # any error at all is a loss
            once.append("")
            losses.append(f"{clean.__name__} raised {type(error).__name__} on {text!r}")
    held = [text if _encodes(text) else "" for text in texts]
    expected = [done if _encodes(text) else clean("") for text, done in zip(texts, once, strict=True)]
    found = clean_strings(pa.array(held, pa.string()), clean).to_pylist()
    differs = (text for text, one, other in zip(held, expected, found, strict=True) if one != other)
    return losses + [f"{clean.__name__} by the column differs: {text!r}" for text in differs]


def _encodes(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _tags_settled(rng: random.Random, texts: list[str]) -> list[str]:
    lists = [[text for text in rng.sample(texts, rng.randrange(5)) if _encodes(text)] for _ in range(_TEXTS // 10)]
    column = pa.array(lists, pa.list_(pa.field("item", pa.string())))
    once = clean_tags(column)
    return [] if clean_tags(once).equals(once) else ["clean_tags twice differs"]


def _slow(rng: random.Random) -> list[str]:
    """Return what takes more than linear time: a few pieces repeated to a giant, and to one four times as long."""
    pieces = "".join(rng.choice(rng.choice(_WILD)) for _ in range(rng.randint(1, 4)))
    if not pieces.strip():
        return []
    losses = []
    for clean in (clean_title, clean_description):
        small, large = (_seconds(clean, pieces * (size // len(pieces))) for size in (_GIANT, 4 * _GIANT))
        if large > 8 * small + _SLACK:
            losses.append(f"{clean.__name__}: {small:.2f} s, four times as long {large:.2f} s: {pieces!r} repeated")
    return losses


def _seconds(clean: Callable[[str], str], text: str) -> float:
    began = time.process_time()
    clean(text)
    return time.process_time() - began
