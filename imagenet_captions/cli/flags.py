"""Read the flags and arguments of a command: declare them to typer, and turn their text into values.

Typer only splits the command line; every value reaches this module as text, so that error messages and the meaning of
paths and URLs do not depend on typer's version.
"""

import inspect
import types
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from typer.models import ArgumentInfo

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.storage.places import Place, local_place, place

_given: ContextVar[Mapping[str, str]] = ContextVar("_given")


@dataclass(frozen=True)
class Flag:
    """A flag (`--out`) or argument (`DATASET`) of a command, as the command's signature declares it."""

    name: str  # the parameter's
    kind: Any  # of one value: str, int, float, bool, Place, an Enum, or Path where a URL is refused
    many: bool
    default: Any  # inspect.Parameter.empty where it is required
    declared: Any  # typer's Option or Argument, with the help

    @property
    def is_argument(self) -> bool:
        """Return whether it is given by position and not by name."""
        return isinstance(self.declared, ArgumentInfo)

    @property
    def required(self) -> bool:
        """Return whether the command needs it."""
        return self.default is inspect.Parameter.empty

    @property
    def names(self) -> tuple[str, ...]:
        """Return every spelling of the flag, those that switch it off included; an argument is in capitals."""
        if self.is_argument:
            return (str(self.declared.metavar or self.name.upper()),)
        return tuple(name for each in self._declarations or self._default_names for name in each.split("/"))

    @property
    def _declarations(self) -> tuple[str, ...]:
        """Return the names in the signature; typer keeps the first one in the place of a default."""
        first = self.declared.default
        return (*([first] if isinstance(first, str) else []), *(self.declared.param_decls or ()))

    @property
    def _default_names(self) -> tuple[str, ...]:
        return (f"--{self.name.replace('_', '-')}",)

    @property
    def spelled(self) -> str:
        """Return the flag as a user types it."""
        return self.names[0]

    @property
    def value_name(self) -> str:
        """Return the name of the value in the help: its metavar, the choices, or its kind."""
        if self.declared.metavar:
            return str(self.declared.metavar)
        if issubclass(self._class, Enum):
            return "|".join(each.value for each in self._class)
        return {int: "N", float: "X", Path: "PATH"}.get(self._class, "TEXT")

    @property
    def _class(self) -> Any:
        return Path if self.kind == Place else self.kind

    def for_typer(self) -> inspect.Parameter:
        """Return the parameter for typer: text or a switch, and never required."""
        one: Any = bool if self.kind is bool else str
        choices = [each.value for each in self._class] if issubclass(self._class, Enum) else []
        words: Any = (lambda incomplete: [each for each in choices if each.startswith(incomplete)]) if choices else None
        declared = (
            typer.Argument(autocompletion=words)
            if self.is_argument
            else typer.Option(*self._declarations, autocompletion=words)
        )
        annotation = Annotated[Union[list[one] if self.many else one, None], declared]  # type: ignore[valid-type]  # noqa: UP007
        return inspect.Parameter(self.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)

    def read(self, text: Any) -> Any:
        """Return the value of what was typed, or the default if nothing was."""
        if not was_typed(text):
            if self.required:
                raise InputError(f"{self.spelled} is missing; give {self._example()}")
            return self.default
        return [self._read_one(each) for each in text] if self.many else self._read_one(text)

    def _example(self) -> str:
        return f"a {self.spelled}" if self.is_argument else f"{self.spelled} {self.value_name}"

    def _read_one(self, text: Any) -> Any:
        if self.kind is bool or self.kind is str:
            return text
        if self._class is Path:
            return self._read_path(text)
        if issubclass(self._class, Enum):
            return self._read_choice(text)
        try:
            return self._class(text)
        except ValueError:
            kind = "a whole number" if self._class is int else "a number"
            raise InputError(f"{self.spelled} must be {kind}, not {quoted(text)}") from None

    def _read_path(self, text: str) -> Place:
        return place(text) if self.kind == Place else local_place(text)

    def _read_choice(self, text: str) -> Any:
        choices = {each.value: each for each in self._class}
        if text not in choices:
            raise InputError(f"{self.spelled} must be one of {', '.join(choices)}, not {quoted(text)}")
        return choices[text]


def flags_of(function: Callable[..., None]) -> tuple[Flag, ...]:
    """Return the flags that a command's signature declares as `Annotated[type, typer.Option(...)]`, in its order."""
    return tuple(_flag(parameter) for parameter in inspect.signature(function).parameters.values())


def _flag(parameter: inspect.Parameter) -> Flag:
    kind, declared = get_args(parameter.annotation)
    if get_origin(kind) in (Union, types.UnionType):
        kind = Union[tuple(each for each in get_args(kind) if each is not type(None))]  # noqa: UP007
    many = get_origin(kind) is list
    return Flag(parameter.name, get_args(kind)[0] if many else kind, many, parameter.default, declared)


def was_typed(text: Any) -> bool:
    """Return whether a value was typed: typer gives None or an empty list if not."""
    return text is not None and text not in ([], ())


def read_values(flags: tuple[Flag, ...], texts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a command's parameters, and remember which were given, for `refuse_without_effect`."""
    _given.set({flag.name: _as_typed(flag, texts[flag.name]) for flag in flags if was_typed(texts[flag.name])})
    return {flag.name: flag.read(texts[flag.name]) for flag in flags}


def _as_typed(flag: Flag, text: Any) -> str:
    return flag.names[-1] if text is False else flag.spelled


def refuse_without_effect(when: str, *names: str) -> None:
    """Raise InputError if any of these parameters was given on the command line, since it has no effect `when`.

    `when` ends the sentence: "with --release, which asks Flickr for nothing".
    """
    given = _given.get()
    found = [given[name] for name in names if name in given]
    if len(found) == 1:
        raise InputError(f"{found[0]} has no effect {when}; leave it out")
    if found:
        raise InputError(f"{', '.join(found[:-1])} and {found[-1]} have no effect {when}; leave them out")


def refuse_all_but(name: str, when: str) -> None:
    """Raise InputError if any other parameter was given on the command line, since it has no effect `when`."""
    refuse_without_effect(when, *(other for other in _given.get() if other != name))
