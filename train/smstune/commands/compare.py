"""Compare evaluated runs with the first one.

Runs of one recipe that differ in their seed are given as A,B,C.

Examples:
  smstune compare runs/last_month runs/this_month
  smstune compare runs/plain-1,runs/plain-2 runs/lora-1,runs/lora-2 --json lora.json
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smstune.command import command
from smstune.commands.parser import command_parser, parse


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, compare, print the table."""
    parser = command_parser("compare", __doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN[,RUN...]", help="evaluated run folders")
    parser.add_argument(
        "--name", default="test", help="which evaluation, the folder RUN/eval/NAME (test)"
    )
    parser.add_argument(
        "--draws", type=int, default=5000, metavar="N", help="draws of the bootstrap (5000)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers")
    args = parse(parser, argv)
    from rich.console import Console

    from smstune.evaluation.comparison.compare import compare_runs, comparison_table
    from smstune.files import write_json

    comparison = compare_runs(args.runs, name=args.name, draws=args.draws)
    if args.json:
        write_json(args.json, comparison)
    Console().print(comparison_table(comparison))
