"""Markdown of texts that anybody may have written: nothing in them makes markup, links or HTML of its own."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

_MARKUP = re.compile(r"([\\`*_\[\]{}|#~$@:])")
_HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def escape(text: str, longest: int = 500) -> str:
    """A text as Markdown shows it letter by letter; what cannot be seen is written as its number, such as \\x0a.

    >>> escape("<b>*me*</b>")
    '&lt;b&gt;\\\\*me\\\\*&lt;/b&gt;'
    """
    cut = text if len(text) <= longest else f"{text[:longest]}… ({len(text):,} characters)"
    seen = _HIDDEN.sub(lambda found: f"\\x{ord(found[0]):02x}", cut)
    return html.escape(_MARKUP.sub(r"\\\1", seen), quote=False)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A table of cells that are Markdown already; the columns `right` stand to the right."""
    lines = ["| " + " | ".join(columns) + " |"]
    lines.append("|" + "|".join("---:" if at in right else "---" for at in range(len(columns))) + "|")
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)
