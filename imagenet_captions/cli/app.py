"""The program on click: commands are imported when they are called, and a mistake is one sentence and exit code 2.

click splits and completes the words of a command line. Values and sentences are made here and in `options`, so that
they are the same with every version of it.
"""

from __future__ import annotations

import re
import signal
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from itertools import chain
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from imagenet_captions.cli.commands import COMMANDS, SECTIONS
from imagenet_captions.errors import ImagenetCaptionsError, InputError, printable, quoted, shortened

if TYPE_CHECKING:
    from imagenet_captions.options import Option

PROGRAM = "imagenet-captions"
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_PARAMETER = re.compile(r"`(\w+)(?:='?([^'`\s]*)'?)?`")
_JSON = "Print the result as one JSON object, for programs."
_HYPHEN = "\N{NON-BREAKING HYPHEN}"
_DASHES = "-\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}"
# Flags whose values are searched for or written, and never opened: a URL in them may have a query.
_TEXTS = ("--contains", "--matches", "--caption")


class _Formatter(click.HelpFormatter):
    """Keeps words with hyphens, such as flags and names of models, on one line."""

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl([(name, text.replace("-", _HYPHEN)) for name, text in rows], col_max, col_spacing)

    def getvalue(self) -> str:
        return super().getvalue().replace(_HYPHEN, "-")


class _Context(click.Context):
    formatter_class = _Formatter


