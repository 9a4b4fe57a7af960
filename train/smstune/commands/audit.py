"""Check outgoing messages: which are marketing, and which rules they may break.

Examples:
  smstune audit runs/fbs14 outgoing.csv --output audits/november
  smstune audit runs/fbs14 outgoing.csv --output audits/gate --max-share no_opt_out=0.01
"""

from __future__ import annotations

from collections.abc import Sequence

from smstune.command import command
from smstune.commands.parser import command_parser, parse
from smstune.commands.run_arguments import add_run_arguments, find_run, load_run
from smstune.paths import user_path

_COLUMNS = {
    "text": "the message",
    "sender": "the sender",
    "recipient": "the recipient, counted but never written to the output",
    "time": "the time of sending",
    "consent": "whether the recipient consented",
}


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, check the input, audit, print the output folder, enforce the limits."""
    parser = command_parser("audit", __doc__)
    add_run_arguments(parser)
    parser.add_argument(
        "input", type=user_path, help="messages: txt, csv, tsv, jsonl, parquet, or - for stdin"
    )
    parser.add_argument("--output", type=user_path, required=True, help="folder to create")
    for name, content in _COLUMNS.items():
        parser.add_argument(
            f"--{name}-column",
            dest=name,
            metavar="NAME",
            help=f"column with {content} (default: {name})",
        )
    parser.add_argument(
        "--marketing",
        metavar="LABEL[,LABEL...]",
        help="labels or parent labels that count as marketing (default: marketing or AD)",
    )
    parser.add_argument("--rules", type=user_path, help="YAML file that overrides shipped rules")
    parser.add_argument(
        "--max-share",
        nargs="+",
        default=[],
        metavar="RULE=SHARE",
        help="exit with status 3 if a larger share of messages hits the rule",
    )
    parser.add_argument(
        "--with-text", action="store_true", help="include the masked messages in findings.csv"
    )
    args = parse(parser, argv)
    folder, manifest = find_run(args)
    from smstune.deploy.audit.audit import audit, parse_limits, require_shares
    from smstune.deploy.audit.rules import apply_rules, load_rules
    from smstune.tables.columns import Columns
    from smstune.tables.read import check_table

    book = load_rules(args.rules)
    limits = parse_limits(args.max_share, book)
    renamed = {name: getattr(args, name) for name in _COLUMNS if getattr(args, name)}
    columns = {"text": "text"} | renamed
    check_table(args.input, Columns(text=columns["text"], labelled=False))
    classifier = load_run(args, folder, manifest)
    marketing = args.marketing.split(",") if args.marketing else None
    rules = apply_rules(book, classifier.labels, marketing=marketing, max_share=limits)
    counts = audit(
        classifier, args.input, args.output, rules, columns=columns, with_text=args.with_text
    )
    print(args.output)
    require_shares(counts)
