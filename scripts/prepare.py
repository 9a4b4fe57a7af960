r"""Prepare raw messages: read, clean, mask, group, split.

python scripts/prepare.py fbs:FBS_SMS_Dataset nus:smsCorpus_zh_xml_2015.03.09.zip \
    --labels configs/labels/sms4.yaml --output prepared/sms4
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from train.command import command
from train.data.labels import LabelMap
from train.data.prepare import prepare
from train.data.sources import SOURCES, Columns, parse_input


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, prepare, print the folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="+", metavar="[SOURCE:]INPUT", help=", ".join(SOURCES))
    parser.add_argument("--source", help="how to read inputs without a prefix")
    parser.add_argument("--labels", type=Path, help="YAML of source labels to target labels")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--label-column", default="label")
    parser.add_argument("--split", choices=["group", "random"], default="group")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument(
        "--keep-pii", action="store_true", help="do not mask personal information (not advised)"
    )
    args = parser.parse_args(argv)
    folder = prepare(
        [parse_input(text, args.source) for text in args.inputs],
        args.output,
        labels=LabelMap.from_yaml(args.labels) if args.labels else None,
        columns=Columns(text=args.text_column, label=args.label_column),
        mask=not args.keep_pii,
        split=args.split,
        seed=args.seed,
    )
    print(folder)


if __name__ == "__main__":
    sys.exit(main())
