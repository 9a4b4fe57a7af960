"""Arguments that several commands take."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from smstune.config.choices import BackendChoice, DeviceChoice, PrecisionChoice
from smstune.data.public.registry import PublicSet, download_set, find_set, load_registry
from smstune.data.readers.catalogue import SOURCES, Input, parse_input
from smstune.data.splits.assign import SplitChoice
from smstune.errors import UserError
from smstune.inference.classifier import SmsClassifier
from smstune.inference.labels import LabelMap
from smstune.tables.row import Columns


def prepare_parser(description: str | None) -> argparse.ArgumentParser:
    """Return the parser of scripts/prepare.py."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="*", metavar="[SOURCE:]INPUT", help=", ".join(SOURCES))
    parser.add_argument("--source", help="how to read inputs without a prefix")
    parser.add_argument("--labels", type=Path, help="YAML of source labels to target labels")
    parser.add_argument("--output", type=Path, help="folder to write")
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--label-column", default="label")
    parser.add_argument(
        "--test",
        action="append",
        default=[],
        metavar="[SOURCE:]INPUT",
        help="messages that are the test set, as they are",
    )
    parser.add_argument(
        "--split", choices=["group", "time", "source", "random", "folds"], default="group"
    )
    parser.add_argument("--held-out", metavar="SOURCE", help="test source of --split source")
    parser.add_argument("--folds", type=int, help="how many, of --split folds (5)")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument(
        "--keep-pii", action="store_true", help="do not mask personal information (not advised)"
    )
    parser.add_argument("--tokenizer", metavar="PATH", help="report lengths in its tokens")
    parser.add_argument("--max-length", type=int, default=128, help="in tokens, for the report")
    parser.add_argument("--find-label-errors", action="store_true", help="list doubtful labels")
    parser.add_argument("--check-pii", type=Path, metavar="FILE", help="scan FILE and end")
    parser.add_argument(
        "--download", action="append", default=[], metavar="NAME", help="fetch a public set first"
    )
    parser.add_argument("--accept-terms", action="append", default=[], metavar="NAME")
    return parser


def prepare_arguments(args: argparse.Namespace, registry_file: Path) -> dict[str, Any]:
    """Return the arguments of ``prepare`` for a parsed command line; downloads what it names.

    Raises:
        UserError: on a missing input or output, an unknown set, or terms not accepted.
    """
    registry = load_registry(registry_file)
    for name in args.accept_terms:
        find_set(registry, name)
    wanted = [find_set(registry, name) for name in args.download]
    if not (args.inputs or wanted) or args.output is None:
        raise UserError("expected an input and --output DIR: see --help")
    inputs = [parse_input(text, args.source) for text in args.inputs]
    inputs += [_fetched(item, args.accept_terms) for item in wanted]
    tests = [parse_input(text, args.source) for text in args.test]
    _check_tests(inputs, tests)
    return {
        "inputs": inputs,
        "tests": tests,
        "output": args.output,
        "labels": LabelMap.from_yaml(args.labels) if args.labels else None,
        "columns": Columns(text=args.text_column, label=args.label_column),
        "mask": not args.keep_pii,
        "split": _split_choice(args),
        "tokenizer": args.tokenizer,
        "max_length": args.max_length,
        "terms": [
            registry[item.source].terms() for item in [*inputs, *tests] if item.source in registry
        ],
    }


def _check_tests(inputs: list[Input], tests: list[Input]) -> None:
    seen = {item.path.resolve() for item in inputs}
    for item in tests:
        if item.path.resolve() in seen:
            raise UserError(
                f"expected a test set that is no other input, found {item.path} twice: name it once"
            )
        seen.add(item.path.resolve())


def _split_choice(args: argparse.Namespace) -> SplitChoice:
    if args.folds is not None and args.split != "folds":
        raise UserError(f"expected --folds with --split folds, found --split {args.split}")
    if args.find_label_errors and args.split == "folds":
        raise UserError(
            "expected --find-label-errors with one prepared folder, found --split folds: its folds "
            "hold the same messages; search them once, split by group"
        )
    folds = 5 if args.folds is None else args.folds
    return SplitChoice(args.split, args.held_out, folds, args.seed)


def _fetched(item: PublicSet, accepted: list[str]) -> Input:
    return parse_input(f"{item.format}:{download_set(item, Path('data'), accepted=accepted)}")


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run, and what computes its answers, to a command line."""
    parser.add_argument("run", help="run folder, published folder, or ORG/NAME on a hub")
    for name, choices in (
        ("--backend", BackendChoice),
        ("--device", DeviceChoice),
        ("--precision", PrecisionChoice),
    ):
        parser.add_argument(name, choices=get_args(choices), default="auto")


def load_run(arguments: argparse.Namespace) -> SmsClassifier:
    """Load what ``add_run_arguments`` asked for.

    Raises:
        UserError: if its parts do not belong together, or what is asked for is not there.
    """
    return SmsClassifier.from_pretrained(
        arguments.run,
        backend=arguments.backend,
        device=arguments.device,
        precision=arguments.precision,
    )


def eval_arguments(description: str | None, argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed command line of scripts/eval.py.

    Raises:
        UserError: if words do not go together.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("overrides", nargs="*", metavar="evaluation.key=value")
    parser.add_argument("--calibrate", action="store_true", help="first, on validation, once more")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--split", choices=["validation", "test"], default=None)
    where.add_argument("--data", type=Path, help="labelled csv, tsv, jsonl or parquet")
    where.add_argument(
        "--drift",
        metavar="[SOURCE:]NEW",
        help="messages that need no labels: how they differ from the split evaluation.split",
    )
    parser.add_argument("--backend", choices=["auto", "torch", "onnx"], default="auto")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--label-column", default="label")
    parser.add_argument("--robustness", action="store_true", help="run the evasion suite, too")
    parser.add_argument(
        "--explain", type=int, default=0, metavar="N", help="tokens behind N mistakes and N hits"
    )
    args = parser.parse_intermixed_args(argv)
    if args.explain < 0:
        raise UserError(f"--explain: expected a number of messages, found {args.explain}")
    if args.drift is not None and (args.robustness or args.explain):
        raise UserError("expected --robustness and --explain with labelled messages, found --drift")
    return args
