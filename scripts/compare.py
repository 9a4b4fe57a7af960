"""Compare evaluated runs with the first one; runs of one recipe that differ in seed as A,B,C.

python scripts/compare.py runs/last_month runs/this_month
python scripts/compare.py runs/plain-1,runs/plain-2 runs/lora-1,runs/lora-2 --json lora.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from smstune.command import command
from smstune.evaluation.comparison.compare import compare_runs, comparison_table
from smstune.files import file_written_whole


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, compare, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="RUN[,RUN...]", help="evaluated run folders")
    parser.add_argument("--name", default="test", help="which evaluation: RUN/eval/NAME")
    parser.add_argument("--draws", type=int, default=5000, help="of the bootstrap")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers, too")
    args = parser.parse_args(argv)
    found = compare_runs(args.runs, name=args.name, draws=args.draws)
    if args.json:
        with file_written_whole(args.json) as path:
            path.write_text(json.dumps(found, ensure_ascii=False, indent=2, allow_nan=False) + "\n")
    Console().print(comparison_table(found))


if __name__ == "__main__":
    sys.exit(main())
