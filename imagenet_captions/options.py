"""Declare a setting once: its field is the parameter in Python, the flag in a shell, the check, and the record.

    @dataclass(frozen=True)
    class Settings:
        per_class: int | None = option("At most this many rows a class.", least=1)

        def __post_init__(self) -> None:
            check(self)

Modules that declare settings import neither pyarrow nor PyTorch, since the help of a command imports them.
"""

from __future__ import annotations

import inspect
import os
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, field, fields
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from imagenet_captions.errors import InputError
from imagenet_captions.storage.places import Place, PlaceLike, local_place, place

REQUIRED: Any = MISSING
_KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "True or False"}
_VALUES: Mapping[Any, str] = {int: "N", float: "X", Place: "PATH", Path: "PATH"}

Kind = TypeVar("Kind")


class Option(NamedTuple):
    """A setting as it is declared; `kind` is that of one value, and `many` says that it holds several."""

    help: str
    default: Any = None  # REQUIRED if there is none
    flag: str = "--"  # of its name; an argument's has no dashes
    metavar: str = ""
    what: str = ""  # it must be, such as "a share"
    choices: tuple[str, ...] = ()
    least: float | None = None
    needs: str = ""  # the setting without which it means nothing
    reads: Callable[[Any], Any] | None = None  # makes a value of the text, or of all texts if it holds many
    many: bool | None = None
    name: str = ""
    kind: Any = None

    @property
    def names(self) -> list[str]:
        """Its spellings: --with-published and --without-published, for one that has both."""
        return [self.flag] if self.is_argument else self.flag.split("/")

    @property
    def is_argument(self) -> bool:
        """Whether it is given by its position."""
        return not self.flag.startswith("-")

    @property
    def value_name(self) -> str:
        """The name of its value in the help."""
        return self.metavar or "|".join(self.choices) or _VALUES.get(self.kind, "TEXT")

    def value(self, words: Sequence[str]) -> Any:
        """Return the value that words of a command line stand for; raises InputError."""
        if self.reads is not None:
            return self.reads(tuple(words) if self.many else words[0])
        return tuple(map(self._read, words)) if self.many else self._read(words[0])

    def _read(self, text: str) -> Any:
        if self.kind not in (int, float):
            return self.checked(text)
        try:
            return self.checked(self.kind(text))
        except ValueError:
            raise self._refused(text) from None

    def checked(self, value: Any) -> Any:
        """Return one value as the setting holds it; raises InputError for one that it must not be."""
        parse = getattr(self.kind, "parse", None)  # a type of ours makes itself of a text
        if self.kind == Place or self.kind is Path:
            return place(value) if self.kind == Place else local_place(value)
        if parse and isinstance(value, (str, os.PathLike)):
            return parse(value)
        if self.choices:
            if getattr(value, "value", value) not in self.choices:
                raise self._refused(value)
            return self.kind(value) if issubclass(self.kind, Enum) else value
        if self.kind is str and isinstance(value, os.PathLike):
            return os.fspath(value)
        kinds = (int, float) if self.kind is float else (str, int) if self.many and self.kind is str else self.kind
        if not isinstance(value, kinds) or (isinstance(value, bool) and self.kind is not bool):
            raise self._refused(value)
        if self.least is not None and not float(value) >= self.least:
            raise InputError(f"`{self.name}` must be at least {self.least}, not {value:g}")
        return value

    def _refused(self, value: Any) -> InputError:
        what = f"one of {', '.join(self.choices)}" if self.choices else self.what or _KINDS.get(self.kind)
        if self.many and self.kind is str and not self.choices:
            what, value = f"a list such as [{self.what or 'a'!r}]", [value]
        return InputError(f"`{self.name}` must be {what or f'a {self.kind.__name__}'}, not {value!r:.80}")


def option(help: str, default: Any = None, **told: Any) -> Any:
    """Declare a setting, with fields of an `Option`; if it is true by default, its flag unsets it."""
    return field(default=default, metadata={"option": Option(help, default, **told)})


def argument(help: str, **told: Any) -> Any:
    """Declare what is given by its position; use it, as `option`, in Annotated for a parameter of a command."""
    return option(help, REQUIRED, flag="", **told)


def nested(kind: Callable[[], Kind]) -> Kind:
    """Declare settings that are part of others; a flag that several parts have sets all of them."""
    return field(default_factory=kind, metadata={"part": kind})


class Given(NamedTuple):
    """For Annotated: the parameter is a dict of those settings of a class that were given, by their names.

    The help of a class whose values come from a `preset` names no defaults.
    """

    kind: type
    preset: bool = False

    def options(self) -> tuple[Option, ...]:
        """Return the settings."""
        found = options_of(self.kind)
        return tuple(one._replace(default=None) for one in found) if self.preset else found


@cache
def _declared(kind: Any) -> tuple[Option | Field[Any], ...]:
    """Return the settings of a class, and the fields that hold parts of it."""
    module = vars(sys.modules[kind.__module__])
    found: list[Option | Field[Any]] = []
    for each in fields(kind):
        if "part" in each.metadata:
            found.append(each)
        elif "option" in each.metadata:
            alone = types.SimpleNamespace(__annotations__={each.name: each.type})  # others may be for a type checker
            found.append(_option(each.name, get_type_hints(alone, module)[each.name], each, each.default))
    return tuple(found)


