"""Inspect outgoing messages: which are marketing, and which rules they break.

Examples:
  smstune audit runs/fbs14 outgoing.csv --output audits/november
  smstune audit runs/fbs14 outgoing.csv --output audits/gate --max-share no_opt_out=0.01
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smstune.command import command
from smstune.commands.parser import command_parser, parse
from smstune.commands.run_arguments import add_run_arguments, find_run, load_run

_COLUMNS = {
    "text": "the message",
    "sender": "who sent it",
    "recipient": "to whom; counted, never written",
    "time": "when it was sent",
    "consent": "whether the recipient agreed",
}


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, check, inspect, print the folder, keep the limits."""
    parser = command_parser("audit", __doc__)
    add_run_arguments(parser)
    parser.add_argument("input", type=Path, help="txt, csv, tsv, jsonl, parquet, or - for stdin")
    parser.add_argument("--output", type=Path, required=True, help="a new folder")
    for name, holds in _COLUMNS.items():
        parser.add_argument(
            f"--{name}-column", dest=name, metavar="NAME", help=f"column of {holds} ({name})"
        )
    parser.add_argument(
        "--marketing", metavar="LABEL[,LABEL...]", help="labels or parents that are marketing"
    )
    parser.add_argument("--rules", type=Path, help="YAML with changes to the shipped rules")
    parser.add_argument(
        "--max-share",
        nargs="+",
        default=[],
        metavar="RULE=SHARE",
        help="exit status 3 if a larger share of messages breaks the rule",
    )
    parser.add_argument(
        "--with-text", action="store_true", help="write the masked messages into findings.csv"
    )
    args = parse(parser, argv)
    folder, manifest = find_run(args)
    from smstune.deploy.audit.audit import audit, parse_limits, require_shares
    from smstune.deploy.audit.rules import load_rules
    from smstune.tables.columns import Columns
    from smstune.tables.read import check_table

    book = load_rules(args.rules)
    limits = parse_limits(args.max_share, book)
    named = {name: getattr(args, name) for name in _COLUMNS if getattr(args, name)}
    columns = {"text": "text"} | named
    check_table(args.input, Columns(text=columns["text"], labelled=False))
    result = audit(
        load_run(args, folder, manifest),
        args.input,
        args.output,
        book,
        columns=columns,
        marketing=args.marketing.split(",") if args.marketing else None,
        max_share=limits,
        with_text=args.with_text,
    )
    print(args.output)
    require_shares(result)
