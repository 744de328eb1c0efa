"""Clean one string: each rule is a pure function, and their order is fixed.

    surrogates ─► entities (titles, tags) or markup (descriptions) ─► links ─┐
    ┌────────────────────────────────────────────────────────────────────────┘
    └─► encoding ─► controls ─► NFC ─► addresses ─► space

One rule can make work for another ("&lt;b&gt;" becomes a tag), so the rules run until nothing changes. Everything else
stays: case, punctuation, quotes, emoji and other languages are the photographer's own.
"""

from __future__ import annotations

import html.entities
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ftfy import TextFixerConfig
from ftfy import fix_encoding_and_explain as _fixed  # `fix_encoding` calls it too, a third slower
from selectolax.lexbor import LexborHTMLParser

from imagenet_captions.captions.compose import is_camera_name

# The other repairs of ftfy would change what the photographer wrote.
_ENCODING_ONLY = TextFixerConfig(
    unescape_html=False,
    remove_terminal_escapes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    uncurl_quotes=False,
    fix_line_breaks=False,
    fix_surrogates=False,
    remove_control_chars=False,
    normalization=None,
    explain=False,
)

# Letters that no rule of cleaning changes, whatever stands beside them: lower-case Latin letters with accents, Greek,
# Cyrillic, Hebrew, Arabic, kana, Han and Hangul. Not here: a capital or sign that ftfy may take for half of a letter
# ("Ã©"), one that the normal form changes, œ (ftfy), and U+0131 and U+017F (in any case, they match "i" and "s").
SAFE = (
    "ßà-öø-ÿāăąćĉċčďđēĕėęěĝğġģĥħĩīĭįĳĵķĸĺļľŀłńņňŉŋōŏőŕŗřśŝşšţťŧũūŭůűųŵŷźżž"
    "ά-ώΑ-ΡΣ-Ωа-яёА-ЯЁא-תء-غف-يپچژکگیぁ-ゖァ-ヺー々一-鿋가-힣"
)
# Characters that no rule changes between ASCII characters: no sign of ftfy has only one of them.
SAFE_ALONE = (
    "¡-¬®-ÁÄ-ÞĀĂĄĆĈĊČĎĐĒĔĖĘĚĜĞĠĢĤĦĨĪĬĮĴĶĹĻĽĿŁŃŅŇŊŌŎŐŔŖŘŚŜŞŠŢŤŦŨŪŬŮŰŲŴŶŸŹŻŽ"
    "\u2013\u2014\u2018-\u201a\u201c-\u201e\u2022\u2026\u2039\u203a\u20ac\u2122"  # dashes, quotes, …, €, ™
)
_UNSAFE = re.compile(
    rf"[^\x00-\x7f{SAFE}](?:(?<=[^{SAFE_ALONE}])|(?<=[^\x00-\x7f].)|(?=[^\x00-\x7f]))",  # the first part is fast alone
    re.DOTALL,
)

# ftfy looks at every character, slowly. What it looks for and changes lies within eight ASCII characters of a foreign
# one (the longest is "Ã quele"), so characters more than sixteen apart are independent.
_NEAR_FOREIGN = re.compile(r"([\x00-\x7f]{0,8}[^\x00-\x7f](?:[\x00-\x7f]{0,16}[^\x00-\x7f])*[\x00-\x7f]{0,8})")
_JOINT = "\x1e"  # stands for the ASCII between the parts


def is_safe(text: str) -> bool:
    """Return whether a text is ASCII but for characters that no rule changes there."""
    return text.isascii() or not _UNSAFE.search(text)


def repair_encoding(text: str) -> str:
    """Undo text that was decoded in the wrong encoding.

    Seen in the release as "cafÃ©" and "donâ€™t". ftfy tells such text from accents that are meant.

    >>> repair_encoding("cafÃ© “naïve” ﬁn")
    'café “naïve” ﬁn'
    """
    if is_safe(text):
        return text
    parts = _NEAR_FOREIGN.split(text)
    fixed = _fixed(_JOINT.join(parts[1::2]), _ENCODING_ONLY).text.split(_JOINT)
    if len(fixed) != len(parts) // 2:  # the text itself has a mark
        return _fixed(text, _ENCODING_ONLY).text
    parts[1::2] = fixed
    return "".join(parts)


