"""Label messages with a run: txt, csv, tsv, jsonl, parquet or standard input.

python scripts/predict.py runs/fbs14 messages.csv labelled.csv
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
    parser.add_argument("input", type=Path, help="txt, csv, tsv, jsonl, parquet, or - for stdin")
    parser.add_argument("output", type=Path, help="csv, tsv, jsonl, parquet, or - for stdout")
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16", "fp16"], default="auto")
    args = parser.parse_args(argv)
    classifier = SmsClassifier.from_pretrained(
        args.run, device=args.device, precision=args.precision
    )
    score_file(classifier, args.input, args.output, text_column=args.text_column)
    if args.output != STANDARD:
        print(args.output)


if __name__ == "__main__":
    sys.exit(main())
