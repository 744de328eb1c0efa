"""Clean one string: each rule is a pure function, and their order is fixed.

    surrogates ─► entities (titles, tags) or markup (descriptions) ─► links ─┐
    ┌────────────────────────────────────────────────────────────────────────┘
    └─► encoding ─► controls ─► NFC ─► addresses ─► space

One rule can make work for another ("&lt;b&gt;" becomes a tag, a control character can split an address), so the rules
run until nothing changes. Everything else stays: case, punctuation, quotes, ligatures, widths, emoji and other
languages are the photographer's own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

from imagenet_captions.cleaner.encoding import is_safe, repair_encoding
from imagenet_captions.cleaner.links import unwrap_links
from imagenet_captions.cleaner.markup import decode_entities, strip_markup

Rule = Callable[[str], str]

_ROUNDS = 4  # real texts are escaped twice at most; deeper escaping is an attack

_SURROGATE = re.compile("[\ud800-\udfff]")

# Not in this list: white space (folded), U+200C and U+200D (Persian spelling, emoji of several parts), U+FE0F and the
# tag characters (emoji). U+FFFD marks a lost character, most often half a surrogate pair.
_CONTROL = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"  # C0 and C1
    "\u00ad"  # soft hyphen
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction marks, overrides, isolates
    "\u2060-\u2065\u206a-\u206f\ufeff"  # joiners, invisible operators, byte order mark
    "\ufdd0-\ufdef\ufff9-\uffff]"  # annotation marks, replacement characters, noncharacters
)
# U+200B separates words in scripts without spaces: Thai, Lao, Burmese, Khmer. Elsewhere it has no meaning.
_ZERO_WIDTH_SPACE = re.compile("(?<![\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff])\u200b")

# The normal form sorts the marks on a letter in quadratic time: 40,000 on one letter take Python 5 s. Unicode's own
# limit is 30 (UAX 15, stream-safe text).
_STACK = re.compile(r"[^\w\s\x00-\x7f]{100,}")
_MOST_MARKS = 30
_LONG = 1000

# An address ends at white space, at markup, or at the first character of an East Asian script. Punctuation after it is
# dropped too; brackets and quotes stay.
_NOT_IN_PAGE = r'\s<>"\u3000-\u9fff\uac00-\ud7a3\uff00-\uffef'
_REST_OF_PAGE = (
    rf"(?:[^{_NOT_IN_PAGE}]*[^{_NOT_IN_PAGE}.,;:!?)\]}}'\u00bb\u201d\u2019\u2026])?"
    r"[.,;:!?\u2026]*"
)
_PAGE = re.compile(rf"[hH][tT][tT][pP][sS]?://{_REST_OF_PAGE}")
_WWW = re.compile(rf"[wW](?<![^\W_].)(?<!@.)[wW][wW]\.(?=[^\W_]){_REST_OF_PAGE}")
_LOCAL = r"[A-Za-z0-9._%+-]"
_DOMAIN = r"(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9])"
_MAIL = re.compile(rf"(?<!{_LOCAL})(?:[mM]ailto:)?(?:{_LOCAL}{{1,64}}@{_DOMAIN})+[.,;:!?\u2026]*")
_MARK = "\x1e"  # replaces an address
_GAP = re.compile(rf"\(\s*{_MARK}\s*\)|<\s*{_MARK}\s*>|\[\s*{_MARK}\s*\]|{_MARK}")

_EDGES = " \u200b\u200c\u200d"  # at an end a joiner has nothing to join
_JOINERS = ("\u200c", "\u200d")
# Arabic, Syriac, N'Ko, Mandaic, the Indic scripts from Devanagari to Sinhala, Khmer, Mongolian: a joiner after a
# letter sets its form. Malayalam's chillus were written this way before they had code points (U+0D28 U+0D4D U+200D).
_WRITTEN_WITH_JOINERS = re.compile("[\u0600-\u077f\u07c0-\u07ff\u0840-\u0dff\u1780-\u18af]")
_VIRAMA = 9  # the combining class of the signs that remove a letter's vowel
_ESCAPES = re.compile(r"[&<\[]")


def join_surrogates(text: str) -> str:
    r"""Join pairs of surrogates, which JSON may contain, and drop single ones, which are half a character.

    >>> join_surrogates("\ud83d\ude00 \ud83d")
    '😀 '
    """
    if text.isascii() or not _SURROGATE.search(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "ignore")


def drop_controls(text: str) -> str:
    r"""Drop control characters and invisible marks that no language uses.

    >>> drop_controls("so\x00ft\u00adly")
    'softly'
    """
    if (
        text.isprintable() and "\ufffc" not in text and "\ufffd" not in text
    ):  # the only dropped characters that count as printable
        return text
    text = _CONTROL.sub("", text)
    return _ZERO_WIDTH_SPACE.sub("", text) if "\u200b" in text else text


def compose(text: str) -> str:
    """Return the text in Unicode's form NFC, since uploaders' systems differ.

    >>> len(compose("e\u0301"))
    1
    """
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", _STACK.sub(_without_tower, text) if len(text) > _LONG else text)


def _without_tower(match: re.Match[str]) -> str:
    kept, marks = [], 0
    for character in match[0]:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= _MOST_MARKS:
            kept.append(character)
    return "".join(kept)


def drop_addresses(text: str) -> str:
    """Drop web and mail addresses, which say nothing about the picture.

    >>> drop_addresses("Seen (www.example.org) by me@example.org, at noon")
    'Seen   by   at noon'
    """
    while True:
        marked = text
        if "://" in marked:
            marked = _PAGE.sub(_MARK, marked)
        if "w." in marked or "W." in marked:
            marked = _WWW.sub(_MARK, marked)
        if "@" in marked:
            marked = _MAIL.sub(_MARK, marked)
        if marked == text:
            return text
        text = _GAP.sub(" ", marked)  # the text next to an address may now be one


def fold_space(text: str) -> str:
    r"""Fold white space to single spaces, and strip it at the ends.

    Joiners at the ends are dropped too, except one that gives the last letter its form.

    >>> fold_space(" a\r\n\u3000b\u200d ")
    'a b'
    """
    folded = " ".join(text.split())
    if folded.isascii():
        return folded
    bare = folded.strip(_EDGES)
    if not bare or len(bare) == len(folded):
        return bare
    end = folded.index(bare) + len(bare)
    return bare + folded[end] if folded[end:].startswith(_JOINERS) and _takes_joiner(bare[-1]) else bare


def _takes_joiner(character: str) -> bool:
    """Return whether a joiner after a character sets its form: a virama, or a letter or mark of some scripts."""
    if unicodedata.combining(character) == _VIRAMA:
        return True
    return bool(_WRITTEN_WITH_JOINERS.match(character)) and unicodedata.category(character)[0] in "LM"


class Rules(NamedTuple):
    """The rules for one kind of text; `settle` says when each runs."""

    first: Rule
    markup: tuple[Rule, ...]
    tail: tuple[Rule, ...]
    last: Rule


def blank_escapes(text: str) -> str:
    """Replace the characters that begin escapes and tags by spaces; runs only on texts escaped too deeply.

    >>> blank_escapes("&amp;amp;amp;amp;")
    ' amp;amp;amp;amp;'
    """
    return _ESCAPES.sub(" ", text)


_TAIL: tuple[Rule, ...] = (repair_encoding, drop_controls, compose, drop_addresses, fold_space)
TYPED = Rules(join_surrogates, (decode_entities, unwrap_links), _TAIL, blank_escapes)  # of titles and tags
HTML = Rules(join_surrogates, (strip_markup, unwrap_links), _TAIL, blank_escapes)  # of descriptions


def clean_title(text: str) -> str:
    """Return a cleaned title or tag. These are plain text on Flickr, so that a "<b>" in them was typed.

    >>> clean_title('I &lt;3  cafÃ©s in <a href="http://example.org">Lyon</a> http://example.org')
    'I <3 cafés in Lyon'
    """
    return settle(text, TYPED)


def clean_description(text: str) -> str:
    """Return a cleaned description. These are HTML on Flickr.

    >>> clean_description("My <b>dog</b> &amp; me &lt;3<br/>")
    'My dog & me <3'
    """
    return settle(text, HTML)


def settle(text: str, rules: Rules) -> str:
    """Run the rules until nothing changes.

    An address ends at markup, so the tail runs only when no markup is left. A safe text without escapes is done after
    one round, since no rule makes work for another there. A text that still changes after the last round loses the
    characters that begin escapes and tags; after that every round shortens it, so that the loop ends.
    """
    first, markup, tail, last = rules
    while True:
        for _ in range(_ROUNDS + 1):
            before = text
            text = first(text)
            marked = _ESCAPES.search(text) is not None
            if marked:
                for rule in markup:
                    text = rule(text)
                marked = text == before or _ESCAPES.search(text) is not None
            if text == before or not marked:
                for rule in tail:
                    text = rule(text)
            if text == before or (not marked and is_safe(text)):
                return text
        text = last(text)
