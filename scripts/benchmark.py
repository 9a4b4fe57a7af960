"""Measure speed on this machine, as ratios within one run; keep the cores free meanwhile.

python scripts/benchmark.py train configs/fbs14.yaml model.name_or_path=PATH
python scripts/benchmark.py inference runs/fbs14
python scripts/benchmark.py dedup fbs:FBS_SMS_Dataset nus:smsCorpus_zh_xml_2015.03.09.zip
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

import rich
from rich.table import Table

from smstune.benchmark.grouping import benchmark_dedup, read_texts, recall_against_brute_force
from smstune.benchmark.inference import benchmark_inference
from smstune.benchmark.training import benchmark_training
from smstune.command import command
from smstune.config.loading import load_config
from smstune.reporting.format import show


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, measure, print a table."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    train = what.add_parser("train", help="training, beside the stock example")
    train.add_argument("config")
    train.add_argument("overrides", nargs="*", metavar="key.path=value")
    train.add_argument("--messages", type=int, default=960, help="how many to train on")
    inference = what.add_parser("inference", help="scoring, beside transformers' pipeline")
    inference.add_argument("run", type=Path)
    inference.add_argument("--data", type=Path, help="messages; the run's test split without")
    dedup = what.add_parser("dedup", help="near-duplicate groups of mutated messages")
    dedup.add_argument("inputs", nargs="+", metavar="[SOURCE:]INPUT", help="messages to mutate")
    dedup.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    args = parser.parse_args(argv)
    if args.what == "train":
        _print(benchmark_training(load_config(args.config, args.overrides), args.messages))
    elif args.what == "inference":
        _print(benchmark_inference(args.run, args.data))
    else:
        texts = read_texts(args.inputs)
        _print(benchmark_dedup(texts, args.sizes))
        _print([recall_against_brute_force(texts[:5000], 0.7)])


def _print(rows: Sequence[dict[str, object]]) -> None:
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*map(show, row.values()))
    rich.print(table)


if __name__ == "__main__":
    sys.exit(main())
