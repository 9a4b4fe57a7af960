"""Compare evaluated runs with the first one.

Join runs that differ only in their seed by commas: A,B,C.

Examples:
  smstune compare runs/last_month runs/this_month
  smstune compare runs/plain-1,runs/plain-2 runs/lora-1,runs/lora-2 --json lora.json
"""

from __future__ import annotations

from collections.abc import Sequence

from smstune.command import command
from smstune.commands.parser import command_parser, parse
from smstune.errors import require_training_packages
from smstune.language import reader_language
from smstune.paths import user_path


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, compare, print the table."""
    parser = command_parser("compare", __doc__)
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN[,RUN...]",
        help="evaluated run folders; commas join the seeds of one recipe",
    )
    parser.add_argument(
        "--name",
        default="test",
        help="evaluation to compare: the folder RUN/eval/NAME (default: test)",
    )
    parser.add_argument(
        "--draws",
        type=int,
        default=5000,
        metavar="N",
        help="number of bootstrap draws (default: 5000)",
    )
    parser.add_argument(
        "--json", type=user_path, metavar="FILE", help="also write the numbers to FILE"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace FILE if it exists (default: refuse)"
    )
    args = parse(parser, argv)
    require_training_packages("compare")
    from smstune.files import refuse_to_overwrite, write_json

    if args.json:
        refuse_to_overwrite(args.json, [], overwrite=args.overwrite)
    from smstune.evaluation.comparison.compare import (
        compare_runs,
        comparison_table,
        comparison_title,
        first_run_labels,
    )
    from smstune.reporting.terminal import render_terminal
    from smstune.reporting.titles import table_with_titles

    comparison = compare_runs(args.runs, name=args.name, draws=args.draws)
    if args.json:
        write_json(args.json, comparison.to_json())
    shown_names = first_run_labels(args.runs).shown_names(reader_language())
    table = table_with_titles(comparison_table(comparison), shown_names)
    print(render_terminal(table, comparison_title(comparison)), end="")
