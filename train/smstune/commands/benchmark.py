"""Measure speed on this machine; run nothing else meanwhile, and compare ratios only.

Examples:
  smstune benchmark train fbs14 model.name_or_path=PATH
  smstune benchmark inference runs/fbs14
  smstune benchmark server runs/fbs14
  smstune benchmark memory prepared/fbs14
  smstune benchmark dedup fbs:FBS_SMS_Dataset nus:smsCorpus_zh_xml_2015.03.09.zip
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from smstune.command import command
from smstune.commands.parser import command_parser, parse
from smstune.errors import require_training_packages
from smstune.language import Message
from smstune.paths import user_path

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Rows = Sequence[DataclassInstance]

#: Characters of a table's line in a file, where nothing needs to wrap.
_FILE_WIDTH = 240


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, measure, print the tables."""
    parser = command_parser("benchmark", __doc__)
    subject = parser.add_subparsers(dest="subject", required=True)
    train = subject.add_parser(
        "train",
        help="training speed, compared with the transformers example script",
        allow_abbrev=False,
    )
    train.add_argument("config", help="YAML file or name of a shipped configuration")
    train.add_argument(
        "overrides", nargs="*", metavar="key.path=value", help="override keys of the configuration"
    )
    train.add_argument(
        "--messages",
        type=int,
        default=960,
        metavar="N",
        help="number of messages to train on (default: 960); fewer where a setup would take more "
        "than its share of ten minutes",
    )
    train.set_defaults(measure=_training)
    inference = subject.add_parser(
        "inference",
        help="scoring speed, compared with the transformers pipeline",
        allow_abbrev=False,
    )
    inference.add_argument("run", type=user_path, help="run folder")
    inference.add_argument(
        "--data",
        type=user_path,
        metavar="FILE",
        help="messages to score (default: the run's test split)",
    )
    inference.add_argument(
        "--messages",
        type=int,
        default=500,
        metavar="N",
        help="number of messages to score, a fixed random sample (default: 500)",
    )
    inference.set_defaults(measure=_inference)
    server = subject.add_parser(
        "server",
        help="a server under load, with slow uploads, and while it stops",
        allow_abbrev=False,
    )
    server.add_argument("run", type=user_path, help="run folder")
    server.add_argument(
        "--data",
        type=user_path,
        metavar="FILE",
        help="messages to send (default: the run's test split)",
    )
    server.add_argument(
        "--seconds",
        type=float,
        default=20,
        metavar="S",
        help="duration of each load test (default: 20)",
    )
    server.add_argument(
        "--bodies",
        type=int,
        default=1500,
        metavar="N",
        help="number of 1 MiB uploads that stop one byte short (default: 1500)",
    )
    server.set_defaults(measure=_server)
    dedup = subject.add_parser(
        "dedup",
        help="speed and recall of near-duplicate grouping on mutated messages",
        allow_abbrev=False,
    )
    dedup.add_argument("inputs", nargs="+", metavar="[SOURCE:]INPUT", help="messages to mutate")
    dedup.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        default=[10_000, 100_000, 1_000_000],
        metavar="N",
        help="numbers of messages to group, in rising order (default: 10000 100000 1000000)",
    )
    dedup.set_defaults(measure=_dedup)
    memory = subject.add_parser(
        "memory",
        help="speed of a memory's look-up, and what a few reports of each label find",
        allow_abbrev=False,
    )
    memory.add_argument("prepared", type=user_path, help="prepared folder")
    memory.add_argument(
        "--known",
        type=int,
        default=1_000_000,
        metavar="N",
        help="number of remembered messages, mutated from the folder's (default: 1000000)",
    )
    memory.set_defaults(measure=_memory)
    args = parse(parser, argv, subcommands=True)
    require_training_packages("benchmark")
    if args.subject in ("train", "inference") and args.messages < 1:
        parser.error(
            Message("--messages must be at least 1, found {messages}", messages=args.messages)
        )
    from smstune.benchmark.processes import sigterm_raises

    with sigterm_raises():
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
    from smstune.benchmark.startup import benchmark_startup

    return [benchmark_inference(args.run, args.data, args.messages), benchmark_startup(args.run)]


def _server(args: Namespace) -> list[Rows]:
    from smstune.inference.manifest import load_manifest

    load_manifest(args.run)
    from smstune.benchmark.server import benchmark_server

    speeds = benchmark_server(args.run, args.data, seconds=args.seconds, bodies=args.bodies)
    return [speeds.loads, [speeds.held_bodies], speeds.stops]


def _dedup(args: Namespace) -> list[Rows]:
    from smstune.benchmark.grouping import (
        benchmark_grouping,
        read_texts,
        recall_against_brute_force,
    )

    texts = read_texts(args.inputs)
    return [benchmark_grouping(texts, args.sizes), [recall_against_brute_force(texts[:5000], 0.7)]]


def _memory(args: Namespace) -> list[Rows]:
    from smstune.benchmark.memory import benchmark_lookup, read_prepared, recall_of_reports

    texts, *_ = read_prepared(args.prepared)
    shares = [*recall_of_reports(args.prepared, 0.7), *recall_of_reports(args.prepared, 0.5)]
    return [shares, [benchmark_lookup(texts, args.known)]]


def _print(rows: Rows) -> None:
    from smstune.inference.backends.processor import instruction_sets, processor_name
    from smstune.reporting.document import Table
    from smstune.reporting.terminal import COLUMNS, render_terminal

    names = [field.name for field in fields(rows[0])]
    head = [name.replace("_", " ") for name in names]
    cells = [[getattr(row, name) for name in names] for row in rows]
    columns = COLUMNS if sys.stdout.isatty() else _FILE_WIDTH
    print(render_terminal(Table(head, cells), columns=columns), end="")
    # A copied table says where it was measured.
    print(", ".join([processor_name(), *instruction_sets()]))
