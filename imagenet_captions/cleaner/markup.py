"""Turn HTML into the text that a reader of the page sees. Used by `text`."""

from __future__ import annotations

import html.entities
import re

from selectolax.lexbor import LexborHTMLParser

from imagenet_captions.cleaner.links import ends_in_address

# "<3", "a < b" and "<-" do not open a tag in HTML, so they are text.
_MARKUP = re.compile(r"<[A-Za-z/!?]")
_TAG = re.compile(r"<[A-Za-z/!?][^<>]*>|<!--")
_ODD_TAG = re.compile(r"<[A-Za-z/!?][^>]*>")  # "<a<>" is a tag too
# The tags that Flickr allows, as Flickr writes them; without them the text around them stays the same.
_INLINE = re.compile(
    r'</?(?:a|b|i|u|s|em|strong|strike|del|ins|small|big|sub|sup|span|font|cite|code|q)(?:\s+[a-z-]+="[^"<>]*")*\s*/?>',
    re.IGNORECASE,
)
_ANCHOR_BEFORE_WORD = re.compile(r"</[aA]\s*>(?=\w)")
# The parser puts nothing between two texts: "one<br>two" would become "onetwo". A space between all texts would split
# "un<b>believ</b>able".
_BREAK = re.compile(
    r"</?(?:address|article|aside|blockquote|br|center|dd|div|dl|dt|fieldset|figcaption|figure|footer|form|h[1-6]|header"
    r"|hr|img|li|main|nav|ol|option|p|pre|section|table|tbody|td|tfoot|th|thead|title|tr|ul)(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_UNSEEN = re.compile(r"<(?:script|style)", re.IGNORECASE)
_END = "\uf8ff"  # private use; put at the end of a text while it is parsed
_MOST_TAGS = 1000  # 100,000 nested tags take the parser 12 s; no real description has a thousand
# One tag with 100,000 attributes takes the parser 116 s. So a long text is parsed only if all of its tags are like
# these: they have few attributes, and every parser agrees on their end.
_LONG = 10_000
_TIDY = re.compile(
    r"<(?:[!?][^<>]*|/?[a-z][a-z0-9:-]*"
    r"""(?:\s+[a-z][a-z0-9:_-]*(?:=(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>]+))?){0,30}\s*/?)>""",
    re.IGNORECASE | re.ASCII,
)

# "&copy 2006" is an entity without its semicolon; "paper&paragliding" is not, although it has "&para".
_ENTITY = re.compile(
    r"&(?:[A-Za-z][A-Za-z0-9]{1,31};|[A-Za-z]{2,6}(?![A-Za-z0-9=;])|#[0-9]{1,8};|#[0-9]{2,8}|#[xX][0-9A-Fa-f]{1,8};)"
)


def decode_entities(text: str) -> str:
    """Decode HTML's named and numbered characters, once.

    Flickr escapes texts for its pages, and some uploaders had escaped them before.

    >>> decode_entities("Tom &amp; Jerry&#39;s &lt;3, R&D, paper&paragliding")
    "Tom & Jerry's <3, R&D, paper&paragliding"
    """
    return _ENTITY.sub(_decoded, text) if "&" in text else text


def _decoded(match: re.Match[str]) -> str:
    entity = match[0]
    # Only a whole name counts; browsers would read "&notes" as "¬es".
    return html.unescape(entity) if entity[1] == "#" else html.entities.html5.get(entity[1:], entity)


def strip_markup(text: str) -> str:
    """Remove the tags, keep the text between them, and decode its entities, once.

    Descriptions on Flickr may have links, bold and italic text; old ones have any HTML. Blocks and line breaks
    separate words, other tags do not. A "<" that does not open a tag stays.

    >>> strip_markup('A <b>h</b>at &amp; <a href="http://a.org/">a stick</a><br>5 < 6 <3')
    'A hat & a stick 5 < 6 <3'
    """
    return decode_entities(_without_tags(text)) if _MARKUP.search(text) else decode_entities(text)


def _apart(end: re.Match[str]) -> str:
    """Return the end tag of an anchor, with a space if the anchor's text is an address."""
    return end[0] + " " if ends_in_address(end.string, end.start()) else end[0]


def _without_tags(text: str) -> str:
    text = _ANCHOR_BEFORE_WORD.sub(_apart, text)
    without = _INLINE.sub("", text)
    if not _MARKUP.search(without):
        return without
    if text.count("<") <= _MOST_TAGS and (len(text) <= _LONG or not _MARKUP.search(_TIDY.sub("", text))):
        # Ampersands are escaped, so that one rule decodes the entities of descriptions and titles.
        shown = _BREAK.sub(r" \g<0>", text).replace("&", "&amp;")
        tree = LexborHTMLParser(f"<body>{shown}{_END}")
        if _UNSEEN.search(text):
            tree.strip_tags(["script", "style"], recursive=False)
        seen = tree.body.text() if tree.body else ""
        if seen.endswith(_END):
            return seen[:-1]
    # A tag or comment that never ends ('x<y and so on', '<a href="x>'): a browser would drop all that follows.
    text = _TAG.sub(" ", text)
    end = text.rfind(">") + 1  # without this "<a<a<a…" would be searched to its end from every tag
    return _ODD_TAG.sub(" ", text[:end]) + text[end:]
