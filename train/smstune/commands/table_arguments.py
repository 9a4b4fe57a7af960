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
            f"--{role.replace('_', '-')}-column",
            metavar="NAME",
            help=f"column of the {role.replace('_', ' ')} (default: {role}, or a usual name of it, "
            "Chinese ones too)",
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

    columns: dict[str, str | None] = vars(arguments)
    return TableOptions(
        text=columns.get("text_column"),
        label=columns.get("label_column"),
        group=columns.get("group_column"),
        time=columns.get("time_column"),
        labelled=labelled,
        sheet=arguments.sheet,
        header=False if arguments.no_header else None,
        layout=arguments.layout,
    )
