"""Texts as hypothesis makes them up: any characters, and the pieces that the rules are about, in any order."""

from __future__ import annotations

import unicodedata

from hypothesis import strategies as st

PIECES = [
    *["<b>", "</b>", "<br/>", '<a href="http://x.org/?a=1&amp;b=2">', "</a>"],
    *["<", ">", "</", "<!--", "-->", "<3"],
    *["<a href='http://x.org/", '<A\nHREF=x>', '<a href="http://x.org/">', "</A >", "<a href", '"', "'"],
    *["[url=http://x.org/]", "[url]", "[/url]", "[URL=", "[img]", "[/img]", "[link=", "[", "]", "&#91;url="],
    *["a < b"],
    *["<script>", "</script>", "<style>", "<plaintext>", "<textarea>"],
    *["<table>", "<td>", "<svg>", "<template>", "<select>"],
    *["&amp;", "&amp;amp;", "&lt;", "&gt", "&lt;b&gt;", "&#60;", "&#x3c;"],
    *["&quot", "&copy", "&para", "&", ";", "#", "amp;"],
    *["&amp;amp;amp;amp;amp;amp;lt;", "&nbsp;", "&shy;", "&#0;", "&#xD800;", "&zwj;", "&#13;"],
    *["http://", "https://a.b/c_(d)", "www.", "WWW.x.de", "me@example.com", "mailto:"],
    *["@", ".", "(", ")", "_", "a", "co"],
    *["Ã©", "â€™", "â€", "Ã", "\xa0", "Ã\x83Â©", "Â", "\x92"],
    *["РєСЂ", "é", "e\u0301", "ﬁ", "“", "小", "\ufffd", "\u1e9b\u0323"],
    *["\x00", "\x1b", "\x1e", "\x7f", "\x85", "\xad"],
    *["\u200b", "\u200c", "\u200d", "\u202e", "\ufeff", "\ud83d", "\ude00"],
    *[" ", "  ", "\n", "\t", "\u3000", "\u2028", "ก", "👩", "\ufe0f", "w", "ww", "x", "1"],
]  # fmt: skip

texts = st.one_of(
    st.text(st.characters(exclude_categories=())),
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=12).map(" ".join),
)
arrow_texts = texts.map(lambda text: text.encode("utf-8", "ignore").decode())  # Arrow holds no surrogates

# Printable ASCII that none of the rules is about.
plain_ascii = st.lists(
    st.text([chr(code) for code in range(33, 127) if chr(code) not in "&<@:"], min_size=1), max_size=8
).map(lambda words: " ".join(word for word in words if "www." not in word.lower()))

# Words of letters and digits, in any language.
words = st.lists(
    st.text(st.characters(categories=["Ll", "Lo", "Nd"], max_codepoint=0x4FFF), min_size=1), min_size=1
).map(lambda words: unicodedata.normalize("NFC", " ".join(words)))
