"""Label one message, or every message of a file, keeping the order of the rows.

Reads txt, csv, tsv, jsonl (also .gz, .zst), xlsx, xls, ods, parquet or standard input. From file to
file, a stopped command continues where it stopped when you run it again.

Examples:
  smstune predict runs/fbs14 --text 恭喜中奖，点击领取
  smstune predict runs/fbs14 messages.csv labelled.csv
  smstune predict runs/fbs14 messages.jsonl.zst labelled.parquet --workers 2
  echo 恭喜中奖，点击领取 | smstune predict runs/fbs14 - -
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from smstune.command import command
from smstune.commands.parser import command_parser, parse
from smstune.commands.run_arguments import add_run_arguments, find_run, load_run
from smstune.commands.table_arguments import add_table_arguments, table_options
from smstune.language import Message, translated
from smstune.paths import user_path

if TYPE_CHECKING:
    from smstune.inference.classifier import Prediction

#: Probabilities of other labels below this are not shown to people.
_LEAST_SHOWN = 0.01


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, check the files, score, print the answer or the path of the output."""
    # numpy's BLAS would start its threads at import, a tenth of the first answer's processor time;
    # nothing here multiplies large matrices with it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # pydantic would read the entry points of all installed packages in search of its plugins.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    parser = command_parser("predict", __doc__)
    add_run_arguments(parser)
    parser.add_argument(
        "input",
        type=user_path,
        nargs="?",
        help="txt, csv, tsv, jsonl (.gz, .zst), xlsx, xls, ods, parquet; - for stdin",
    )
    parser.add_argument(
        "output",
        type=user_path,
        nargs="?",
        help="csv, tsv, jsonl (.gz, .zst), xlsx, parquet; - for jsonl on stdout",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace OUTPUT if it exists (default: refuse)"
    )
    parser.add_argument(
        "--excel",
        action="store_true",
        help="write OUTPUT, a .csv, for spreadsheets: with a byte order mark, and with an "
        "apostrophe before text that they would take for a formula",
    )
    parser.add_argument("--text", metavar="MESSAGE", help="label this message, without files")
    parser.add_argument(
        "--json", action="store_true", help="print the answer to --text as a line of JSON"
    )
    add_table_arguments(parser, ["text"])
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="number of processes that share the work (default: 1)",
    )
    parser.add_argument(
        "--engine",
        choices=["local", "ray"],
        default="local",
        help="where to run: on this machine (local, the default) or on a Ray cluster",
    )
    args = parse(parser, argv)
    if args.workers < 1:
        parser.error(Message("--workers must be at least 1, found {workers}", workers=args.workers))
    if args.text is None:
        if args.output is None or args.json:
            parser.error(
                Message("expected INPUT and OUTPUT, or --text MESSAGE, which --json needs")
            )
        _label_file(args)
    else:
        if args.input is not None:
            parser.error(Message("expected INPUT and OUTPUT or --text MESSAGE, found both"))
        _label_message(args)


def _label_message(args: argparse.Namespace) -> None:
    # Nothing that an answer imports and loads is garbage: collections would only search it.
    gc.disable()
    try:
        folder, manifest = find_run(args)
        (answer,) = load_run(args, folder, manifest).predict([args.text])
    finally:
        gc.freeze()
        gc.enable()
    if args.json:
        print(json.dumps(dataclasses.asdict(answer), ensure_ascii=False))
    else:
        print(_for_people(answer))


def _for_people(answer: Prediction) -> str:
    lines = [f"{answer.label}  {answer.score:.1%}"]
    if answer.decision is not None:
        lines[0] += f"  {answer.decision}"
    if answer.note is not None:
        lines.append(translated(Message("note: {note}", note=answer.note)))
    campaign = answer.campaign
    if campaign is not None:
        known = Message(
            "known campaign {id} since {first}, similarity {similarity:.0%}",
            id=campaign.id,
            first=campaign.first,
            similarity=campaign.similarity,
        )
        lines.append(translated(known) + (f": {campaign.reason}" if campaign.reason else ""))
    likely = {
        name: score
        for name, score in sorted(answer.scores.items(), key=lambda named: -named[1])
        if name != answer.label and score >= _LEAST_SHOWN
    }
    width = max(map(len, likely), default=0)
    lines += [f"  {name:<{width}}  {score:6.1%}" for name, score in likely.items()]
    return "\n".join(lines)


def _label_file(args: argparse.Namespace) -> None:
    from smstune.deploy.batch.scored_parts import remove_finished
    from smstune.files import refuse_to_overwrite
    from smstune.tables.read import STANDARD, check_table
    from smstune.tables.write import OutputTable, check_output, check_rows_fit

    output = OutputTable(args.output, excel=args.excel)
    check_output(output)
    if args.output != STANDARD:
        remove_finished(args.output)
        refuse_to_overwrite(args.output, [args.input], overwrite=args.overwrite)
    folder, manifest = find_run(args)
    options = table_options(args, labelled=False)
    check_table(args.input, options)
    check_rows_fit(args.input, options, output)
    classifier = load_run(args, folder, manifest)
    from smstune.deploy.batch.score_file import score_file

    score_file(
        classifier,
        args.input,
        output,
        options=options,
        workers=args.workers,
        engine=args.engine,
    )
    if args.output != STANDARD:
        print(args.output)
