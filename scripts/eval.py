"""Evaluate a run on a split of its data or on a labelled file of your own.

python scripts/eval.py runs/fbs14 --robustness
python scripts/eval.py runs/fbs14 --data messages.csv --device cpu
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from train.command import command
from train.config import load_config
from train.data.sources import Columns
from train.evaluation.report import headline_table
from train.evaluation.run import evaluate_run
from train.modeling.artifact import load_manifest


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, evaluate, print the table and the path of metrics.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="run folder")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--split", choices=["validation", "test"], default=None)
    where.add_argument("--data", type=Path, help="labelled csv, tsv, jsonl or parquet")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--label-column", default="label")
    parser.add_argument("--robustness", action="store_true", help="run the evasion suite, too")
    args = parser.parse_args(argv)
    load_manifest(args.run)
    config = load_config(args.run / "config.yaml")
    section, augment = config.evaluation, config.data.augment
    if args.split:
        section = section.model_copy(update={"split": args.split})
    path = evaluate_run(
        args.run,
        section,
        data=args.data,
        device=args.device,
        columns=Columns(text=args.text_column, label=args.label_column),
        robustness=args.robustness,
        trained_on=augment.transforms if augment else (),
    )
    Console().print(headline_table(json.loads(path.read_text("utf-8"))))
    print(path.with_name("report.html"))
    print(path)


if __name__ == "__main__":
    sys.exit(main())
