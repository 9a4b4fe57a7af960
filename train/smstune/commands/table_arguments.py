"""Arguments that say how to read a table of messages."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smstune.tables.options import TableOptions


def add_table_arguments(parser: argparse.ArgumentParser, roles: Sequence[str]) -> None:
    """Add ``--ROLE-column`` for each role of a column, ``--sheet`` and ``--no-header``."""
    for role in roles:
        parser.add_argument(
            f"--{role}-column",
            metavar="NAME",
            help=f"column of the {role} (default: {role}, or a usual name of it, Chinese ones too)",
        )
    parser.add_argument(
        "--sheet", metavar="NAME", help="sheet of a workbook (default: the first visible one)"
    )
    parser.add_argument(
        "--no-header",
        action="store_true",
        help="the first row is a message and names no columns; columns are called 1, 2, ... in "
        "--text-column and --label-column, if they are given",
    )


def table_options(arguments: argparse.Namespace, *, labelled: bool) -> TableOptions:
    """Return how to read the table that the arguments name; ``labelled``: it must have labels."""
    from smstune.tables.options import TableOptions

    columns = {
        role: getattr(arguments, f"{role}_column", None)
        for role in ("text", "label", "group", "time")
    }
    return TableOptions(
        **columns,
        labelled=labelled,
        sheet=arguments.sheet,
        header=False if arguments.no_header else None,
    )
