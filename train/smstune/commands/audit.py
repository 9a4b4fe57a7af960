"""Check outgoing messages: which are marketing, and which rules they may break.

Examples:
  smstune audit runs/fbs14 outgoing.csv --output audits/november
  smstune audit runs/fbs14 outgoing.csv --output audits/gate --max-share no_opt_out=0.01
  smstune audit runs/fbs14 outgoing.csv --output audits/proof --ledger consents.xlsx
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smstune.command import command
from smstune.commands.parser import command_parser, parse
from smstune.commands.run_arguments import add_run_arguments, find_run, load_run
from smstune.commands.table_arguments import add_table_arguments, table_options
from smstune.paths import user_path

_ROLES = ("text", "sender", "recipient", "time", "consent", "consent_id", "content_type")


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
        "--ledger",
        type=user_path,
        help="table of consents (recipient or consent id, time given, and what they cover), to "
        "which each marketing message is traced (default: none)",
    )
    parser.add_argument(
        "--opt-outs",
        type=user_path,
        metavar="FILE",
        help="table of recipients who have opted out, with the time and perhaps their reply "
        "(default: none)",
    )
    parser.add_argument(
        "--with-text", action="store_true", help="include the masked messages in the findings"
    )
    parser.add_argument(
        "--excel",
        action="store_true",
        help="write findings and evidence as workbooks (.xlsx) instead of csv",
    )
    args = parse(parser, argv)
    from smstune.deploy.audit.audit import (
        AuditInput,
        AuditOutput,
        audit,
        check_folder,
        parse_limits,
        require_shares,
    )
    from smstune.deploy.audit.ledger import read_consents
    from smstune.deploy.audit.rules import apply_rules, load_rules
    from smstune.tables.read import check_table
    from smstune.tables.write import OutputTable, check_rows_fit

    lists = [path for path in (args.ledger, args.opt_outs) if path is not None]
    check_folder(args.output, [args.input, *lists], overwrite=args.overwrite)
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
    output = AuditOutput(args.output, args.with_text, args.excel)
    check_rows_fit(source.path, source.options, OutputTable(Path(output.table("findings"))))
    records = read_consents(args.ledger, args.opt_outs) if lists else None
    classifier = load_run(args, folder, manifest)
    marketing = args.marketing.split(",") if args.marketing else None
    rules = apply_rules(book, classifier.labels, marketing=marketing, max_share=limits)
    counts = audit(classifier, source, output, rules, records)
    print(args.output)
    require_shares(counts)
