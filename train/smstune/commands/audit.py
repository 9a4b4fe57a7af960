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
from smstune.commands.table_arguments import add_table_arguments, table_options
from smstune.paths import user_path

_ROLES = ("text", "sender", "recipient", "time", "consent")


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, check the input, audit, print the output folder, enforce the limits."""
    parser = command_parser("audit", __doc__)
    add_run_arguments(parser)
    parser.add_argument(
        "input",
        type=user_path,
        help="messages: txt, csv, tsv, jsonl, xlsx, parquet, or - for stdin",
    )
    parser.add_argument("--output", type=user_path, required=True, help="folder to create")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the audit in --output, if there is one (default: refuse)",
    )
    add_table_arguments(parser, _ROLES)
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
    from smstune.deploy.audit.audit import (
        AuditInput,
        audit,
        check_folder,
        parse_limits,
        require_shares,
    )
    from smstune.deploy.audit.rules import apply_rules, load_rules
    from smstune.tables.read import check_table

    check_folder(args.output, args.input, overwrite=args.overwrite)
    folder, manifest = find_run(args)
    book = load_rules(args.rules)
    limits = parse_limits(args.max_share, book)
    columns = {role: getattr(args, f"{role}_column") for role in _ROLES}
    source = AuditInput(
        args.input,
        table_options(args, labelled=False),
        {role: name for role, name in columns.items() if name is not None},
    )
    check_table(source.path, source.options)
    classifier = load_run(args, folder, manifest)
    marketing = args.marketing.split(",") if args.marketing else None
    rules = apply_rules(book, classifier.labels, marketing=marketing, max_share=limits)
    counts = audit(classifier, source, args.output, rules, with_text=args.with_text)
    print(args.output)
    require_shares(counts)
