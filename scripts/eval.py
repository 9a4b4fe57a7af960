r"""Evaluate a run on a split of its data or on a labelled file of your own.

python scripts/eval.py runs/fbs14 --robustness
python scripts/eval.py runs/fbs14 --data messages.csv --device cpu
python scripts/eval.py runs/fbs14 --calibrate \
    "evaluation.operating_points={stop: {labels: [FR, IL], max_false_positive_rate: 0.01}}"
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from train.command import command
from train.data.sources import Columns
from train.evaluation.calibration import calibrate_run
from train.evaluation.report import headline_table
from train.evaluation.run import evaluate_run, evaluation_section, require_gates


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, evaluate, print the table and the path of metrics.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("overrides", nargs="*", metavar="evaluation.key=value")
    parser.add_argument("--calibrate", action="store_true", help="first, on validation, once more")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--split", choices=["validation", "test"], default=None)
    where.add_argument("--data", type=Path, help="labelled csv, tsv, jsonl or parquet")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--label-column", default="label")
    parser.add_argument("--robustness", action="store_true", help="run the evasion suite, too")
    args = parser.parse_intermixed_args(argv)
    section = evaluation_section(args.run, args.overrides)
    if args.split:
        section = section.model_copy(update={"split": args.split})
    if args.calibrate:
        calibrate_run(args.run, section, device=args.device)
    columns = Columns(text=args.text_column, label=args.label_column)
    how = {"device": args.device, "columns": columns, "robustness": args.robustness}
    path = evaluate_run(args.run, section, data=args.data, **how)
    metrics = json.loads(path.read_text("utf-8"))
    Console().print(headline_table(metrics))
    print(path.with_name("report.html"))
    print(path)
    require_gates(metrics)


if __name__ == "__main__":
    sys.exit(main())
