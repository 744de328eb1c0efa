"""Define the group of commands: usage errors of one line, and help that is the same with every version of typer."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from imagenet_captions.cli.commands import ABOUT, SECTIONS, module_of
from imagenet_captions.cli.help import PROGRAM, command_help, program_help
from imagenet_captions.errors import ImagenetCaptionsError, InputError, quoted, shortened

if TYPE_CHECKING:
    from imagenet_captions.cli.flags import Flag

# The exception class of click that typer raises; some versions of typer bring their own copy of click.
_UsageError: type[Any] = typer.BadParameter.__mro__[1]

# (command, old name of a flag): its name now. CHANGELOG.md has the same table.
RENAMED = {("filter", "--only-ids"): "--ids", ("train", "--test"): "--on", ("ablate", "--test"): "--on"}

# Flags whose values are searched for or written, and never opened: a URL in them may have a query.
_TEXTS = ("--contains", "--matches", "--caption")


@dataclass(frozen=True)
class Spec:
    """A command: its name, what it does, and its flags."""

    name: str
    about: str
    flags: "tuple[Flag, ...]"

    def find(self, name: str) -> "Flag | None":
        """Return the flag of a name, such as --out."""
        return next((flag for flag in self.flags if name in flag.names and not flag.is_argument), None)


class Specs(Mapping[str, Spec]):
    """Every command by its name; the module that defines a command is imported when it is asked for."""

    def __init__(self) -> None:
        self._imported: dict[str, Spec] = {}

    def add(self, function: Callable[..., None]) -> Spec:
        """Register a command under the name of its function."""
        from imagenet_captions.cli.flags import flags_of

        name = function.__name__.replace("_", "-")
        return self._imported.setdefault(name, Spec(name, ABOUT[name], flags_of(function)))

    def __getitem__(self, name: str) -> Spec:
        if name not in self._imported and name in ABOUT:
            import_module(module_of(name))
        return self._imported[name]

    def __iter__(self) -> Iterator[str]:
        return iter(ABOUT)

    def __len__(self) -> int:
        return len(ABOUT)


SPECS = Specs()


class Command(TyperCommand):
    """A command."""

    allow_extra_args = True  # they are refused below, in our words

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        spec = SPECS[str(self.name)]
        formatter.write(command_help(spec.name, spec.about, spec.flags))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Split the arguments, and refuse those that the command does not take."""
        try:
            rest = super().parse_args(ctx, args)
        except _UsageError as error:
            raise InputError(_usage_error(error, SPECS[str(self.name)])) from None
        if rest and not ctx.resilient_parsing:  # else a shell completes what is typed so far
            raise InputError(
                f"{self.name} takes no argument {quoted(rest[0])}; `{PROGRAM} {self.name} --help` lists what it takes"
            )
        return rest


class Group(TyperGroup):
    """The group of all commands."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, with the commands in the order of the flow."""
        formatter.write(program_help(self.help or "", {title: [*about.items()] for title, about in SECTIONS.items()}))

    def list_commands(self, ctx: Any) -> list[str]:
        """List the commands in the order in which a user meets them, as a shell offers them."""
        return [*ABOUT]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, whose module is imported now."""
        if cmd_name in ABOUT and cmd_name not in self.commands:
            _ = SPECS[cmd_name]  # its module registers it
            from imagenet_captions.cli.app import app

            self.commands.update(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
        return self.commands.get(cmd_name)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Return what completes the name of a command; none of them is imported for it."""
        self.commands = {name: TyperCommand(name, help=about) for name, about in ABOUT.items()}
        return super().shell_complete(ctx, incomplete)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the arguments begin with."""
        command = self.get_command(ctx, args[0])
        if command is None and not ctx.resilient_parsing:  # else a shell completes what is typed so far
            meant = _did_you_mean(args[0], [*ABOUT])
            raise InputError(f"{quoted(args[0])} is not a command{meant}; `{PROGRAM} --help` lists them all")
        return command and args[0], command, args[1:]

    def main(  # type: ignore[override]  # typer passes everything by name
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **settings: Any
    ) -> Any:
        """Run the command line; a usage error is one line and exit code 2."""
        texts = list(sys.argv[1:] if args is None else args)
        try:
            _refuse_secrets(texts)
            code = super().main(texts or ["--help"], PROGRAM, **{**settings, "standalone_mode": False})
        except typer.Abort:
            code = 130
        except _UsageError as error:
            code = _tell(_usage_error(error, Spec(PROGRAM, "", ())), 2)
        except ImagenetCaptionsError as error:
            code = _tell(str(error), error.exit_code)
        sys.exit(code or 0)


def _refuse_secrets(arguments: Sequence[str]) -> None:
    """Refuse a command line with a URL that may hold a secret, before a message could quote it."""
    if not any(":" in argument or "%" in argument for argument in arguments):
        return  # no URL, plain or encoded; the help stays as fast as it is
    from imagenet_captions.storage.places import refuse_secrets

    for before, argument in zip(("", *arguments), arguments, strict=False):
        if before not in _TEXTS and not argument.startswith(tuple(f"{flag}=" for flag in _TEXTS)):
            refuse_secrets(argument)


def _tell(sentence: str, code: int) -> int:
    typer.echo(f"{PROGRAM}: {sentence}", err=True)
    return code


def _usage_error(error: Any, spec: Spec) -> str:
    """Return one sentence about what typer could not split."""
    given = getattr(error, "option_name", None)
    if given is None:
        return f"give a command; `{PROGRAM} --help` lists them"
    if not hasattr(error, "possibilities"):  # of the flags that are near: this one is known, and its value is wrong
        flag = spec.find(given)
        if flag is None or flag.kind is bool:
            return f"{given} takes no value; give {given} alone, or leave it out"
        return f"{given} needs a value; give {given} {flag.value_name}"
    if renamed := RENAMED.get((spec.name, given)):
        return f"{given} of {spec.name} is called {renamed} now"
    meant = _did_you_mean(given, [name for each in spec.flags if not each.is_argument for name in each.names])
    command = PROGRAM if spec.name == PROGRAM else f"{PROGRAM} {spec.name}"
    return f"{spec.name} has no flag {shortened(given, 40)}{meant}; `{command} --help` lists what it takes"


def _did_you_mean(name: str, names: list[str]) -> str:
    from difflib import get_close_matches

    found = get_close_matches(name, names, n=1)
    return f" (did you mean {found[0]}?)" if found else ""