class Program(click.Group):
    """All commands."""

    context_class = _Context

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands in the order in which a user meets them."""
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, whose module is imported now."""
        return command(cmd_name) if cmd_name in COMMANDS else None

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return what follows the name of the program."""
        return ["COMMAND", "[OPTIONS]"]

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the command that the words begin with."""
        found = command(args[0]) if args[0] in COMMANDS else None
        if found is None and not ctx.resilient_parsing:  # else a shell completes what is typed so far
            raise InputError(
                f"{quoted(args[0])} is not a command{_meant(args[0], COMMANDS)}; `{PROGRAM} --help` lists them all"
            )
        return found and args[0], found, args[1:]

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands that a shell offers; none of them is imported for it."""
        return [
            CompletionItem(name, help=entry.about) for name, entry in COMMANDS.items() if name.startswith(incomplete)
        ]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each command does; none of them is imported for it."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, COMMANDS[name].about) for name in commands], col_max=18)

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **settings: Any) -> Any:  # type: ignore[override]
        """Run the command line, and end the process with the exit code."""
        words = [*(sys.argv[1:] if args is None else args)]
        code: Any
        try:
            _refuse_secrets(words)
            code = super().main(words or ["--help"], PROGRAM, **{**settings, "standalone_mode": False})
        except ImagenetCaptionsError as error:
            code = tell(str(error), error.exit_code)
        except click.NoSuchOption as error:
            code = tell(f"there is no flag {shortened(error.option_name, 40)}; `{PROGRAM} --help` lists commands", 2)
        except click.BadOptionUsage as error:
            code = tell(f"{error.option_name} takes no value; leave it out", 2)
        except click.UsageError:
            code = tell(f"give a command; `{PROGRAM} --help` lists them", 2)
        except (click.Abort, KeyboardInterrupt) as stop:  # while a command is imported
            code = _tell_interrupted(stop.__cause__ or stop)
        except OSError as error:  # click itself ends quietly if the reader of the output is gone
            from imagenet_captions.storage.faults import sentence_of

            code = tell(sentence_of(error), 2)
        sys.exit(code or 0)


class Command(click.Command):
    """A command: a function, whose parameters and their settings are the arguments and flags."""

    context_class = _Context

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        from imagenet_captions.options import Given, Option, options_of, parameters_of

        self.function = function
        self.parameters = parameters_of(function)
        self.options: dict[str, Option] = {}
        for each in self.parameters.values():
            several = each.options() if isinstance(each, Given) else None
            for one in [each] if isinstance(each, Option) else several or options_of(each):
                self.options.setdefault(one.flag, one)
        if function.__annotations__["return"] == "Told":
            self.options["--json"] = Option(_JSON, False, "--json", many=False, name="json", kind=bool)
        arguments = [one for one in self.options.values() if one.is_argument]
        self.options = {one.flag: one for one in (*arguments, *self.options.values())}
        self.flags = {name: one for one in self.options.values() if not one.is_argument for name in one.names}
        params = [_param(one) for one in self.options.values()]
        super().__init__(name, {**_CONTEXT, "allow_extra_args": True}, None, params, COMMANDS[name].about)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split the words; what the command does not take is refused in a sentence."""
        given = [*args]
        try:
            rest = super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            flag = error.option_name
            raise InputError(
                f"{self.name} has no flag {shortened(flag, 40)}{_meant(flag, self.flags)}; {self._lists}"
            ) from None
        except click.BadOptionUsage as error:
            one = self.flags.get(error.option_name)
            if one is None or one.kind is bool:
                raise InputError(
                    f"{error.option_name} takes no value; give {error.option_name} alone, or leave it out"
                ) from None
            raise InputError(f"{error.option_name} needs a value; give {head(one)}") from None
        if ctx.resilient_parsing:
            return rest
        for word in given:
            flag = "--" + word.partition("=")[0].lstrip(_DASHES)
            if flag in self.flags and any(dash in word[:2] for dash in _DASHES[1:]):
                raise InputError(f"{quoted(word, 40)} begins with a dash that is not a hyphen; type {flag}")
        if rest:
            raise InputError(f"{self.name} takes no argument {quoted(rest[0])}; {self._hint(given, rest[0])}")
        return rest

    def _hint(self, words: Sequence[str], extra: str) -> str:
        """Say why there may be a word too many: most often because quotes were forgotten."""
        at = words.index(extra)
        before = next((place for place in range(at, -1, -1) if words[place] in self.flags), at)
        if "--release" in self.flags and extra.endswith((".json", ".zip")):
            return f"did you mean --release {shortened(extra)}?"
        flag = words[before]
        one = self.flags.get(flag)
        if one is None or one.kind is bool:
            return self._lists
        if one.value_name == "PATH":
            return f"{flag} takes one path: give the folder, or put a pattern in quotes"
        after = next((place for place in range(at, len(words)) if words[place].startswith("-")), len(words))
        value = " ".join(words[before + 1 : after]).replace(" = ", "=")
        several = f", or {flag} before each of several" if one.many else ""
        return f'a value of several words needs quotes, as in {flag} "{shortened(value, 60)}"{several}'

    @property
    def _lists(self) -> str:
        return f"`{PROGRAM} {self.name} --help` lists what it takes"

    def invoke(self, ctx: click.Context) -> None:
        """Call the function and print what it returns; its sentences name flags in place of parameters."""
        from imagenet_captions.cli.messages import showing_messages

        try:
            with showing_messages(self):
                result = self.function(**self.values(ctx))
            if result is not None:
                click.echo(printable(result.as_json() if ctx.params.get("json") else str(result)))
        except ImagenetCaptionsError as error:
            ctx.exit(tell(self.in_flags(str(error)), error.exit_code))
        except KeyboardInterrupt as stop:
            ctx.exit(_tell_interrupted(stop))

    def values(self, ctx: click.Context) -> dict[str, Any]:
        """Return the function's parameters, as words give them that `make_context` has split."""
        from imagenet_captions.options import REQUIRED, Given, Option, make

        given: dict[str, Any] = {}
        for flag, one in self.options.items():
            typed = ctx.params[one.name.strip("_")]
            words = () if typed is None else typed if isinstance(typed, tuple) else (typed,)
            if not words:
                if one.default is REQUIRED:
                    raise InputError(f"{flag} is missing; give {head(one)}")
            elif one.kind is bool:
                given[flag] = words[0] if len(one.names) > 1 else one.default is not True
            elif len(words) > 1 and not one.many:
                raise InputError(f"{flag} is given {len(words)} times; give it once")
            elif taken := next((word for word in words if word in self.flags or word.startswith("--")), None):
                raise InputError(f"{flag} needs a value, and {shortened(taken, 40)} is a flag; give {head(one)}")
            else:
                given[flag] = one.value(words)
        values: dict[str, Any] = {}
        for name, each in self.parameters.items():
            if isinstance(each, Given):
                values[name] = {one.name: given[one.flag] for one in each.options() if one.flag in given}
            elif not isinstance(each, Option):
                values[name] = make(each, given)
            elif each.flag in given:
                values[name] = given[each.flag]
        return values

    def in_flags(self, sentence: str) -> str:
        """Replace the parameters that a sentence of the library names by flags of the command, or else of another one.

        >>> command("build").in_flags("give fewer `workers` or `missing='skip'`; `ray start` is not a parameter")
        'give fewer --workers or --missing skip; `ray start` is not a parameter'
        """

        def flag(found: re.Match[str]) -> str:
            others = (one for name in COMMANDS for one in command(name).flags.values())
            one = next((one for one in chain(self.options.values(), others) if one.name == found[1]), None)
            if one is None:
                return found[0]
            if found[2] in (None, "True", "False"):
                return one.names[-1 if found[2] == "False" else 0]
            return f"{one.names[0]} {found[2]}"

        return _PARAMETER.sub(flag, sentence)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return the usage: arguments, required flags, and that there are others."""
        from imagenet_captions.options import REQUIRED

        required = [one for one in self.options.values() if one.default is REQUIRED]
        arguments = [one for one in self.options.values() if one.is_argument]
        flags = [head(one) for one in required if not one.is_argument]
        return [*(one.flag if one in required else f"[{one.flag}]" for one in arguments), *flags, "[OPTIONS]"]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write arguments, flags, the forms of captions, and examples."""
        options = self.options.values()
        if arguments := [(head(one), describe(one)) for one in options if one.is_argument]:
            with formatter.section("Arguments"):
                formatter.write_dl(arguments)
        with formatter.section("Options"):
            flags = [(head(one), describe(one)) for one in options if not one.is_argument]
            formatter.write_dl([*flags, ("-h, --help", "Show this message and exit.")])
        if "--caption" in self.flags:
            from imagenet_captions.captions.caption_template import EXAMPLES

            with formatter.section("Captions, as --caption takes them"):
                formatter.write_dl([*EXAMPLES])
        with formatter.section("Examples"):
            for example in COMMANDS[str(self.name)].examples:
                kept = re.sub(" (?!--)", "\xa0", f"{PROGRAM} {example}")  # a flag and its value stay on one line
                lines = textwrap.wrap(kept, formatter.width - 8, break_on_hyphens=False, break_long_words=False)
                formatter.write("  " + " \\\n      ".join(lines).replace("\xa0", " ") + "\n")