# <a href="http://example.org/">tokyo</a> · [url=http://example.org/]tokyo[/url] · [img]http://example.org/1.jpg[/img]
# Of a tag that was cut off, everything before its address is part of the tag.
_LINK_TAG = re.compile(
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
_ADDRESS_REACH = 100  # characters in which an address is looked for


def unwrap_links(text: str) -> str:
    """Replace every link by its text.

    An end tag without a start tag stays, and so does "[url]" without an end tag or an address.

    >>> unwrap_links('<a href="http://example.org/">tokyo</a> [url=http://example.org/]tower[/url] <3 <- look')
    'tokyo tower <3 <- look'
    """
    if "<" not in text and "[" not in text:
        return text
    tags = list(_LINK_TAG.finditer(text))
    links: set[int] = set()
    begun: dict[str, list[int]] = {}
    for number, tag in enumerate(tags):
        kind = _KIND.findall(tag[0][:8])[0].lower()
        if tag[0][1] == "/":
            if begun.get(kind):
                links |= {number, begun[kind].pop()}
        elif kind != "a" or _HREF.search(tag[0]):
            begun.setdefault(kind, []).append(number)
            if kind == "a" or "=" in tag[0] or _ADDRESS.match(text, tag.end()):
                links.add(number)
    parts, at = [], 0
    for number in sorted(links):
        start, end = tags[number].span()
        parts += [text[at:start], " " if text[end : end + 1].isalnum() and ends_in_address(text, start, at) else ""]
        at = end
    return "".join([*parts, text[at:]])


def ends_in_address(text: str, end: int, start: int = 0) -> bool:
    """Return whether this part of a text ends in an address, which the word after it would become part of."""
    return _ENDS_IN_ADDRESS.search(text, max(end - _ADDRESS_REACH, start), end) is not None


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
_LONG_HTML = 10_000
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
    """Decode HTML's named and numbered characters, once; some uploaders had escaped them before Flickr did.

    >>> decode_entities("Tom &amp; Jerry&#39;s &lt;3, R&D, paper&paragliding")
    "Tom & Jerry's <3, R&D, paper&paragliding"
    """
    if "&" not in text:
        return text
    # Only a whole name counts; browsers would read "&notes" as "¬es".
    named = html.entities.html5
    return _ENTITY.sub(
        lambda found: html.unescape(found[0]) if found[0][1] == "#" else named.get(found[0][1:], found[0]), text
    )


def strip_markup(text: str) -> str:
    """Remove the tags, keep the text between them, and decode its entities, once.

    Descriptions on Flickr may have links, bold and italic text; old ones have any HTML. Blocks and line breaks
    separate words, other tags do not. A "<" that does not open a tag stays.

    >>> strip_markup('A <b>h</b>at &amp; <a href="http://a.org/">a stick</a><br>5 < 6 <3')
    'A hat & a stick 5 < 6 <3'
    """
    if not _MARKUP.search(text):
        return decode_entities(text)
    text = _ANCHOR_BEFORE_WORD.sub(lambda end: end[0] + " " * ends_in_address(text, end.start()), text)
    without = _INLINE.sub("", text)
    if not _MARKUP.search(without):
        return decode_entities(without)
    if text.count("<") <= _MOST_TAGS and (len(text) <= _LONG_HTML or not _MARKUP.search(_TIDY.sub("", text))):
        # Ampersands are escaped, so that one rule decodes the entities of descriptions and titles.
        shown = _BREAK.sub(r" \g<0>", text).replace("&", "&amp;")
        tree = LexborHTMLParser(f"<body>{shown}{_END}")
        if _UNSEEN.search(text):
            tree.strip_tags(["script", "style"], recursive=False)
        seen = tree.body.text() if tree.body else ""
        if seen.endswith(_END):
            return decode_entities(seen[:-1])
    # A tag or comment that never ends ('x<y and so on', '<a href="x>'): a browser would drop all that follows.
    text = _TAG.sub(" ", text)
    end = text.rfind(">") + 1  # without this "<a<a<a…" would be searched to its end from every tag
    return decode_entities(_ODD_TAG.sub(" ", text[:end]) + text[end:])


Rule = Callable[[str], str]

# Flickr's machine tags, such as "geo:lat=52.1" or "dc:identifier=http://...", are data for programs.
MACHINE_TAG = r"^[A-Za-z][A-Za-z0-9_]*:[A-Za-z][A-Za-z0-9_]*="

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
    """Join pairs of surrogates, which JSON may contain, and drop single ones, which are half a character."""
    if text.isascii() or not _SURROGATE.search(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "ignore")


def drop_controls(text: str) -> str:
    """Drop control characters and invisible marks that no language uses."""
    # U+FFFC and U+FFFD are the only dropped characters that count as printable.
    if text.isprintable() and "\ufffc" not in text and "\ufffd" not in text:
        return text
    text = _CONTROL.sub("", text)
    return _ZERO_WIDTH_SPACE.sub("", text) if "\u200b" in text else text


def compose(text: str) -> str:
    """Return the text in Unicode's form NFC, since uploaders' systems differ."""
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
    if not folded[end:].startswith(_JOINERS):
        return bare
    last = bare[-1]
    # A joiner sets the form of a virama, and of a letter or mark of some scripts.
    is_letter = _WRITTEN_WITH_JOINERS.match(last) and unicodedata.category(last)[0] in "LM"
    return bare + folded[end] if is_letter or unicodedata.combining(last) == _VIRAMA else bare


# Rules by their names in `explain`: of escapes and tags in titles and in descriptions, and of texts without them.
_TYPED: dict[str, Rule] = {"entities": decode_entities, "links": unwrap_links}
_HTML: dict[str, Rule] = {"markup": strip_markup, "links": unwrap_links}
_TAIL: dict[str, Rule] = {
    "encoding": repair_encoding,
    "controls": drop_controls,
    "NFC": compose,
    "addresses": drop_addresses,
    "white space": fold_space,
}


def clean_title(text: str) -> str:
    """Return a cleaned title or tag. These are plain text on Flickr, so that a "<b>" in them was typed.

    >>> clean_title('I &lt;3  cafÃ©s in <a href="http://example.org">Lyon</a> http://example.org')
    'I <3 cafés in Lyon'
    """
    *_, (_, cleaned) = _steps(text, _TYPED)
    return cleaned


def clean_description(text: str) -> str:
    """Return a cleaned description. These are HTML on Flickr.

    >>> clean_description("My <b>dog</b> &amp; me &lt;3<br/>")
    'My dog & me <3'
    """
    *_, (_, cleaned) = _steps(text, _HTML)
    return cleaned


def _steps(text: str, escapes: dict[str, Rule]) -> Iterator[tuple[str, str]]:
    """Run the rules until nothing changes; yield the name of each with the text after it.

    An address ends at markup, so the tail runs only when no markup is left. A safe text without escapes is done after
    one round, since no rule makes work for another there. A text that still changes after the last round loses the
    characters that begin escapes and tags; after that every round shortens it, so that the loop ends.
    """
    while True:
        for _ in range(_ROUNDS + 1):
            before = text
            text = join_surrogates(text)
            yield "surrogates", text
            marked = _ESCAPES.search(text) is not None
            if marked:
                for name, rule in escapes.items():
                    text = rule(text)
                    yield name, text
                marked = text == before or _ESCAPES.search(text) is not None
            if text == before or not marked:
                for name, rule in _TAIL.items():
                    text = rule(text)
                    yield name, text
            if text == before or (not marked and is_safe(text)):
                return
        text = _ESCAPES.sub(" ", text)
        yield "deep escapes", text


_CONTEXT, _LONGEST = 24, 120  # characters of a text that are shown


class Change(NamedTuple):
    """What one rule did to a text; `after` is None for a tag that is removed, or a title that no caption has."""

    rule: str
    field: str  # title, description or tags
    before: str
    after: str | None

    def __str__(self) -> str:
        """Return the change on one line, long texts cut to the part where they begin to differ."""
        if self.after is None:
            return f"{self.field}: {_excerpt(self.before)!r} left out"
        start = 0
        if max(len(self.before), len(self.after)) > _LONGEST:
            same = [old == new for old, new in zip(self.before, self.after, strict=False)]
            start = max([*same, False].index(False) - _CONTEXT, 0)
        return f"{self.field}: {_excerpt(self.before, start)!r} → {_excerpt(self.after, start)!r}"


def record_changes(title: str, description: str, tags: Iterable[str | None]) -> list[Change]:
    """Return what the rules change in a record, in the order in which they run."""
    changes = _text_changes("title", title)
    cleaned = changes[-1].after if changes else title
    if cleaned and is_camera_name(cleaned):
        changes.append(Change("camera file names", "title", cleaned, None))
    changes += _text_changes("description", description)
    seen: set[str] = set()
    for tag in (each or "" for each in tags):
        made = _text_changes("tags", tag)
        changes += made
        cleaned = (made[-1].after or "") if made else tag
        if not cleaned:
            changes.append(Change("empty tags", "tags", tag, None))
        elif re.search(MACHINE_TAG, cleaned):
            changes.append(Change("machine tags", "tags", cleaned, None))
        elif cleaned.casefold() in seen:
            changes.append(Change("repeated tags", "tags", cleaned, None))
        seen.add(cleaned.casefold())
    return changes


def _text_changes(field: str, text: str) -> list[Change]:
    changes = []
    for rule, after in _steps(text, _HTML if field == "description" else _TYPED):
        if after != text:
            changes.append(Change(rule, field, text, after))
        text = after
    return changes


def _excerpt(text: str, start: int = 0) -> str:
    end = start + _LONGEST
    return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")
