"""Escape any text for Markdown, so that it makes no markup, links or HTML; tables of such cells."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

_MARKUP = re.compile(r"([\\`*_\[\]{}|#~$@:])")
_HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def escape(text: str, longest: int = 500) -> str:
    """Return a text that Markdown shows unchanged; invisible characters become their number, such as \\x0a.

    >>> escape("<b>*me*</b>")
    '&lt;b&gt;\\\\*me\\\\*&lt;/b&gt;'
    """
    cut = text if len(text) <= longest else f"{text[:longest]}… ({len(text):,} characters)"
    seen = _HIDDEN.sub(lambda found: f"\\x{ord(found[0]):02x}", cut)
    return html.escape(_MARKUP.sub(r"\\\1", seen), quote=False)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Return a table of cells that are Markdown already; the columns `right` are aligned right."""
    lines = ["| " + " | ".join(columns) + " |"]
    lines.append("|" + "|".join("---:" if at in right else "---" for at in range(len(columns))) + "|")
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)
