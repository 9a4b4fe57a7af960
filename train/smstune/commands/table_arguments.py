"""Arguments that say how to read a table of messages."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

from smstune.config.choices import Layout

if TYPE_CHECKING:
    from smstune.tables.options import TableOptions


def add_table_arguments(parser: argparse.ArgumentParser, roles: Sequence[str]) -> None:
    """Add ``--ROLE-column`` for each role, ``--sheet``, ``--no-header`` and ``--layout``."""
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
    parser.add_argument(
        "--layout",
        choices=get_args(Layout),
        help="how a folder of files holds messages: as tables, a folder per label, or a file per "
        "label with a message per line (default: recognised)",
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
        layout=arguments.layout,
    )
