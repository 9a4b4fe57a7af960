"""Label every message of a file, keeping the order of the rows.

Reads txt, csv, tsv, jsonl (also .gz, .zst), parquet or standard input. From file to file, a stopped
command continues where it stopped when you run it again.

Examples:
  smstune predict runs/fbs14 messages.csv labelled.csv
  smstune predict runs/fbs14 messages.jsonl.zst labelled.parquet --workers 2
  echo 恭喜中奖，点击领取 | smstune predict runs/fbs14 - -
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smstune.command import command
from smstune.commands.parser import command_parser, parse
from smstune.commands.run_arguments import add_run_arguments, find_run, load_run


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, check the files, score, print the path of the output."""
    parser = command_parser("predict", __doc__)
    add_run_arguments(parser)
    parser.add_argument(
        "input", type=Path, help="txt, csv, tsv, jsonl (.gz, .zst), parquet; - for stdin"
    )
    parser.add_argument(
        "output", type=Path, help="csv, tsv, jsonl (.gz, .zst), parquet; - for jsonl on stdout"
    )
    parser.add_argument(
        "--text-column",
        default="text",
        metavar="NAME",
        help="column with the message (default: text)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="number of processes that share the work (default: 1)",
    )
    parser.add_argument(
        "--engine",
        choices=["local", "ray"],
        default="local",
        help="where to run: on this machine (local, the default) or on a Ray cluster",
    )
    args = parse(parser, argv)
    if args.workers < 1:
        parser.error(f"--workers must be at least 1, found {args.workers}")
    folder, manifest = find_run(args)
    from smstune.tables.columns import Columns
    from smstune.tables.read import STANDARD, check_table
    from smstune.tables.write import check_output

    check_output(args.output)
    columns = Columns(text=args.text_column, labelled=False)
    check_table(args.input, columns)
    classifier = load_run(args, folder, manifest)
    from smstune.deploy.batch.score_file import score_file

    score_file(
        classifier,
        args.input,
        args.output,
        columns=columns,
        workers=args.workers,
        engine=args.engine,
    )
    if args.output != STANDARD:
        print(args.output)
