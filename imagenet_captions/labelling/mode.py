"""Which rows a labeling keeps; without imports, for the command line's help."""

from enum import Enum


class Mode(str, Enum):
    """Which rows get a label."""

    SINGLE = "single"  # that name exactly one class
    MULTI = "multi"  # that name at least one class; they get a list
    STRICT = "strict"  # that name exactly one class, by open_clip's curated names alone
