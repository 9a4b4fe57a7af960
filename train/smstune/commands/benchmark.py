"""Measure speed on this machine, as ratios within one run; keep its cores free meanwhile.

Examples:
  smstune benchmark train fbs14 model.name_or_path=PATH
  smstune benchmark inference runs/fbs14
  smstune benchmark server runs/fbs14
  smstune benchmark dedup fbs:FBS_SMS_Dataset nus:smsCorpus_zh_xml_2015.03.09.zip
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smstune.command import command
from smstune.commands.parser import command_parser, parse

Rows = Sequence[Mapping[str, Any]]

#: Columns of a table that does not go to a terminal: enough for every one of ours.
_FILE_WIDTH = 240


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, measure, print a table."""
    parser = command_parser("benchmark", __doc__)
    subject = parser.add_subparsers(dest="subject", required=True)
    train = subject.add_parser(
        "train", help="training, beside the stock example", allow_abbrev=False
    )
    train.add_argument("config", help="YAML file or shipped configuration")
    train.add_argument("overrides", nargs="*", metavar="key.path=value", help="change one key")
    train.add_argument(
        "--messages", type=int, default=960, metavar="N", help="messages to train on (960)"
    )
    train.set_defaults(measure=_training)
    inference = subject.add_parser(
        "inference", help="scoring, beside transformers' pipeline", allow_abbrev=False
    )
    inference.add_argument("run", type=Path, help="run folder")
    inference.add_argument(
        "--data", type=Path, metavar="FILE", help="messages to score (the run's test split)"
    )
    inference.set_defaults(measure=_inference)
    server = subject.add_parser(
        "server",
        help="a server under load, with held bodies and when it is stopped",
        allow_abbrev=False,
    )
    server.add_argument("run", type=Path, help="run folder")
    server.add_argument(
        "--data", type=Path, metavar="FILE", help="messages to send (the run's test split)"
    )
    server.add_argument(
        "--seconds", type=float, default=20, metavar="S", help="length of each load (20)"
    )
    server.add_argument(
        "--bodies", type=int, default=1500, metavar="N", help="bodies of 1 MiB to hold back (1500)"
    )
    server.set_defaults(measure=_server)
    dedup = subject.add_parser(
        "dedup", help="near-duplicate groups of mutated messages", allow_abbrev=False
    )
    dedup.add_argument("inputs", nargs="+", metavar="[SOURCE:]INPUT", help="messages to mutate")
    dedup.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        default=[10_000, 100_000, 1_000_000],
        metavar="N",
        help="how many messages, in rising order",
    )
    dedup.set_defaults(measure=_dedup)
    args = parse(parser, argv)
    tables: list[Rows] = args.measure(args)
    for rows in tables:
        _print(rows)


def _training(args: Namespace) -> list[Rows]:
    from smstune.config.loading import load_config
    from smstune.config.shipped import find_config

    config = load_config(find_config(args.config), args.overrides)
    from smstune.benchmark.training import benchmark_training

    return [benchmark_training(config, args.messages)]


def _inference(args: Namespace) -> list[Rows]:
    from smstune.inference.manifest import load_manifest

    load_manifest(args.run)
    from smstune.benchmark.inference import benchmark_inference

    return [benchmark_inference(args.run, args.data)]


def _server(args: Namespace) -> list[Rows]:
    from smstune.inference.manifest import load_manifest

    load_manifest(args.run)
    from smstune.benchmark.server import benchmark_server

    tables = benchmark_server(args.run, args.data, seconds=args.seconds, bodies=args.bodies)
    return list(tables)


def _dedup(args: Namespace) -> list[Rows]:
    from smstune.benchmark.grouping import (
        benchmark_dedup,
        read_texts,
        recall_against_brute_force,
    )

    texts = read_texts(args.inputs)
    return [benchmark_dedup(texts, args.sizes), [recall_against_brute_force(texts[:5000], 0.7)]]


def _print(rows: Rows) -> None:
    from rich.console import Console
    from rich.table import Table

    from smstune.reporting.format import show

    table = Table(*rows[0])
    for row in rows:
        table.add_row(*map(show, row.values()))
    console = Console()
    if not console.is_terminal:
        # rich takes a file for 80 columns wide and cuts what is longer.
        console.width = _FILE_WIDTH
    console.print(table)
