r"""Evaluate a run on a split of its data or on a labelled file; measure drift on any other.

python scripts/eval.py runs/fbs14 --robustness --explain 5
python scripts/eval.py runs/fbs14 --data messages.csv --device cpu --backend onnx
python scripts/eval.py runs/fbs14 --drift november.csv
python scripts/eval.py runs/fbs14 --calibrate \
    "evaluation.operating_points={stop: {labels: [FR, IL], max_false_positive_rate: 0.01}}"
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from rich.console import Console

from smstune.command import command
from smstune.commands.run_arguments import eval_arguments
from smstune.evaluation.calibration.fit import calibrate_run
from smstune.evaluation.drift.measure import measure_drift
from smstune.evaluation.report.report import headline_table
from smstune.evaluation.run import evaluate_run
from smstune.evaluation.scores.gates import require_gates
from smstune.inference.run import evaluation_section
from smstune.tables.row import Columns


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, evaluate, print the table and the path of metrics.json."""
    args = eval_arguments(__doc__, argv)
    section = evaluation_section(args.run, args.overrides)
    if args.split:
        section = section.model_copy(update={"split": args.split})
    if args.calibrate:
        calibrate_run(args.run, section, device=args.device)
    columns = Columns(text=args.text_column, label=args.label_column)
    how = {"backend": args.backend, "device": args.device, "columns": columns}
    if args.drift is not None:
        path = measure_drift(args.run, section, args.drift, **how)
        print(path.with_suffix(".html"))
        print(path)
        return
    how |= {"data": args.data, "robustness": args.robustness, "explain": args.explain}
    path = evaluate_run(args.run, section, **how)
    metrics = json.loads(path.read_text("utf-8"))
    Console().print(headline_table(metrics))
    print(path.with_name("report.html"))
    print(path)
    require_gates(metrics)


if __name__ == "__main__":
    sys.exit(main())