@cache
def options_of(kind: Any) -> tuple[Option, ...]:
    """Return the settings of a class and of its parts, in their order; one of two with the same flag."""
    found: dict[str, Option] = {}
    for each in _declared(kind):
        for one in [each] if isinstance(each, Option) else options_of(each.metadata["part"]):
            found.setdefault(one.flag, one)
    return tuple(found.values())


def parameters_of(function: Callable[..., Any]) -> dict[str, Option | Given | type]:
    """Return the parameters of a command: each an option, a class of settings, or what was given of such a class."""
    hints = get_type_hints(function, include_extras=True)
    found: dict[str, Option | Given | type] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints[name]
        if get_origin(hint) is Union:  # what Python 3.10 makes of a parameter whose default is None
            hint = next((part for part in get_args(hint) if get_origin(part) is Annotated), hint)
        if get_origin(hint) is not Annotated:
            found[name] = hint
            continue
        kind, declared = get_args(hint)
        default = MISSING if parameter.default is inspect.Parameter.empty else parameter.default
        found[name] = declared if isinstance(declared, Given) else _option(name, kind, declared, default)
    return found


def _option(name: str, hint: Any, declared: Field[Any], default: Any) -> Option:
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    kinds = tuple(part for part in parts if part is not type(None))
    kind: Any = Place if kinds == get_args(Place) else kinds[0] if len(kinds) == 1 else kinds
    one: Option = declared.metadata["option"]
    many = get_origin(kind) in (Sequence, list, tuple) if one.many is None else one.many
    if many and one.reads is None:
        kind = get_args(kind)[0]
        kind = Place if kind in (PlaceLike, Place) else kind
    flag, choices = one.flag, one.choices
    if not flag:
        flag = one.metavar or name.upper().strip("_")
    elif flag == "--":
        flag = f"--{name.strip('_').replace('_', '-')}"
    if isinstance(kind, type) and issubclass(kind, Enum):
        choices = tuple(each.value for each in kind)
    return one._replace(name=name, flag=flag, kind=kind, many=many, default=default, choices=choices)


def make(kind: Any, given: Mapping[str, Any]) -> Any:
    """Make settings of the values given by flag, and of the defaults."""
    values: dict[str, Any] = {}
    for each in _declared(kind):
        if not isinstance(each, Option):
            values[each.name] = make(each.metadata["part"], given)
        elif each.flag in given:
            values[each.name] = given[each.flag]
    return kind(**values)


def check(settings: Any) -> None:
    """Raise InputError for a value that its setting must not have; a text becomes the path or what else is held."""
    for one in _declared(settings.__class__):
        value = getattr(settings, one.name)
        if not isinstance(one, Option):
            part = one.metadata["part"]
            if not isinstance(value, part):
                raise InputError(f"`{one.name}` must be {part.__name__}, not {value!r:.80}")
            continue
        if (value is None and one.default is None) or (type(value) is type(one.default) and value == one.default):
            continue
        if one.needs and getattr(settings, one.needs) in (None, ()):
            raise InputError(f"{_named(one, value)} has no effect without `{one.needs}`; leave it out")
        if one.reads is not None:
            if isinstance(value, str):
                object.__setattr__(settings, one.name, one.value([value]))
            continue
        if one.many and (isinstance(value, str) or not isinstance(value, Sequence)):
            raise InputError(f"`{one.name}` must be a list such as [{one.what or 'a'!r}], not {value!r:.80}")
        held = tuple(map(one.checked, value)) if one.many else one.checked(value)
        object.__setattr__(settings, one.name, held)


def changed(settings: Any) -> dict[Option, Any]:
    """Return the settings that differ from their defaults, those of its parts too."""
    found: dict[Option, Any] = {}
    for each in _declared(settings.__class__):
        value = getattr(settings, each.name)
        if not isinstance(each, Option):
            found |= changed(value)
        elif value is not None and value != each.default:
            found[each] = value
    return found


def record(settings: Any) -> dict[str, Any]:
    """Return what differs from the defaults, by flag and in plain values."""
    return {
        one.names[-1].removeprefix("--"): [*map(_plain, value)] if isinstance(value, tuple) else _plain(value)
        for one, value in changed(settings).items()
    }


def refuse(settings: Any, names: Sequence[str], why: str) -> None:
    """Raise InputError if one of these settings differs from its default, since it has no effect; `why` ends it."""
    for one, value in changed(settings).items():
        if one.name in names:
            raise InputError(f"{_named(one, value)} has no effect {why}; leave it out")


def _named(one: Option, value: Any) -> str:
    return f"`{one.name}=False`" if value is False else f"`{one.name}`"


def _plain(value: Any) -> Any:
    value = value.value if isinstance(value, Enum) else value
    return value if isinstance(value, (bool, int, float)) else str(value)
