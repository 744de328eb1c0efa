"""The error for a name that nothing has, with the nearest that something has."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from imagenet_captions.errors import InputError

_LONGEST_SHOWN = 60
_MOST_LISTED = 12


def unknown_name(what: str, name: str, known: Iterable[str]) -> InputError:
    """The error for an unknown name; a short list of known ones is given whole.

    >>> str(unknown_name("preset", "RN5", ["RN50", "RN101"]))
    "no preset is called 'RN5'; did you mean RN50?"
    >>> str(unknown_name("preset", "unlike", ["RN50", "RN101"]))
    "no preset is called 'unlike'; known are RN50, RN101"
    """
    names = list(known)
    lower = {entry.lower(): entry for entry in names}
    near = [lower[entry] for entry in difflib.get_close_matches(name.lower()[:200], list(lower), n=3, cutoff=0.6)]
    said = f"no {what} is called {name[:_LONGEST_SHOWN]!r}"
    if near:
        return InputError(f"{said}; did you mean {', '.join(near)}?")
    if len(names) <= _MOST_LISTED:
        return InputError(f"{said}; known are {', '.join(names)}")
    return InputError(f"{said}; it is like none of the {len(names)} known names")
