"""Publish an evaluated run on the hub in one commit; private by default.

A run without an exported form for CPUs is exported first: to int8 if its gates pass, otherwise to
fp32.

Examples:
  smstune publish runs/fbs14 my-team/sms-fbs14 --accept-terms --dry-run
  HF_ENDPOINT=https://hub.example smstune publish runs/mine my-team/sms
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from smstune.command import command
from smstune.commands.parser import command_parser, parse
from smstune.errors import GateError, require_training_packages
from smstune.paths import user_path

#: One of these lets an installation without torch answer; fp16 is for GPUs.
_FORMS_FOR_CPUS = ("onnx/model_int8.onnx", "onnx/model.onnx")

logger = logging.getLogger(__name__)


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, stage, upload, print the address of the commit."""
    parser = command_parser("publish", __doc__)
    parser.add_argument("run", type=user_path, help="run folder with an evaluation")
    parser.add_argument("repo_id", metavar="REPO_ID", help="repository on the hub: ORG/NAME")
    parser.add_argument(
        "--dry-run", action="store_true", help="show the files and the model card without uploading"
    )
    parser.add_argument(
        "--public", action="store_true", help="make the repository visible to everyone"
    )
    parser.add_argument(
        "--accept-terms",
        action="store_true",
        help="publish although the terms of the data are unclear; you are responsible for that",
    )
    parser.add_argument(
        "--allow-unmasked",
        action="store_true",
        help="publish although the model was trained on messages whose personal information was "
        "not masked",
    )
    parser.add_argument(
        "--with-memory",
        action="store_true",
        help="also publish what the run has learned from reports (default: leave it out); much of "
        "the wording of those messages can be rebuilt from it",
    )
    args = parse(parser, argv)
    require_training_packages("publish")
    from smstune.inference.manifest import load_manifest

    manifest = load_manifest(args.run)
    from smstune.deploy.hub.publish import describe, staged, upload

    stage = partial(
        staged,
        args.run,
        args.repo_id,
        accept_terms=args.accept_terms,
        allow_unmasked=args.allow_unmasked,
        with_memory=args.with_memory,
    )
    if not any(name in manifest.sha256 for name in _FORMS_FOR_CPUS):
        # An export takes minutes: whatever forbids publishing should show before.
        with stage():
            logger.info("the run has no exported form for CPUs, so it is exported")
        _export(args.run)
    with stage() as folder:
        if args.dry_run:
            print(describe(folder, args.repo_id, public=args.public))
        else:
            print(upload(folder, args.repo_id, public=args.public))


def _export(run: Path) -> None:
    """Add the int8 form to a run, or the fp32 form where int8 fails its gates."""
    from smstune.deploy.export.export import export_run
    from smstune.inference.manifest import load_manifest
    from smstune.inference.run_config import run_config

    section = run_config(run, load_manifest(run), "export").export
    try:
        export_run(run, ["onnx-int8"], section)
    except GateError as error:
        logger.warning("warning: published without int8: %s", error)
        export_run(run, ["onnx"], section)
