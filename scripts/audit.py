"""Inspect outgoing messages: which are marketing, and which rules they hit.

python scripts/audit.py runs/fbs14 outgoing.csv --output audits/november
python scripts/audit.py runs/fbs14 outgoing.csv --output audits/gate --max-share no_opt_out=0.01
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from smstune.command import command
from smstune.commands.run_arguments import add_run_arguments, load_run
from smstune.deploy.audit.audit import audit, parse_limits, require_shares
from smstune.deploy.audit.rules import load_rules


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, inspect, print the folder, keep the limits."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_run_arguments(parser)
    parser.add_argument("input", type=Path, help="txt, csv, tsv, jsonl, parquet, or - for stdin")
    parser.add_argument("--output", type=Path, required=True, help="a new folder")
    for name in ("text", "sender", "recipient", "time", "consent"):
        parser.add_argument(f"--{name}-column", dest=name, metavar="NAME", help=f"default {name}")
    parser.add_argument("--marketing", metavar="LABEL[,LABEL...]", help="labels or parents")
    parser.add_argument("--rules", type=Path, help="a YAML with what changes in the shipped rules")
    parser.add_argument(
        "--max-share", nargs="+", default=[], metavar="RULE=SHARE", help="above it: status 3"
    )
    parser.add_argument("--with-text", action="store_true", help="masked messages in findings.csv")
    args = parser.parse_args(argv)
    book = load_rules(args.rules)
    limits = parse_limits(args.max_share, book)
    given = {
        name: getattr(args, name) for name in ("text", "sender", "recipient", "time", "consent")
    }
    columns = {"text": "text"} | {name: value for name, value in given.items() if value}
    marketing = args.marketing.split(",") if args.marketing else None
    classifier = load_run(args)
    result = audit(
        classifier, args.input, args.output, book, columns=columns, marketing=marketing,
        max_share=limits, with_text=args.with_text,
    )  # fmt: skip
    print(args.output)
    require_shares(result)


if __name__ == "__main__":
    sys.exit(main())
