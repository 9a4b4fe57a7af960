"""The parser that every command starts from."""

from __future__ import annotations

import argparse
import difflib
import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from typing import NoReturn

from smstune.command import set_verbosity
from smstune.language import LANGUAGES, Message, joined, translated

#: argparse's own errors, which it has translated by gettext.
ARGPARSE_ERRORS = (
    Message("argument %(argument_name)s: %(message)s"),
    Message("the following arguments are required: %s"),
    Message("unrecognized arguments: %s"),
    Message("not allowed with argument %s"),
    Message("ignored explicit argument %r"),
    Message("expected one argument"),
    Message("expected at most one argument"),
    Message("expected at least one argument"),
    Message("invalid choice: %(value)r (choose from %(choices)s)"),
    Message("invalid %(type)s value: %(value)r"),
)


#: How argparse reports a value that is none of an argument's choices, in English and in Chinese.
_INVALID_CHOICE = re.compile(
    r"invalid choice: '(.*)' \(choose from (.*)\)|'(.*)' 不在可选范围内（可选：(.*)）"
)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors name the flag or value that was probably meant.

    ``words`` are those of the command line.
    """

    words: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        """End with status 2.

        A misspelt flag is named also where argparse only misses the argument that it stands for.
        """
        hints = list(dict.fromkeys([*self._near_flags(), *_near_choice(message)]))
        error = Message("error: {message}", message=joined([Message(message), *hints], "; "))
        self.exit(2, f"{translated(error)}\n")

    def _near_flags(self) -> Iterator[Message]:
        flags = {flag for parser in _parsers(self) for flag in parser._option_string_actions}
        for word in self.words:
            flag = word.partition("=")[0]
            if flag.startswith("--") and flag not in flags:
                for near in difflib.get_close_matches(flag, flags, n=1, cutoff=0.7):
                    yield Message("did you mean {near} instead of {flag}?", near=near, flag=flag)


def _parsers(parser: argparse.ArgumentParser) -> Iterator[_Parser]:
    """Yield a command's parser and those of its subcommands."""
    if isinstance(parser, _Parser):
        yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _parsers(inner)


def _near_choice(message: str) -> Iterator[Message]:
    match = _INVALID_CHOICE.search(message)
    if match:
        value, choices = filter(None, match.groups())
        names = [choice.strip(" '") for choice in choices.split(",")]
        for near in difflib.get_close_matches(value, names, n=1, cutoff=0.5):
            yield Message("did you mean {near}?", near=near)


def command_parser(name: str, documentation: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help is the command's docstring.

    The first paragraph becomes the description; the rest is printed below the options. Flags
    cannot be abbreviated, so that adding one never makes an old script ambiguous.
    """
    description, _, examples = inspect.cleandoc(documentation or "").partition("\n\n")
    parser = _Parser(
        prog=f"smstune {name}",
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verbosity = parser.add_mutually_exclusive_group()
    verbosity.add_argument(
        "--quiet", action="store_true", help="log only warnings and errors, and show no progress"
    )
    verbosity.add_argument(
        "--verbose", action="store_true", help="also log debug messages and those of the libraries"
    )
    parser.add_argument(
        "--lang",
        choices=LANGUAGES,
        help="language of messages and reports (default: that of the system)",
    )
    return parser


def parse(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None, *, subcommands: bool = False
) -> argparse.Namespace:
    """Parse a command line and apply ``--quiet`` and ``--verbose``.

    Flags may stand between arguments that may be left out, except with ``subcommands``, where
    argparse cannot mix them.
    """
    words = sys.argv[1:] if argv is None else argv
    for command in _parsers(parser):
        command.words = words
    args = (parser.parse_args if subcommands else parser.parse_intermixed_args)(words)
    set_verbosity(quiet=args.quiet, verbose=args.verbose)
    return args
