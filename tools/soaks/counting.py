"""What a piece of a part's work gives: how much was done, what was lost, and numbers worth a look."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Chunk:
    """Counts of one chunk, or of several together; a note whose name begins with "most" is a largest value."""

    count: int
    losses: list[str] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)

    def __add__(self, other: Chunk) -> Chunk:
        notes = Counter(self.notes)
        for name, value in other.notes.items():
            notes[name] = max(notes[name], value) if name.startswith("most") else notes[name] + value
        return Chunk(self.count + other.count, self.losses + other.losses, dict(notes))
