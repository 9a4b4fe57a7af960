"""Propose thresholds for new messages without labels, and move them once labels certify them.

Estimates the mix of labels among the new messages, tests whether a mix of the labels fits them at
all, and writes a sheet of drawn messages. Fill in its column `label` and certify it: a threshold
moves only if the labels show that its budget is kept.

Examples:
  smstune recalibrate runs/mine november.csv --output sheet.xlsx
  smstune recalibrate runs/mine --certify sheet.xlsx
  smstune recalibrate runs/mine --undo
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from smstune.command import command
from smstune.commands.parser import command_parser, parse
from smstune.commands.run_arguments import add_backend_arguments
from smstune.commands.table_arguments import add_table_arguments, table_options
from smstune.errors import GateError, UserError, require_training_packages
from smstune.language import Message, joined, translated
from smstune.paths import user_path

if TYPE_CHECKING:
    from smstune.config.choices import BackendChoice, PrecisionChoice
    from smstune.inference.classifier import SmsClassifier
    from smstune.inference.manifest import Manifest


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, then propose and write a sheet, or certify one, or undo the last certificate."""
    args = parse(_parser(), argv)
    if sum(choice is not None for choice in (args.new, args.certify, args.undo or None)) != 1:
        raise UserError("give new messages (NEW), --certify SHEET or --undo")
    if (args.new is None) != (args.output is None):
        raise UserError("--output and new messages go together")
    require_training_packages("recalibrate")
    from smstune.inference.manifest import load_manifest

    manifest = load_manifest(args.run)
    if args.new is not None:
        _propose(args, manifest)
    elif args.certify is not None:
        _certify(args, manifest)
    else:
        _undo(args, manifest)


def _propose(args: argparse.Namespace, manifest: Manifest) -> None:
    """Print the estimates, write the sheet and print its path."""
    from smstune.data.prepared import split_file
    from smstune.data.readers.catalogue import check_input, parse_input
    from smstune.evaluation.recalibration.draw import (
        FEWEST,
        MOST,
        draw_points,
        estimate_new,
        make_sheet,
    )
    from smstune.evaluation.recalibration.sheet import check_sheet_name, write_sheet
    from smstune.evaluation.recalibration.tables import (
        fit_sentence,
        mix_table,
        proposal_table,
        reason_for_no_campaigns,
    )
    from smstune.files import refuse_to_overwrite
    from smstune.reporting.terminal import render_terminal

    if not FEWEST <= args.number <= MOST:
        raise UserError(
            "--number must be from {fewest} to {most}, found {number}",
            fewest=FEWEST,
            most=MOST,
            number=args.number,
        )
    check_sheet_name(args.output)
    source = parse_input(args.new)
    refuse_to_overwrite(args.output, [source.path], overwrite=args.overwrite)
    split_file(Path(manifest.data.path), "validation")
    options = table_options(args, labelled=False)
    check_input(source, options)
    classifier = _load(args, manifest)
    estimate = estimate_new(classifier, args.new, options)
    title = Message("Shares of campaigns, in percent")
    print(render_terminal(mix_table(estimate, classifier.labels), title), end="")
    if not estimate.fit.fits:
        raise GateError(fit_sentence(estimate.fit))
    print(translated(fit_sentence(estimate.fit)))
    points = classifier.run.manifest.calibration.operating_points
    drawn = draw_points(estimate, points, classifier.labels, args.number)
    title = Message("Proposed thresholds, with estimates over campaigns under the new mix")
    print(render_terminal(proposal_table(drawn), title), end="")
    reasons = list(filter(None, (reason_for_no_campaigns(row, args.number) for row in drawn)))
    if len(reasons) == len(drawn):
        raise GateError("nothing can be certified: {reasons}", reasons=joined(reasons, "; "))
    for reason in reasons:
        print(translated(reason))
    write_sheet(args.output, *make_sheet(classifier, estimate, drawn))
    print(args.output)