def command(name: str) -> Command:
    """Return the command of a name; its module is imported now."""
    module = import_module(f"imagenet_captions.cli.{COMMANDS[name].module}")
    return Command(name, getattr(module, name.replace("-", "_")))


def head(one: Option) -> str:
    """Return an option as it is typed, with a name for its value."""
    return one.flag if one.kind is bool or one.is_argument else f"{one.flag} {one.value_name}"


def describe(one: Option) -> str:
    """Return the help of an option, with whether it is required, or else its default."""
    from imagenet_captions.options import REQUIRED

    if one.default is REQUIRED:
        return f"{one.help}  [required]"
    if one.default is None or one.kind is bool or (not one.default and not isinstance(one.default, (int, float))):
        return one.help
    default = ", ".join(one.default) if isinstance(one.default, tuple) else getattr(one.default, "value", one.default)
    return f"{one.help}  [default: {default}]"


def tell(sentence: str, code: int) -> int:
    """Print a sentence on stderr, and return the exit code."""
    click.echo(f"{PROGRAM}: {printable(sentence)}", err=True)
    return code


def _tell_interrupted(stop: BaseException) -> int:
    number = next((each for each in stop.args if isinstance(each, int)), signal.SIGINT)  # Python's own has none
    return tell("interrupted; what was finished is kept, run the same command again", 128 + number)


def _param(one: Option) -> click.Parameter:
    """Return what click needs to split the words, and to complete them."""

    def complete(ctx: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem]:
        if one.value_name == "PATH":
            return [CompletionItem(typed, type="file")]
        return [CompletionItem(each) for each in one.choices if each.startswith(typed)]

    name = one.name.strip("_")
    if one.is_argument:
        return click.Argument([name], required=False, nargs=-1 if one.many else 1, shell_complete=complete)
    if one.kind is bool:
        if len(one.names) > 1:
            return click.Option([one.flag, name], default=None, help=one.help)
        return click.Option([one.flag, name], is_flag=True, flag_value=True, default=None, help=one.help)
    return click.Option([one.flag, name], multiple=True, help=one.help, shell_complete=complete)


def _meant(name: str, names: Iterable[str]) -> str:
    from difflib import get_close_matches

    found = get_close_matches(name, [*names], n=1)
    return f" (did you mean {found[0]}?)" if found else ""


def _refuse_secrets(words: Sequence[str]) -> None:
    """Refuse a command line with a URL that may hold a secret, before a message could quote it."""
    if not any(":" in word or "%" in word for word in words):
        return  # no URL, plain or encoded; the help stays as fast as it is
    from imagenet_captions.storage.places import refuse_secrets

    for before, word in zip(("", *words), words, strict=False):
        if before not in _TEXTS and not word.startswith(tuple(f"{flag}=" for flag in _TEXTS)):
            refuse_secrets(word)


@click.command(
    cls=Program,
    context_settings=_CONTEXT,
    epilog=f"`{PROGRAM} COMMAND --help` shows the options of a command, and examples.",
)
@click.version_option(package_name=PROGRAM, message="%(package)s %(version)s", help="Print the version and exit.")
def app() -> None:
    """Rebuild ImageNet-Captions: ImageNet training images with the text their photographers wrote on Flickr."""
