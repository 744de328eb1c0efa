"""The two sets of classes, in a module that the command line can import at once."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any


class ClassSet(str, Enum):
    """Which classes are meant."""

    ILSVRC2012 = "ilsvrc2012"
    ALL = "all"

    @property
    def shown(self) -> str:
        """The set in words.

        >>> ClassSet.ALL.shown
        'the 21,841 classes'
        """
        return f"the {_NUMBER[self]} classes"

    @classmethod
    def recorded(cls, settings: Mapping[str, Any]) -> ClassSet:
        """The set that the settings beside a file name; what names none was made of the 1000."""
        return cls(settings.get("classes", cls.ILSVRC2012))


_NUMBER = {ClassSet.ILSVRC2012: "1000", ClassSet.ALL: "21,841"}
