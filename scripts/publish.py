"""Publish an evaluated run on a hub, in one commit: gated first, private unless told otherwise.

python scripts/publish.py runs/fbs14 my-team/sms-fbs14 --accept-terms --dry-run
HF_ENDPOINT=https://hub.example python scripts/publish.py runs/mine my-team/sms
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from smstune.command import command
from smstune.deploy.hub.publish import describe, staged, upload


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, stage, send, print the commit's address."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="run folder, evaluated")
    parser.add_argument("repo_id", metavar="REPO_ID", help="ORG/NAME")
    parser.add_argument(
        "--dry-run", action="store_true", help="show the files and the card, send nothing"
    )
    parser.add_argument("--public", action="store_true", help="for everyone to see")
    parser.add_argument(
        "--accept-terms", action="store_true", help="answer for data whose terms are in doubt"
    )
    args = parser.parse_args(argv)
    with staged(args.run, args.repo_id, accept_terms=args.accept_terms) as folder:
        if args.dry_run:
            print(describe(folder, args.repo_id, public=args.public))
        else:
            print(upload(folder, args.repo_id, public=args.public))


if __name__ == "__main__":
    sys.exit(main())
