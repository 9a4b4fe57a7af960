"""Publish an evaluated run on the hub in one commit; private by default.

Examples:
  smstune publish runs/fbs14 my-team/sms-fbs14 --accept-terms --dry-run
  HF_ENDPOINT=https://hub.example smstune publish runs/mine my-team/sms
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smstune.command import command
from smstune.commands.parser import command_parser, parse


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, stage, upload, print the address of the commit."""
    parser = command_parser("publish", __doc__)
    parser.add_argument("run", type=Path, help="run folder with an evaluation")
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
    args = parse(parser, argv)
    from smstune.inference.manifest import load_manifest

    load_manifest(args.run)
    from smstune.deploy.hub.publish import describe, staged, upload

    with staged(
        args.run,
        args.repo_id,
        accept_terms=args.accept_terms,
        allow_unmasked=args.allow_unmasked,
    ) as folder:
        if args.dry_run:
            print(describe(folder, args.repo_id, public=args.public))
        else:
            print(upload(folder, args.repo_id, public=args.public))
