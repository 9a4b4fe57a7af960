"""Label messages with a run: txt, csv, tsv, jsonl, parquet or standard input; .gz and .zst too.

Stopped or killed, the same command goes on where it was.

python scripts/predict.py runs/fbs14 messages.csv labelled.csv
python scripts/predict.py runs/fbs14 messages.jsonl.zst labelled.parquet --workers 2
echo 恭喜中奖，点击领取 | python scripts/predict.py runs/fbs14 - -
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from smstune.command import command
from smstune.commands.run_arguments import add_run_arguments, load_run
from smstune.deploy.batch.score_file import score_file
from smstune.tables.read import STANDARD


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, score, print the output's path."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_run_arguments(parser)
    parser.add_argument("input", type=Path, help="txt, csv, tsv, jsonl (.gz, .zst), parquet, or -")
    parser.add_argument("output", type=Path, help="csv, tsv, jsonl (.gz, .zst), parquet, or -")
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--workers", type=int, default=1, help="processes that share the work")
    parser.add_argument("--engine", choices=["local", "ray"], default="local")
    args = parser.parse_args(argv)
    if args.workers < 1:
        parser.error(f"--workers: expected 1 or more, found {args.workers}")
    classifier = load_run(args)
    score_file(
        classifier,
        args.input,
        args.output,
        text_column=args.text_column,
        workers=args.workers,
        engine=args.engine,
    )
    if args.output != STANDARD:
        print(args.output)


if __name__ == "__main__":
    sys.exit(main())
