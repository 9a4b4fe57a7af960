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

from train.command import command
from train.deploy.batch import score_file
from train.deploy.tables import STANDARD
from train.modeling.classifier import SmsClassifier


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, score, print the output's path."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("input", type=Path, help="txt, csv, tsv, jsonl (.gz, .zst), parquet, or -")
    parser.add_argument("output", type=Path, help="csv, tsv, jsonl (.gz, .zst), parquet, or -")
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16", "fp16"], default="auto")
    parser.add_argument("--workers", type=int, default=1, help="processes that share the work")
    parser.add_argument("--engine", choices=["local", "ray"], default="local")
    args = parser.parse_args(argv)
    if args.workers < 1:
        parser.error(f"--workers: expected 1 or more, found {args.workers}")
    classifier = SmsClassifier.from_pretrained(
        args.run, device=args.device, precision=args.precision
    )
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
