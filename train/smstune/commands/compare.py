"""Compare evaluated runs with the first one.

Join runs that differ only in their seed by commas: A,B,C. Alone, they give mean and spread.

Examples:
  smstune compare runs/last_month runs/this_month
  smstune compare runs/plain-1,runs/plain-2,runs/plain-3 --format latex
  smstune compare runs/plain-1,runs/plain-2 runs/lora-1,runs/lora-2 --json lora.json
"""

from __future__ import annotations

from collections.abc import Sequence

from smstune.command import command
from smstune.commands.parser import command_parser, parse
from smstune.errors import require_training_packages
from smstune.language import reader_language
from smstune.paths import user_path
from smstune.reporting.csv import render_csv
from smstune.reporting.document import Table
from smstune.reporting.latex import render_latex
from smstune.reporting.markdown import table_lines
from smstune.reporting.terminal import render_terminal


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
    parser.add_argument(
        "--format",
        choices=["terminal", "markdown", "latex", "csv"],
        default="terminal",
        help="how to print the table (default: terminal)",
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
    from smstune.evaluation.comparison.spread import spread_of_runs, spread_table, spread_title
    from smstune.reporting.titles import table_with_titles

    if len(args.runs) == 1:
        spread = spread_of_runs(args.runs[0], name=args.name, draws=args.draws)
        numbers, table, title = spread.to_json(), spread_table(spread), spread_title(spread)
    else:
        comparison = compare_runs(args.runs, name=args.name, draws=args.draws)
        numbers, table = comparison.to_json(), comparison_table(comparison)
        title = comparison_title(comparison)
    if args.json:
        write_json(args.json, numbers)
    shown_names = first_run_labels(args.runs).shown_names(reader_language())
    print(_rendered(table_with_titles(table, shown_names), title, args.format), end="")


def _rendered(table: Table, title: str, form: str) -> str:
    """Return a table as text; only the terminal's has the title, the others are to be pasted."""
    if form == "markdown":
        return "\n".join(table_lines(table))
    if form == "latex":
        return render_latex(table)
    return render_csv(table) if form == "csv" else render_terminal(table, title)
