"""Choose unlabelled messages that are worth labelling next, and write a sheet to fill in.

Takes messages that the run is unsure of, one per campaign, spread over topics. They are masked and
come with the run's answer. Fill in the column `label` and give the file to `smstune prepare`.

Examples:
  smstune suggest runs/mine pool.xlsx --number 100 --output sheet.xlsx
  smstune suggest runs/mine pool.csv --output tasks.json     # tasks of Label Studio
  smstune suggest runs/mine pool.csv --output tasks.jsonl    # doccano
"""

from __future__ import annotations

from collections.abc import Sequence

from smstune.command import command
from smstune.commands.parser import command_parser, parse
from smstune.commands.run_arguments import add_run_arguments, find_run, load_run
from smstune.commands.table_arguments import add_table_arguments, table_options
from smstune.errors import require_training_packages
from smstune.language import Message
from smstune.paths import user_path


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, check the files, choose, print the path of the sheet."""
    parser = command_parser("suggest", __doc__)
    add_run_arguments(parser)
    parser.add_argument(
        "pool", type=user_path, help="unlabelled messages: any file that predict reads"
    )
    parser.add_argument(
        "--output",
        type=user_path,
        required=True,
        metavar="FILE",
        help=".xlsx, .csv or .tsv: a sheet; .json: tasks of Label Studio; .jsonl: doccano",
    )
    parser.add_argument(
        "--number", type=int, default=100, metavar="N", help="how many messages (default: 100)"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace FILE if it exists (default: refuse)"
    )
    add_table_arguments(parser, ["text"])
    args = parse(parser, argv)
    if args.number < 1:
        parser.error(Message("--number must be at least 1, found {number}", number=args.number))
    require_training_packages("suggest")
    from smstune.deploy.suggest.suggest import check_suggestions, suggest, write_suggestions
    from smstune.files import refuse_to_overwrite
    from smstune.tables.read import check_table

    check_suggestions(args.output)
    refuse_to_overwrite(args.output, [args.pool], overwrite=args.overwrite)
    options = table_options(args, labelled=False)
    folder, manifest = find_run(args)
    check_table(args.pool, options)
    classifier = load_run(args, folder, manifest)
    write_suggestions(suggest(classifier, args.pool, options, args.number), args.output)
    print(args.output)
