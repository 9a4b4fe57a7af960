"""Remember reported messages, so that their campaigns are recognised at once, without training.

REPORTS has the columns text and label, and optionally action (allow or block), reason and until.
Messages are masked and kept as sketches in RUN/memory, which predict, audit and serve look up.

Examples:
  smstune learn runs/mine reports.csv
  smstune learn runs/mine reports.xlsx --validation labelled.csv
  smstune learn runs/mine --list
  smstune learn runs/mine --forget 12
"""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Sequence
from typing import TYPE_CHECKING

from smstune.command import command
from smstune.commands.parser import command_parser, parse
from smstune.commands.table_arguments import add_table_arguments, table_options
from smstune.errors import UserError
from smstune.language import Message, translated
from smstune.paths import user_path

if TYPE_CHECKING:
    from smstune.config.schema import MemoryConfig
    from smstune.inference.manifest import Manifest


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse; list, forget or learn; print a line for each campaign."""
    parser = command_parser("learn", __doc__)
    parser.add_argument("run", type=user_path, help="run folder")
    parser.add_argument(
        "reports", type=user_path, nargs="?", help="reports: any file that prepare reads"
    )
    parser.add_argument("--list", action="store_true", help="print the remembered campaigns as csv")
    parser.add_argument("--forget", type=int, metavar="ID", help="delete a remembered campaign")
    parser.add_argument(
        "--validation",
        type=user_path,
        metavar="FILE",
        help="labelled messages to count false alarms on (default: the run's prepared folder)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="also remember campaigns that match too many messages of other labels, or that "
        "nothing can be measured on",
    )
    add_table_arguments(parser, ["text", "label"])
    args = parse(parser, argv)
    if sum([args.reports is not None, args.list, args.forget is not None]) != 1:
        parser.error(Message("expected one of REPORTS, --list and --forget ID"))
    from smstune.inference.manifest import load_manifest

    manifest = load_manifest(args.run)
    if args.list:
        from smstune.deploy.learn.learn import list_memory
        from smstune.reporting.csv import render_csv

        print(render_csv(list_memory(args.run)), end="")
    elif args.forget is not None:
        from smstune.deploy.learn.teach import forget

        entry = forget(args.run, args.forget)
        print(translated(Message("forgot campaign {id}: {label}", id=entry.id, label=entry.label)))
    else:
        from smstune.inference.run_config import run_config

        _learn(args, manifest, run_config(args.run, manifest, "memory").memory)


def _login_name() -> str | None:
    """Return the name of the user, ``None`` where it has none, as in some containers."""
    try:
        return getpass.getuser()
    # Which of them depends on the version of Python.
    except (KeyError, OSError, ImportError):
        return None


def _learn(args: argparse.Namespace, manifest: Manifest, section: MemoryConfig) -> None:
    from smstune.deploy.learn.learn import describe, open_teacher, require_all_learned
    from smstune.deploy.learn.read import read_reports

    teacher = open_teacher(args.run, manifest, section, args.validation)
    options = table_options(args, labelled=True)
    reports, lines = read_reports(args.reports, options, teacher.labels, _login_name())
    if teacher.reference is None and not args.force:
        raise UserError(
            "nothing to measure false alarms on: the prepared folder {folder} is missing or "
            "changed: give labelled messages with --validation FILE, or add --force",
            folder=manifest.data.path,
        )
    outcomes = teacher.teach(reports, force=args.force)
    for outcome in outcomes:
        print(translated(describe(outcome)))
    require_all_learned(outcomes, lines)
