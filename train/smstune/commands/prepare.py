r"""Prepare raw messages: read, clean, mask, group, split.

With --config, the section `prepare` of a configuration says what to prepare, arguments of the form
key=value override it, and the output is the data folder of that configuration.

Examples:
  smstune prepare messages.csv --labels labels.yaml --output prepared/mine
  smstune prepare messages.csv --write-labels labels.yaml
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
from smstune.commands.table_arguments import add_table_arguments
from smstune.config.choices import SplitMethod
from smstune.errors import UserError, require_training_packages
from smstune.paths import user_path

if TYPE_CHECKING:
    from smstune.config.schema import PrepareConfig

_OVERRIDE = re.compile(r"[a-z_]+(?:\.[a-z0-9_]+)+=")
logger = logging.getLogger(__name__)
#: Where ``--download`` puts public sets.
_DOWNLOADS = Path("data")


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, check, prepare, print the folder."""
    args = parse(_parser(), argv)
    require_training_packages("prepare")
    if args.check_pii:
        from smstune.data.pii_scan import require_no_pii

        require_no_pii(args.check_pii)
        return
    section, output = _section(args)
    _check_flags(args, section)
    section = _with_downloads(args, section)
    if args.write_labels:
        from smstune.data.first_label_file import write_first_label_file

        write_first_label_file(section, args.write_labels)
        print(args.write_labels)
        return
    from smstune.data.prepare import prepare

    tokenizer = args.tokenizer and str(args.tokenizer)
    folder = prepare(
        section,
        output,
        tokenizer=tokenizer,
        max_length=args.max_length,
        overwrite=args.overwrite,
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
        help="csv, tsv, txt, jsonl, xlsx, xls, ods, parquet, a data set's id on the hub, or fbs:, "
        "nus:, chifraud:, scriptguard:, sample: (the bundled messages); with --config also "
        "key=value",
    )
    parser.add_argument("--config", metavar="CONFIG", help="YAML file or shipped configuration")
    parser.add_argument("--source", help="reader of inputs without a prefix, such as csv or fbs")
    parser.add_argument(
        "--labels", metavar="FILE", help="YAML that maps source labels to target labels"
    )
    parser.add_argument("--output", type=user_path, help="folder to write; default: data.path")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace an earlier prepared folder (default: refuse)",
    )
    add_table_arguments(parser, ["text", "label", "time", "group"])
    parser.add_argument(
        "--test",
        action="append",
        metavar="[SOURCE:]INPUT",
        help="messages to use as the test set, unchanged",
    )
    parser.add_argument(
        "--split",
        choices=get_args(SplitMethod),
        help="how to split; group (the default) keeps near-duplicates together, given reads the "
        "column split",
    )
    parser.add_argument(
        "--held-out", metavar="SOURCE", help="source that becomes the test set, with --split source"
    )
    parser.add_argument(
        "--folds", type=int, metavar="N", help="number of folds, with --split folds (default: 5)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="seed of the split (default: 42)")
    parser.add_argument(
        "--keep-pii", action="store_true", help="do not mask personal information (not recommended)"
    )
    parser.add_argument(
        "--drop-rare",
        action="store_true",
        help="drop labels of fewer than three campaigns, which are an error otherwise",
    )
    parser.add_argument(
        "--write-labels",
        type=user_path,
        metavar="FILE",
        help="only write a label file to begin with, which has every label of the inputs",
    )
    parser.add_argument(
        "--tokenizer",
        type=user_path,
        metavar="PATH",
        help="report lengths in tokens of this tokenizer",
    )
    parser.add_argument(
        "--max-length",
        type=int,
        default=128,
        metavar="N",
        help="longest message in tokens, for the report (default: 128)",
    )
    parser.add_argument(
        "--find-label-errors", action="store_true", help="list labels that may be wrong"
    )
    parser.add_argument(
        "--check-pii",
        type=user_path,
        metavar="FILE",
        help="only search FILE for personal information; exit status 2 if there is any",
    )
    parser.add_argument(
        "--download",
        action="append",
        default=[],
        metavar="NAME",
        help="download a public set first",
    )
    parser.add_argument(
        "--accept-terms",
        action="append",
        default=[],
        metavar="NAME",
        help="accept the terms of this public set",
    )
    return parser


def _section(args: argparse.Namespace) -> tuple[PrepareConfig, Path]:
    """Return the configuration's section as the flags change it, and the folder to write."""
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
        "labels": args.labels or None,
        "split": args.split,
        "held_out": args.held_out,
        "folds": args.folds,
        "test": args.test,
        "mask_pii": False if args.keep_pii else None,
        "drop_rare": args.drop_rare or None,
        "seed": args.seed,
        **{
            f"{column}_column": getattr(args, f"{column}_column")
            for column in ("text", "label", "time", "group")
        },
        "sheet": args.sheet,
        "no_header": args.no_header or None,
        "layout": args.layout,
    }
    changed = {key: setting for key, setting in changes.items() if setting is not None}
    try:
        section = PrepareConfig.model_validate({**section.model_dump(), **changed})
    except ValidationError as error:
        raise UserError(explain(error, PrepareConfig)) from error
    if not (section.inputs or args.download) or (output is None and not args.write_labels):
        raise UserError(
            "expected an input and --output DIR, or --config CONFIG and prepare.inputs: see --help"
        )
    return section, output


def _with_downloads(args: argparse.Namespace, section: PrepareConfig) -> PrepareConfig:
    """Download the public sets that were asked for and return the section with them as inputs."""
    if not (args.download or args.accept_terms):
        return section
    from smstune.config.shipped import shipped_configs
    from smstune.data.public.registry import download_set, find_set, load_registry

    registry = load_registry(shipped_configs() / "sources.yaml")
    for name in args.accept_terms:
        find_set(registry, name)
    # All names are checked before the first download.
    public_sets = [find_set(registry, name) for name in args.download]
    downloaded = [
        f"{public_set.format}:{download_set(public_set, _DOWNLOADS, accepted=args.accept_terms)}"
        for public_set in public_sets
    ]
    return section.model_copy(update={"inputs": [*section.inputs, *downloaded]})


def _check_flags(args: argparse.Namespace, section: PrepareConfig) -> None:
    if args.folds is not None and section.split != "folds":
        raise UserError(
            "expected --folds with --split folds, found --split {split}", split=section.split
        )
    if args.write_labels and args.output:
        raise UserError(
            "--write-labels only writes a label file: delete --output, and prepare with it later"
        )
    if args.find_label_errors and section.split == "folds":
        raise UserError(
            "--find-label-errors does not work with --split folds: prepare once with --split group "
            "to search for label errors"
        )
    if args.tokenizer:
        from smstune.inference.fetch import require_encoder

        require_encoder(str(args.tokenizer))
