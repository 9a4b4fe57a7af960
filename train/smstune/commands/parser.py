"""The parser that every command starts from."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Sequence
from typing import NoReturn

from smstune.command import set_verbosity
from smstune.language import LANGUAGES, Message, translated

#: argparse's own errors, which it has translated by gettext.
ARGPARSE_ERRORS = (
    Message("%(prog)s: error: %(message)s\n"),
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


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """End the command with a message, translated if it is one of ours."""
        super().error(translated(message))


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
    parser: argparse.ArgumentParser, argv: Sequence[str] | None, *, intermixed: bool = False
) -> argparse.Namespace:
    """Parse a command line and apply ``--quiet`` and ``--verbose``.

    ``intermixed`` allows flags between arguments that may be left out.
    """
    args = (parser.parse_intermixed_args if intermixed else parser.parse_args)(argv)
    set_verbosity(quiet=args.quiet, verbose=args.verbose)
    return args
