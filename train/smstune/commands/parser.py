"""What the parsers of all commands have in common."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Sequence

from smstune.command import set_verbosity


def command_parser(name: str, documentation: str | None) -> argparse.ArgumentParser:
    """Return a parser that describes itself by a command's docstring.

    The first paragraph says what the command does; the rest, its examples, stands below the
    options. Flags cannot be abbreviated: a new one must not change what an old script means.
    """
    description, _, examples = inspect.cleandoc(documentation or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog=f"smstune {name}",
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    how_much = parser.add_mutually_exclusive_group()
    how_much.add_argument(
        "--quiet", action="store_true", help="only warnings and errors, no progress"
    )
    how_much.add_argument("--verbose", action="store_true", help="also what the libraries report")
    return parser


def parse(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None, *, intermixed: bool = False
) -> argparse.Namespace:
    """Parse a command line and let ``--quiet`` and ``--verbose`` take effect.

    ``intermixed`` allows flags between ``key=value`` words.
    """
    args = (parser.parse_intermixed_args if intermixed else parser.parse_args)(argv)
    set_verbosity(quiet=args.quiet, verbose=args.verbose)
    return args
