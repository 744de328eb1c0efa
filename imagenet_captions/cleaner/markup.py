"""HTML in a text: what a reader of the page would have seen."""

from __future__ import annotations

import html.entities
import re

from selectolax.lexbor import LexborHTMLParser

from imagenet_captions.cleaner.links import ends_in_address

# "<3", "a < b" and "<-" open no tag in HTML, so they are text.
_MARKUP = re.compile(r"<[A-Za-z/!?]")
_TAG = re.compile(r"<[A-Za-z/!?][^<>]*>|<!--")
_ODD_TAG = re.compile(r"<[A-Za-z/!?][^>]*>")  # "<a<>" is a tag too
# What Flickr itself lets through, as it writes it; taking these out changes nothing about the text around them.
_INLINE = re.compile(
    r'</?(?:a|b|i|u|s|em|strong|strike|del|ins|small|big|sub|sup|span|font|cite|code|q)(?:\s+[a-z-]+="[^"<>]*")*\s*/?>',
    re.IGNORECASE,
)
_ANCHOR_BEFORE_WORD = re.compile(r"</[aA]\s*>(?=\w)")
# The parser puts nothing between two texts: "one<br>two" would become "onetwo", and a blank between all of them would
# tear "un<b>believ</b>able" apart.
_BREAK = re.compile(
    r"</?(?:address|article|aside|blockquote|br|center|dd|div|dl|dt|fieldset|figcaption|figure|footer|form|h[1-6]|header"
    r"|hr|img|li|main|nav|ol|option|p|pre|section|table|tbody|td|tfoot|th|thead|title|tr|ul)(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_UNSEEN = re.compile(r"<(?:script|style)", re.IGNORECASE)
_END = "\uf8ff"  # private use; stands behind the text while it is parsed
_MOST_TAGS = 1000  # 100,000 nested tags take the parser 12 s; no real description has a thousand
# One tag with 100,000 attributes takes the parser 116 s. So a longer text is parsed only if all of its tags are like
# these, which have few attributes and end at their ">" for every reader.
_LONG = 10_000
_TIDY = re.compile(
    r"<(?:[!?][^<>]*|/?[a-z][a-z0-9:-]*"
    r"""(?:\s+[a-z][a-z0-9:_-]*(?:=(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>]+))?){0,30}\s*/?)>""",
    re.IGNORECASE | re.ASCII,
)

# "&copy 2006" is an entity that lacks its semicolon; "paper&paragliding" is none, though it begins with "&para".
_ENTITY = re.compile(
    r"&(?:[A-Za-z][A-Za-z0-9]{1,31};|[A-Za-z]{2,6}(?![A-Za-z0-9=;])|#[0-9]{1,8};|#[0-9]{2,8}|#[xX][0-9A-Fa-f]{1,8};)"
)


def decode_entities(text: str) -> str:
    """Decode HTML's named and numbered characters, once.

    Flickr escapes what it shows in a page, and some uploaders escaped it before.

    >>> decode_entities("Tom &amp; Jerry&#39;s &lt;3, R&D, paper&paragliding")
    "Tom & Jerry's <3, R&D, paper&paragliding"
    """
    return _ENTITY.sub(_decoded, text) if "&" in text else text


def _decoded(match: re.Match[str]) -> str:
    entity = match[0]
    # Only a whole name counts; browsers also read "&notes" as "¬es".
    return html.unescape(entity) if entity[1] == "#" else html.entities.html5.get(entity[1:], entity)


def strip_markup(text: str) -> str:
    """Take the tags out, keep the text between them, and decode its entities, once.

    Descriptions on Flickr may hold links, bold and italic text; old ones hold anything. Blocks and line breaks
    separate words, other tags do not; a "<" that opens no tag stays.

    >>> strip_markup('A <b>h</b>at &amp; <a href="http://a.org/">a stick</a><br>5 < 6 <3')
    'A hat & a stick 5 < 6 <3'
    """
    return decode_entities(_without_tags(text)) if _MARKUP.search(text) else decode_entities(text)


def _apart(end: re.Match[str]) -> str:
    """Return the end of an anchor, with a blank if the anchor's text is an address."""
    return end[0] + " " if ends_in_address(end.string, end.start()) else end[0]


def _without_tags(text: str) -> str:
    text = _ANCHOR_BEFORE_WORD.sub(_apart, text)
    without = _INLINE.sub("", text)
    if not _MARKUP.search(without):
        return without
    if text.count("<") <= _MOST_TAGS and (len(text) <= _LONG or not _MARKUP.search(_TIDY.sub("", text))):
        # Ampersands are hidden, so that entities are decoded by one rule for descriptions and titles alike.
        shown = _BREAK.sub(r" \g<0>", text).replace("&", "&amp;")
        tree = LexborHTMLParser(f"<body>{shown}{_END}")
        if _UNSEEN.search(text):
            tree.strip_tags(["script", "style"], recursive=False)
        seen = tree.body.text() if tree.body else ""
        if seen.endswith(_END):
            return seen[:-1]
    # A tag or comment that never ends ('x<y and so on', '<a href="x>'): a browser would swallow all that follows.
    text = _TAG.sub(" ", text)
    end = text.rfind(">") + 1  # without it "<a<a<a…" would be searched to its end from every tag
    return _ODD_TAG.sub(" ", text[:end]) + text[end:]
