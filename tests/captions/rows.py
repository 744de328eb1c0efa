"""A few rows of texts, for the tests of captions."""

from __future__ import annotations

TENCH, CRANE = "n01440764", "n02012849"
ROWS = {
    "image_id": [f"{TENCH}_1", f"{TENCH}_2", f"{CRANE}_3", f"{CRANE}_4", "n99999999_5"],
    "title": ["A fish", "IMG_1234", "", "Two cranes in a field", "?"],
    "tags": [["fish", "new york"], [], [], ["bird"], []],
    "description": ["caught by me", "", "", "at dawn", ""],
}
