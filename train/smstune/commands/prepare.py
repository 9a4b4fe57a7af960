r"""Prepare raw messages: read, clean, mask, group, split.

With --config, the section `prepare` of a configuration says what to prepare, words of the form
key=value change it, and the folder is the one that a fine-tune of that configuration reads.

Examples:
  smstune prepare messages.csv --labels labels.yaml --output prepared/mine
  smstune prepare --config fbs14 'prepare.inputs=[fbs:FBS_SMS_Dataset]'
  smstune prepare fbs:FBS_SMS_Dataset nus:smsCorpus_zh_xml_2015.03.09.zip \
      --labels labels/sms4 --output prepared/sms4
  smstune prepare --check-pii messages.csv
"""

from __future__ import annotations

import argparse
import logging
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from smstune.command import command
from smstune.commands.parser import command_parser, parse
from smstune.config.choices import SplitMethod
from smstune.errors import UserError

if TYPE_CHECKING:
    from smstune.config.schema import PrepareConfig
    from smstune.data.public.registry import PublicSet
    from smstune.data.readers.catalogue import Input

_OVERRIDE = re.compile(r"[a-z_]+(?:\.[a-z0-9_]+)+=")
logger = logging.getLogger(__name__)
#: Where ``--download`` puts public sets.
_DOWNLOADS = Path("data")


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, check, prepare, print the folder."""
    args = parse(_parser(), argv, intermixed=True)
    if args.check_pii:
        from smstune.data.pii_scan import require_no_pii

        require_no_pii(args.check_pii)
        return
    section, output = _section(args)
    inputs, tests, terms = _inputs(args, section)
    _check_flags(args, section)
    from smstune.config.shipped import find_config
    from smstune.data.readers.catalogue import check_input
    from smstune.inference.labels import LabelMap
    from smstune.tables.columns import Columns

    labels = LabelMap.from_yaml(find_config(section.labels)) if section.labels else None
    columns = Columns(
        section.text_column, section.label_column, section.group_column, section.time_column
    )
    for item in (*inputs, *tests):
        check_input(item, columns)
    from smstune.data.prepare import prepare
    from smstune.data.splits.assign import SplitChoice

    folder = prepare(
        inputs,
        output,
        tests=tests,
        labels=labels,
        columns=columns,
        mask=section.mask_pii,
        split=SplitChoice(section.split, section.held_out, section.folds, section.seed),
        terms=terms,
        tokenizer=args.tokenizer,
        max_length=args.max_length,
    )
    if args.find_label_errors:
        from smstune.data.report.label_errors import search_prepared

        search_prepared(folder, seed=section.seed)
    config = args.config or "base"
    fine_tune = ["smstune", "finetune", config, f"data.path={folder}"]
    if not args.config:
        fine_tune.append(f"training.output_dir=runs/{folder.name}")
    logger.info("next: %s", shlex.join(fine_tune))
    print(folder)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("prepare", __doc__)
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="[SOURCE:]INPUT",
        help="csv, tsv, jsonl, parquet, a data set's id on the hub, or fbs:, nus:, chifraud:, "
        "sample: (the bundled messages); with --config also key=value",
    )
    parser.add_argument("--config", metavar="CONFIG", help="YAML file or shipped configuration")
    parser.add_argument("--source", help="how to read inputs without a prefix")
    parser.add_argument("--labels", metavar="FILE", help="YAML of source labels to target labels")
    parser.add_argument("--output", type=Path, help="folder to write; default: data.path")
    for column in ("text", "label", "time", "group"):
        parser.add_argument(
            f"--{column}-column", metavar="NAME", help=f"column of the {column} ({column})"
        )
    parser.add_argument(
        "--test",
        action="append",
        metavar="[SOURCE:]INPUT",
        help="messages that are the test set, unchanged",
    )
    parser.add_argument(
        "--split",
        choices=get_args(SplitMethod),
        help="how to split; group (the default) keeps near-duplicates together",
    )
    parser.add_argument("--held-out", metavar="SOURCE", help="test source of --split source")
    parser.add_argument("--folds", type=int, metavar="N", help="folds of --split folds (5)")
    parser.add_argument("--seed", type=int, metavar="N", help="of the split (42)")
    parser.add_argument(
        "--keep-pii", action="store_true", help="do not mask personal information (not advised)"
    )
    parser.add_argument("--tokenizer", metavar="PATH", help="report lengths in its tokens")
    parser.add_argument(
        "--max-length", type=int, default=128, metavar="N", help="in tokens, for the report (128)"
    )
    parser.add_argument("--find-label-errors", action="store_true", help="list doubtful labels")
    parser.add_argument(
        "--check-pii",
        type=Path,
        metavar="FILE",
        help="only look for personal information in FILE; exit status 2 if there is some",
    )
    parser.add_argument(
        "--download", action="append", default=[], metavar="NAME", help="fetch a public set first"
    )
    parser.add_argument(
        "--accept-terms",
        action="append",
        default=[],
        metavar="NAME",
        help="say that you keep to the terms of this public set",
    )
    return parser


def _section(args: argparse.Namespace) -> tuple[PrepareConfig, Path]:
    """Return what to prepare and where to: the configuration's section, changed by the flags."""
    from pydantic import ValidationError

    from smstune.config.loading import load_config
    from smstune.config.schema import PrepareConfig
    from smstune.config.shipped import find_config
    from smstune.config.wording import explain

    section, output = PrepareConfig(), args.output
    words = list(args.inputs)
    if args.config:
        overrides = [word for word in words if _OVERRIDE.match(word)]
        words = [word for word in words if word not in overrides]
        config = load_config(find_config(args.config), overrides)
        section, output = config.prepare, output or config.data.path
    changes = {
        "inputs": words or None,
        "source": args.source,
        "labels": Path(args.labels) if args.labels else None,
        "split": args.split,
        "held_out": args.held_out,
        "folds": args.folds,
        "test": args.test,
        "mask_pii": False if args.keep_pii else None,
        "seed": args.seed,
        **{
            f"{column}_column": getattr(args, f"{column}_column")
            for column in ("text", "label", "time", "group")
        },
    }
    given = {key: value for key, value in changes.items() if value is not None}
    try:
        section = PrepareConfig.model_validate({**section.model_dump(), **given})
    except ValidationError as error:
        raise UserError(explain(error, PrepareConfig)) from error
    if not (section.inputs or args.download) or output is None:
        raise UserError(
            "expected an input and --output DIR, or --config CONFIG and prepare.inputs: see --help"
        )
    return section, output


