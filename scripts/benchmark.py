"""Measure speed on this machine, as ratios within one run; keep the cores free meanwhile.

python scripts/benchmark.py train configs/fbs14.yaml model.name_or_path=PATH
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from train.command import command
from train.config import load_config
from train.page import show
from train.training.benchmark import benchmark_training


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, measure, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["train"])
    parser.add_argument("config", help="YAML file")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value")
    parser.add_argument("--messages", type=int, default=960, help="how many messages to train on")
    args = parser.parse_args(argv)
    rows = benchmark_training(load_config(args.config, args.overrides), args.messages)
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*map(show, row.values()))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
