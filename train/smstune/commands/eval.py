r"""Evaluate a run on a split of its data or on a labelled file, or measure drift on new messages.

Examples:
  smstune eval runs/fbs14 --robustness --explain 5
  smstune eval runs/fbs14 --data messages.csv --device cpu --backend onnx
  smstune eval runs/fbs14 --drift november.csv evaluation.max_drift=0.25
  smstune eval runs/fbs14 --calibrate \
      "evaluation.operating_points={stop: {labels: [FR, IL], max_false_positive_rate: 0.01}}"
  smstune eval runs/fbs14 --calibrate evaluation.cascade={}
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smstune.command import command
from smstune.commands.parser import command_parser, parse
from smstune.commands.run_arguments import add_backend_arguments
from smstune.commands.table_arguments import add_table_arguments, table_options
from smstune.errors import UserError, require_training_packages
from smstune.language import Message, reader_language
from smstune.paths import user_path

if TYPE_CHECKING:
    from smstune.config.schema import Config
    from smstune.inference.classifier import SmsClassifier
    from smstune.inference.manifest import Manifest
    from smstune.tables.options import TableOptions


def evaluate(run: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Evaluate a run and return the content of ``metrics.json``.

    ``overrides`` have the form ``evaluation.key=value``.

    Raises:
        UserError: if the run, its data and the overrides do not fit each other.
    """
    from smstune.inference.manifest import load_manifest
    from smstune.inference.run_config import run_config

    manifest = load_manifest(Path(run))
    config = run_config(Path(run), manifest, "evaluation", overrides)
    from smstune.evaluation.run import evaluate_run
    from smstune.inference.classifier import SmsClassifier

    path = evaluate_run(SmsClassifier.from_run(Path(run), manifest), config)
    metrics: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return metrics


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, check, evaluate, print the table and the path of metrics.json."""
    args = parse(_parser(), argv)
    require_training_packages("eval")
    if args.explain < 0:
        raise UserError(
            "--explain must be 0 or more messages, found {explain}", explain=args.explain
        )
    if args.drift is not None and (args.robustness or args.explain):
        raise UserError("--robustness and --explain need labelled messages: remove --drift")
    from smstune.inference.manifest import load_manifest
    from smstune.inference.run_config import run_config

    manifest = load_manifest(args.run)
    config = run_config(args.run, manifest, "evaluation", args.overrides)
    if args.split:
        section = config.evaluation.model_copy(update={"split": args.split})
        config = config.model_copy(update={"evaluation": section})
    options = table_options(args, labelled=args.drift is None)
    _check_messages(args, options, Path(manifest.data.path), config.evaluation.split)
    classifier = _load(args, manifest, config)
    if args.drift is not None:
        from smstune.evaluation.drift.measure import measure_drift
        from smstune.evaluation.drift.results import Drift
        from smstune.evaluation.drift.stability import require_stability

        path = measure_drift(classifier, config.evaluation, args.drift, options=options)
        print(path.with_suffix(".html"))
        print(path)
        drift = Drift.model_validate_json(path.read_bytes())
        require_stability(drift.psi, config.evaluation.max_drift)
        return
    from smstune.evaluation.evaluated import set_name
    from smstune.evaluation.metrics import Metrics
    from smstune.evaluation.report.report import headline_table
    from smstune.evaluation.run import evaluate_run
    from smstune.evaluation.scores.gates import require_gates
    from smstune.reporting.terminal import render_terminal
    from smstune.reporting.titles import table_with_titles

    path = evaluate_run(
        classifier,
        config,
        data=args.data,
        options=options,
        robustness=args.robustness,
        explain=args.explain,
    )
    metrics = Metrics.model_validate_json(path.read_bytes())
    title = Message(
        "{set_name} ({n_messages:,} messages)",
        set_name=set_name(metrics.split),
        n_messages=metrics.n,
    )
    shown_names = classifier.labels.shown_names(reader_language())
    table = table_with_titles(headline_table(metrics), shown_names)
    print(render_terminal(table, title), end="")
    print(path.with_name("report.html"))
    print(path)
    require_gates(metrics.gates)


def _load(args: argparse.Namespace, manifest: Manifest, config: Config) -> SmsClassifier:
    """Load the run; with ``--calibrate`` fit its calibration again first."""
    from smstune.inference.classifier import SmsClassifier

    load = functools.partial(SmsClassifier.from_run, args.run, device=args.device)
    if not args.calibrate:
        return load(manifest, backend=args.backend)
    from smstune.deploy.export.calibrate import calibrate_run
    from smstune.inference.backends.pick import pick_backend

    classifier = load(manifest, backend="torch")
    manifest = calibrate_run(classifier, config.evaluation, config.export)
    chosen, _ = pick_backend(
        args.run, manifest, classifier.device, args.backend, "auto", has_weights=True
    )
    return (
        classifier.with_manifest(manifest)
        if chosen == "torch"
        else load(manifest, backend=args.backend)
    )


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("eval", __doc__)
    parser.add_argument("run", type=user_path, help="run folder")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="evaluation.key=value",
        help="override keys of the section evaluation",
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="first fit temperature, cascade and operating points again on the validation split, "
        "for the run and each exported form, and store them",
    )
    messages = parser.add_mutually_exclusive_group()
    messages.add_argument(
        "--split",
        choices=["validation", "test"],
        help="split of the run's own data to evaluate on (default: evaluation.split, test)",
    )
    messages.add_argument(
        "--data",
        type=user_path,
        metavar="FILE",
        help="evaluate on this labelled csv, tsv, jsonl, xlsx, xls, ods or parquet file instead",
    )
    messages.add_argument(
        "--drift",
        metavar="[SOURCE:]NEW",
        help="compare new messages, labelled or not, with a split of the run's own data",
    )
    add_backend_arguments(parser)
    add_table_arguments(parser, ["text", "label", "time", "group"])
    parser.add_argument(
        "--robustness",
        action="store_true",
        help="also measure how far the scores fall when spam is written in disguise",
    )
    parser.add_argument(
        "--explain",
        type=int,
        default=0,
        metavar="N",
        help="highlight the words that led to N wrong and N right answers",
    )
    return parser


def _check_messages(
    args: argparse.Namespace, options: TableOptions, prepared: Path, split: str
) -> None:
    """Check that the messages exist and have the columns that will be read."""
    from smstune.data.prepared import split_file
    from smstune.data.readers.catalogue import check_input, parse_input

    name = args.data if args.drift is None else args.drift
    if name is None or args.drift is not None:
        split_file(prepared, split)
    if name is not None:
        check_input(parse_input(str(name)), options)
