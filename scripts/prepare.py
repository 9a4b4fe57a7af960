r"""Prepare raw messages: read, clean, mask, group, split.

python scripts/prepare.py fbs:FBS_SMS_Dataset nus:smsCorpus_zh_xml_2015.03.09.zip \
    --labels configs/labels/sms4.yaml --output prepared/sms4
python scripts/prepare.py --check-pii messages.csv
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from smstune.command import command
from smstune.commands.run_arguments import prepare_arguments, prepare_parser
from smstune.data.pii_scan import require_no_pii
from smstune.data.prepare import prepare
from smstune.data.report.label_errors import search_prepared

REGISTRY = Path(__file__).parents[1] / "configs/sources.yaml"


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, prepare, print the folder."""
    args = prepare_parser(__doc__).parse_args(argv)
    if args.check_pii:
        require_no_pii(args.check_pii)
        return
    folder = prepare(**prepare_arguments(args, REGISTRY))
    if args.find_label_errors:
        search_prepared(folder, seed=args.seed)
    print(folder)


if __name__ == "__main__":
    sys.exit(main())