def _certify(args: argparse.Namespace, manifest: Manifest) -> None:
    """Move the thresholds that the labels of a sheet certify, and print by what."""
    from smstune.deploy.export.move_thresholds import store_points
    from smstune.evaluation.recalibration.draw import TORCH
    from smstune.evaluation.recalibration.points import certify_points, require_same_run
    from smstune.evaluation.recalibration.sheet import read_sheet
    from smstune.evaluation.recalibration.tables import certified_sentence
    from smstune.inference.labels import LabelMap
    from smstune.inference.manifest import LABELS

    sheet = read_sheet(args.certify, LabelMap.load(args.run / LABELS))
    classifier = _load_form(args, manifest, sheet.about.form)
    require_same_run(args.certify, sheet.about, classifier)
    before = {
        point.name: point.threshold
        for point in classifier.run.manifest.calibration.operating_points
    }
    certified = certify_points(classifier, sheet)
    moved = {row.point.name: row.point for row in certified if row.step}
    if moved:
        points = [
            moved.get(point.name, point)
            for point in classifier.run.manifest.calibration.operating_points
        ]
        form = None if sheet.about.form == TORCH else sheet.about.form
        store_points(args.run, manifest, form, points)
    for row in certified:
        if row.step:
            print(translated(certified_sentence(row, before[row.point.name])))
    failed = [certified_sentence(row, before[row.point.name]) for row in certified if not row.step]
    if failed:
        raise GateError(joined(failed, "; "))


def _undo(args: argparse.Namespace, manifest: Manifest) -> None:
    """Take back the last certified thresholds of a run or form."""
    from smstune.deploy.export.move_thresholds import points_before, store_points
    from smstune.evaluation.recalibration.draw import TORCH, form_name

    classifier = _load(args, manifest)
    points = classifier.run.manifest.calibration.operating_points
    form = form_name(classifier)
    before = points_before(points, form)
    store_points(args.run, manifest, None if form == TORCH else form, before)
    for point, old in zip(points, before, strict=True):
        if point != old:
            text = Message(
                "{point}: threshold {threshold} → {before}",
                point=point.name,
                threshold=f"{point.threshold:.4g}",
                before="–" if old.threshold is None else f"{old.threshold:.4g}",
            )
            print(translated(text))


def _load(args: argparse.Namespace, manifest: Manifest) -> SmsClassifier:
    from smstune.inference.classifier import SmsClassifier

    return SmsClassifier.from_run(args.run, manifest, backend=args.backend, device=args.device)


def _load_form(args: argparse.Namespace, manifest: Manifest, form: str) -> SmsClassifier:
    """Load the form that scored the messages of a sheet.

    Raises:
        UserError: if ``--backend`` names another.
    """
    from smstune.evaluation.recalibration.draw import TORCH
    from smstune.inference.backends.exported import EXPORTED
    from smstune.inference.classifier import SmsClassifier

    backend: BackendChoice = "torch" if form == TORCH else "onnx"
    if args.backend not in ("auto", backend):
        raise UserError(
            "{path} was written with --backend {sheet_backend}, found --backend {backend}: leave "
            "--backend out, or draw a new sheet",
            path=args.certify,
            sheet_backend=backend,
            backend=args.backend,
        )
    precision: PrecisionChoice = next(
        (name for name, file in EXPORTED.items() if file == form), "auto"
    )
    return SmsClassifier.from_run(
        args.run, manifest, backend=backend, device=args.device, precision=precision
    )


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("recalibrate", __doc__)
    parser.add_argument("run", type=user_path, help="run folder")
    parser.add_argument(
        "new", nargs="?", metavar="[SOURCE:]NEW", help="new messages, without labels"
    )
    parser.add_argument(
        "--output", type=user_path, metavar="SHEET", help="sheet to write: .xlsx, .csv or .tsv"
    )
    parser.add_argument(
        "--number",
        type=int,
        default=200,
        metavar="N",
        help="campaigns to label for each operating point, from 50 to 200 (default: 200)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace SHEET if it exists (default: refuse)"
    )
    parser.add_argument(
        "--certify",
        type=user_path,
        metavar="SHEET",
        help="move the thresholds that the labels of this sheet certify",
    )
    parser.add_argument(
        "--undo", action="store_true", help="take back the last thresholds that were certified"
    )
    add_backend_arguments(parser)
    add_table_arguments(parser, ["text"])
    return parser
