"""Repair text that was decoded in the wrong encoding. Used by `text`."""

from __future__ import annotations

import re

from ftfy import TextFixerConfig, fix_encoding_and_explain
from ftfy.badness import is_bad

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

# ftfy looks at every character, slowly. The signs that it looks for lie within three ASCII characters of a foreign one,
# and its changes within eight (the longest is "Ã quele"), so characters more than sixteen apart are independent.
_FOREIGN = re.compile(r"[^\x00-\x7f]+")
_FOREIGN_GROUP = re.compile(r"[^\x00-\x7f](?:[\x00-\x7f]{0,16}[^\x00-\x7f])*")
_SIGN_REACH, _REACH = 3, 8
_MARK = "\x1e"  # stands for the ASCII between them


def is_safe(text: str) -> bool:
    """Return whether a text is ASCII but for characters that no rule changes there.

    >>> is_safe("Zürich «a» красный"), is_safe("ZÃ¼rich")
    (True, False)
    """
    return text.isascii() or not _UNSAFE.search(text)


def repair_encoding(text: str) -> str:
    """Undo text that was decoded in the wrong encoding.

    Seen in the release as "cafÃ©" and "donâ€™t". ftfy tells such text from accents that are meant.

    >>> repair_encoding("cafÃ© “naïve” ﬁn")
    'café “naïve” ﬁn'
    """
    if is_safe(text):
        return text
    signs = [text[max(found.start() - _SIGN_REACH, 0) : found.end() + _SIGN_REACH] for found in _FOREIGN.finditer(text)]
    if not is_bad(_MARK.join(signs)):
        return text
    near, between = _split_foreign(text)
    fixed = _fix(_MARK.join(near)).split(_MARK)
    if len(fixed) != len(near):  # the text itself has a mark
        return _fix(text)
    return "".join(part for pair in zip(between, fixed, strict=False) for part in pair) + between[-1]


def _split_foreign(text: str) -> tuple[list[str], list[str]]:
    """Split a text into the parts near foreign characters, and the ASCII before, between and after them."""
    near, between, end = [], [], 0
    for match in _FOREIGN_GROUP.finditer(text):
        start = max(match.start() - _REACH, end)
        between.append(text[end:start])
        end = match.end() + _REACH
        near.append(text[start:end])
    return near, [*between, text[end:]]


def _fix(text: str) -> str:
    return fix_encoding_and_explain(text, _ENCODING_ONLY).text  # `fix_encoding` calls it too, a third slower