def _inputs(
    args: argparse.Namespace, section: PrepareConfig
) -> tuple[list[Input], list[Input], list[dict[str, str | None]]]:
    """Return inputs, test sets, and the terms of the public ones; downloads what is asked for."""
    from smstune.config.shipped import shipped_configs
    from smstune.data.public.registry import find_set, load_registry
    from smstune.data.readers.catalogue import parse_input

    registry = load_registry(shipped_configs() / "sources.yaml")
    for name in args.accept_terms:
        find_set(registry, name)
    public = [find_set(registry, name) for name in args.download]
    inputs = [parse_input(text, section.source) for text in section.inputs]
    inputs += [_fetched(item, args.accept_terms) for item in public]
    tests = [parse_input(text, section.source) for text in section.test]
    seen = {item.path.resolve() for item in inputs}
    for item in tests:
        if item.path.resolve() in seen:
            raise UserError(f"the test set {item.path} is given twice: name it once")
        seen.add(item.path.resolve())
    terms = [registry[item.source].terms() for item in (*inputs, *tests) if item.source in registry]
    return inputs, tests, terms


def _fetched(item: PublicSet, accepted: list[str]) -> Input:
    from smstune.data.public.registry import download_set
    from smstune.data.readers.catalogue import parse_input

    return parse_input(f"{item.format}:{download_set(item, _DOWNLOADS, accepted=accepted)}")


def _check_flags(args: argparse.Namespace, section: PrepareConfig) -> None:
    if args.folds is not None and section.split != "folds":
        raise UserError(f"expected --folds with --split folds, found --split {section.split}")
    if args.find_label_errors and section.split == "folds":
        raise UserError(
            "expected --find-label-errors with one prepared folder, found --split folds: its folds "
            "hold the same messages; search them once, split by group"
        )
