"""The two sets of classes, in a module that is cheap to import, for the command line."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

CLASSES = "The classes to use: the 1000 of ILSVRC-2012, or all 21,841 of ImageNet's fall 2011."


class ClassSet(str, Enum):
    """A set of classes: the 1000 of ILSVRC-2012, or all."""

    ILSVRC2012 = "ilsvrc2012"
    ALL = "all"

    @property
    def shown(self) -> str:
        """The name of the set in messages.

        >>> ClassSet.ALL.shown
        'the 21,841 classes'
        """
        return f"the {_NUMBER[self]} classes"

    @classmethod
    def recorded(cls, settings: Mapping[str, Any]) -> ClassSet:
        """Return the set named in recorded settings; older files without one have the 1000."""
        return cls(settings.get("classes", cls.ILSVRC2012))


_NUMBER = {ClassSet.ILSVRC2012: "1000", ClassSet.ALL: "21,841"}
