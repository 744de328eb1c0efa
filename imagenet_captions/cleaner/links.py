"""Replace links in HTML or bbcode by their text. Used by `text` and `markup`."""

from __future__ import annotations

import re

# <a href="http://example.org/">tokyo</a> · [url=http://example.org/]tokyo[/url] · [img]http://example.org/1.jpg[/img]
# Of a tag that was cut off, everything before its address is part of the tag.
_TAG = re.compile(
    r"[<[](?:"
    r"""(?<=<)(?:a\s(?:(?:[^<>"']|"[^"<]*"|'[^'<]*')*|[^<>]*)>|a\s+href\s*=\s*["']?(?=https?://|www\.)|/a\s*>)|"""
    r"(?<=\[)(?:(?:url|link|img|email)(?:\s*=(?:[^][<>]|\[[^][<>]*\])*)?\]|/(?:url|link|img|email)\s*\]|"
    r"""(?:url|link)\s*=\s*["']?(?=https?://|www\.)))""",
    re.IGNORECASE | re.ASCII,
)
_KIND = re.compile(r"[</[]+([a-z]+)", re.IGNORECASE | re.ASCII)
_HREF = re.compile(r"""[\s"'/]href\s*=""", re.IGNORECASE | re.ASCII)
_ADDRESS = re.compile(r"\s*(?:https?://|www\.|mailto:)", re.IGNORECASE | re.ASCII)
_ENDS_IN_ADDRESS = re.compile(r"""(?:://|www\.|@)[^\s<>"]*$""", re.IGNORECASE | re.ASCII)
_REACH = 100  # characters in which an address is looked for


def unwrap_links(text: str) -> str:
    """Replace every link by its text.

    An end tag without a start tag stays, and so does "[url]" without an end tag or an address.

    >>> unwrap_links('<a href="http://example.org/">tokyo</a> [url=http://example.org/]tower[/url] <3 <- look')
    'tokyo tower <3 <- look'
    """
    if "<" not in text and "[" not in text:
        return text
    parts, at = [], 0
    for tag in _link_tags(text):
        start, end = tag.span()
        parts += [text[at:start], " " if text[end : end + 1].isalnum() and ends_in_address(text, start, at) else ""]
        at = end
    return "".join([*parts, text[at:]]) if parts else text


def ends_in_address(text: str, end: int, start: int = 0) -> bool:
    """Return whether this part of a text ends in an address, which the word after it would become part of."""
    return _ENDS_IN_ADDRESS.search(text, max(end - _REACH, start), end) is not None


def _link_tags(text: str) -> list[re.Match[str]]:
    """Return the start and end tags of links, in order."""
    tags = list(_TAG.finditer(text))
    found: set[int] = set()
    begun: dict[str, list[int]] = {}
    for number, tag in enumerate(tags):
        kind = _KIND.findall(tag[0][:8])[0].lower()
        if tag[0][1] == "/":
            if begun.get(kind):
                found |= {number, begun[kind].pop()}
        elif kind != "a" or _HREF.search(tag[0]):
            begun.setdefault(kind, []).append(number)
            if kind == "a" or "=" in tag[0] or _ADDRESS.match(text, tag.end()):
                found.add(number)
    return [tags[number] for number in sorted(found)]
