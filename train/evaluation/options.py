"""The command line of scripts/eval.py, and what its words mean."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from train.command import UserError


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
